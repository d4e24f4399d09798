"""Who is who from frame to frame, when the detector is asked, and what smoothing does."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from support.walking import KnowingPose, frame, standing
from tfcpn.inference.tracker import Tracker, track_video
from tfcpn.utils.errors import InputError

RATE = 25.0


def follow(pose, frames, **how):
    """The people of each frame."""
    tracker = Tracker(pose, **how)
    return [tracker(frame(number), number / RATE) for number in range(frames)]


def whose(people, truth) -> list[int | None]:
    """The number that each of the true people has got; None if nobody is within a tenth of the
    body's height.
    """
    return [
        next((p.track_id for p in people if np.abs(p.keypoints - true[:17]).mean() < 20), None)
        for true in truth
    ]


def test_people_who_cross_keep_their_numbers():
    """One walks to the right in front of one who walks to the left; each region follows its own."""

    def truth(number):
        return [standing(100 + 4 * number, 200, 1.0), standing(500 - 4 * number, 215, 0.7)]

    found = follow(KnowingPose(truth), 100, smooth=False)
    numbers = {
        tuple(whose(people, truth(number)))
        for number, people in enumerate(found)
        if number not in range(45, 56)
    }
    assert numbers == {tuple(whose(found[0], truth(0)))}
    assert set(whose(found[0], truth(0))) == {1, 2}


def test_who_leaves_and_comes_back_soon_is_the_same():
    def truth(number):
        there = [standing(150)]
        return there if 20 <= number < 35 else [*there, standing(450 + number)]

    found = follow(KnowingPose(truth), 60, smooth=False)
    assert [len(people) for people in found[20:35]] == [1] * 15
    assert whose(found[59], truth(59)) == whose(found[0], truth(0))


def test_who_comes_back_later_than_memory_is_another():
    def truth(number):
        return [standing(150)] if 10 <= number < 60 else [standing(150), standing(450)]

    found = follow(KnowingPose(truth), 80, smooth=False, track_timeout=1.0)
    assert whose(found[79], truth(79))[1] == 3
    found = follow(KnowingPose(truth), 80, smooth=False, track_timeout=5.0)
    assert whose(found[79], truth(79))[1] == 2


def test_the_detector_is_asked_now_and_then_and_when_nobody_is_there():
    pose = KnowingPose(lambda number: [standing(150)])
    follow(pose, 30, detect_every=10)
    assert pose.asked == 3
    pose = KnowingPose(lambda number: [])
    follow(pose, 30, detect_every=10)
    assert pose.asked == 30
    late = KnowingPose(
        lambda number: [standing(150)], hidden=lambda number: (0,) if number < 13 else ()
    )
    assert [len(people) for people in follow(late, 15)] == [0] * 13 + [1, 1]


def test_a_newcomer_is_found_while_others_are_followed():
    def truth(number):
        return [standing(150), standing(450)] if number >= 12 else [standing(150)]

    found = follow(KnowingPose(truth), 25, detect_every=5)
    assert [len(people) for people in found] == [1] * 15 + [2] * 10
    assert [p.track_id for p in found[24]] == [1, 2]


def test_nobody_is_followed_twice():
    """Two regions that have come to see one person: one of them goes."""

    def truth(number):
        return (
            [standing(200), standing(420)]
            if number < 10
            else [standing(310 if number == 10 else 311)]
        )

    found = follow(KnowingPose(truth), 20, smooth=False)
    assert len(found[9]) == 2
    assert all(len(people) == 1 for people in found[11:])


def test_a_still_person_jitters_less():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1.0, (60, 19, 2))
    pose = KnowingPose(lambda number: [standing(300) + noise[number]])

    def jitter(**how):
        keypoints = np.stack([people[0].keypoints for people in follow(pose, 60, **how)])[20:]
        return np.abs(np.diff(keypoints, axis=0)).mean()

    assert jitter() < 0.3 * jitter(smooth=False)


def test_a_walk_is_followed_closely_though_smoothed():
    def truth(number):
        return [standing(60 + 6 * number)]

    found = follow(KnowingPose(truth), 80)
    late = [
        np.abs(people[0].keypoints - truth(number)[0][:17]).mean()
        for number, people in enumerate(found)
    ]
    assert max(late[10:]) < 6


def test_frames_of_any_source_come_with_their_people():
    pose = KnowingPose(lambda number: [standing(300)])
    pairs = list(track_video(pose, (frame(number) for number in range(5)), rate=RATE))
    assert [len(people) for _, people in pairs] == [1] * 5
    assert pairs[3][0][0, 0, 0] == 3
    assert pairs[0][1][0].keypoints == pytest.approx(standing(300)[:17])


def test_a_frame_that_is_no_image_is_reported():
    with pytest.raises(InputError, match="expected an image"):
        list(track_video(KnowingPose(lambda number: []), [np.zeros((40, 40), np.uint8)]))


def test_two_videos_at_once_ask_the_detector_in_turn():
    pose, inside, most = KnowingPose(lambda number: []), [], []

    def find(image):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.005)
        inside.pop()
        return []

    pose.detector = find
    threads = [threading.Thread(target=follow, args=(pose, 10)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 30 and max(most) == 1


def test_keypoints_that_tell_no_torso_are_followed_all_the_same():
    pose = KnowingPose(lambda number: [standing(300)])
    usual = pose.people

    def without_hips(*what):
        people = usual(*what)
        for person in people:
            person.keypoints[[11, 12]] = np.nan
        return people

    pose.people = without_hips
    assert [len(people) for people in follow(pose, 12)] == [1] * 12
