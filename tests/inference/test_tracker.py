"""Identities from frame to frame, the schedule of the detector, and smoothing."""

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
    """Track the people of each frame."""
    tracker = Tracker(pose, **how)
    return [tracker(frame(number), number / RATE) for number in range(frames)]


def track_ids(people, truth) -> list[int | None]:
    """The track id of each true person; None without a result within a tenth of the body height."""
    return [
        next((p.track_id for p in people if np.abs(p.keypoints - true[:17]).mean() < 20), None)
        for true in truth
    ]


def test_people_who_cross_keep_their_track_ids():
    """One person walks to the right in front of a person who walks to the left; each region follows
    one person.
    """

    def truth(number):
        return [standing(100 + 4 * number, 200, 1.0), standing(500 - 4 * number, 215, 0.7)]

    found = follow(KnowingPose(truth), 100, smooth=False)
    numbers = {
        tuple(track_ids(people, truth(number)))
        for number, people in enumerate(found)
        if number not in range(45, 56)
    }
    assert numbers == {tuple(track_ids(found[0], truth(0)))}
    assert set(track_ids(found[0], truth(0))) == {1, 2}


def test_a_person_who_returns_soon_keeps_the_track_id():
    def truth(number):
        there = [standing(150)]
        return there if 20 <= number < 35 else [*there, standing(450 + number)]

    found = follow(KnowingPose(truth), 60, smooth=False)
    assert [len(people) for people in found[20:35]] == [1] * 15
    assert track_ids(found[59], truth(59)) == track_ids(found[0], truth(0))


def test_a_person_who_returns_after_the_timeout_has_a_new_track_id():
    def truth(number):
        return [standing(150)] if 10 <= number < 60 else [standing(150), standing(450)]

    found = follow(KnowingPose(truth), 80, smooth=False, track_timeout=1.0)
    assert track_ids(found[79], truth(79))[1] == 3
    found = follow(KnowingPose(truth), 80, smooth=False, track_timeout=5.0)
    assert track_ids(found[79], truth(79))[1] == 2


def test_the_detector_runs_at_intervals_and_when_no_person_is_tracked():
    pose = KnowingPose(lambda number: [standing(150)])
    follow(pose, 30, detect_every=10)
    assert pose.asked == 3
    pose = KnowingPose(lambda number: [])
    follow(pose, 30, detect_every=10)
    assert pose.asked == 30
    late = KnowingPose(
        lambda number: [standing(150)], hidden=lambda number: (0,) if number < 13 else ()
    )
    assert [len(people) for people in follow(late, 16)] == [0] * 14 + [1, 1]


def test_a_new_person_is_found_while_others_are_tracked():
    def truth(number):
        return [standing(150), standing(450)] if number >= 12 else [standing(150)]

    found = follow(KnowingPose(truth), 25, detect_every=5)
    assert [len(people) for people in found] == [1] * 16 + [2] * 9
    assert [p.track_id for p in found[24]] == [1, 2]


def test_no_person_is_tracked_twice():
    """Two regions converge on one person: one of them is dropped."""

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


def test_smoothing_does_not_lag_behind_a_walk():
    def truth(number):
        return [standing(60 + 6 * number)]

    found = follow(KnowingPose(truth), 80)
    late = [
        np.abs(people[0].keypoints - truth(number)[0][:17]).mean()
        for number, people in enumerate(found)
    ]
    assert max(late[10:]) < 6


def test_frames_of_any_source_are_returned_with_people():
    pose = KnowingPose(lambda number: [standing(300)])
    pairs = list(track_video(pose, (frame(number) for number in range(5)), rate=RATE))
    assert [len(people) for _, people in pairs] == [1] * 5
    assert pairs[3][0][0, 0, 0] == 3
    assert pairs[0][1][0].keypoints == pytest.approx(standing(300)[:17])


def test_an_invalid_frame_is_reported():
    with pytest.raises(InputError, match="expected an image"):
        list(track_video(KnowingPose(lambda number: []), [np.zeros((40, 40), np.uint8)]))


def test_videos_in_parallel_run_the_detector_one_at_a_time():
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


def test_people_without_a_torso_are_tracked():
    pose = KnowingPose(lambda number: [standing(300)])
    usual = pose.people

    def without_hips(*what):
        people = usual(*what)
        for person in people:
            person.keypoints[[11, 12]] = np.nan
        return people

    pose.people = without_hips
    assert [len(people) for people in follow(pose, 12)] == [1] * 12


def test_what_is_seen_once_is_not_shown_and_has_no_number():
    """A false person in one frame of three, then a real one."""

    def truth(number):
        if number < 20:
            return [standing(150)] + ([standing(450)] if number in (4, 8, 12) else [])
        return [standing(150), standing(400)]

    found = follow(KnowingPose(truth), 30, detect_every=1)
    assert [len(people) for people in found] == [1] * 21 + [2] * 9
    assert [p.track_id for p in found[29]] == [1, 2]


def test_two_sightings_in_three_frames_are_enough():
    def truth(number):
        there = [standing(150)]
        return [*there, standing(450)] if number >= 5 and number != 6 else there

    found = follow(KnowingPose(truth), 12, detect_every=5)
    assert [len(people) for people in found] == [1] * 7 + [2] * 5


def test_a_person_who_is_hard_to_see_for_a_moment_is_followed_without_the_detector():
    def truth(number):
        return [standing(150)] if 10 <= number < 20 else [standing(150), standing(450)]

    pose = KnowingPose(truth, hidden=lambda number: (1,) if number >= 10 else ())
    found = follow(pose, 30, smooth=False)
    assert [len(people) for people in found] == [2] * 10 + [1] * 10 + [2] * 10
    assert [p.track_id for p in found[25]] == [1, 2]
    # For longer than half a second the place is given up.
    gone = KnowingPose(
        lambda number: [standing(150)] if 10 <= number < 25 else [standing(150), standing(450)],
        hidden=lambda number: (1,) if number >= 10 else (),
    )
    assert [len(people) for people in follow(gone, 40)][25:] == [1] * 15


def dressed(number, *people):
    """A frame in which each person (x, color) wears a shirt of that color."""
    image = frame(number)
    for x, color in people:
        image[120:215, int(x) - 35 : int(x) + 35] = color
    return image


RED, BLUE = (40, 40, 200), (200, 60, 40)


@pytest.mark.parametrize(("color", "track_id"), [(RED, 2), (BLUE, 3)], ids=["same", "other"])
def test_who_comes_back_anywhere_in_the_same_clothes_keeps_the_number(color, track_id):
    def truth(number):
        there = [standing(100)]
        if number < 10:
            return [*there, standing(300)]
        return there if number < 24 else [*there, standing(560)]

    pose = KnowingPose(truth)
    tracker = Tracker(pose, track_timeout=2.0)
    for number in range(40):
        second = (300, RED) if number < 10 else (560, color)
        image = dressed(number, (100, BLUE), *([second] if len(truth(number)) > 1 else []))
        people = tracker(image, number / RATE)
    assert [p.track_id for p in people] == [1, track_id]
