"""Tracking metrics of a video, with people found, lost and swapped on purpose."""

import json

import numpy as np
import pytest

from support.walking import standing
from tfcpn.evaluation.tracking_metrics import FramePeople, evaluate_tracking
from tfcpn.skeleton import COCO


def seen(*people, unlabeled=()):
    """(id, x) of each person in a frame; x None: missing."""
    keypoints = np.zeros((len(people), 17, 3))
    for place, (_, x) in enumerate(people):
        keypoints[place] = np.column_stack([standing(x)[:17], np.full(17, 2)])
    keypoints[:, list(unlabeled), 2] = 0
    boxes = np.array([(*j[:, :2].min(0), *np.ptp(j[:, :2], axis=0)) for j in keypoints]).reshape(
        -1, 4
    )
    return FramePeople(np.array([number for number, _ in people], int), keypoints, boxes)


def score(found, true):
    return evaluate_tracking(found, true, COCO)


TRUE = [seen((1, 100 + 3 * n), (2, 400)) for n in range(10)]


def test_perfect_tracking_scores_1():
    found = score([seen((7, 100 + 3 * n), (9, 400)) for n in range(10)], TRUE)
    assert (found.frames, found.people, found.found, found.switches, found.false_positives) == (
        10,
        20,
        1.0,
        0,
        0,
    )
    assert (
        found.pck.tolist() == [1, 1]
        and found.frames_to_first_match == [0, 0]
        and found.gaps == []
        and found.jitter == 0
    )


def test_swapped_identities_are_two_switches():
    found = score(
        [seen((7 if n < 5 else 9, 100 + 3 * n), (9 if n < 5 else 7, 400)) for n in range(10)], TRUE
    )
    assert found.switches == 2 and found.found == 1


def test_a_lost_person_is_missed_until_found_again():
    there = [n for n in range(10) if n not in (3, 4, 5)]
    found = score(
        [seen((7, 100 + 3 * n), *([(9, 400)] if n in there else [])) for n in range(10)], TRUE
    )
    assert (
        found.gaps == [3]
        and found.frames_to_first_match == [0, 0]
        and found.found == pytest.approx(17 / 20)
    )
    assert found.pck[0] == pytest.approx(17 / 20) and found.switches == 0


def test_people_never_found_again_or_never_found_are_counted():
    found = score([seen(*([(7, 100 + 3 * n)] if n < 2 else [])) for n in range(10)], TRUE)
    assert (
        found.gaps == [8]
        and sorted(found.frames_to_first_match) == [0, 10]
        and found.found == pytest.approx(2 / 20)
    )


def test_unmatched_people_are_false_positives_unless_partly_labeled():
    found = score([seen((7, 100 + 3 * n), (9, 400), (11, 250)) for n in range(10)], TRUE)
    assert found.false_positives == pytest.approx(1.0) and found.found == 1
    hipless = [seen((1, 100 + 3 * n), unlabeled=(11, 12)) for n in range(10)]
    found = score([seen((7, 100 + 3 * n)) for n in range(10)], hipless)
    assert found.people == 0 and found.false_positives == 0


def test_a_pair_below_the_threshold_does_not_block_a_match():
    """Two annotated and two found people: the best total has two matches below the threshold."""
    true = [seen((1, 100), (2, 130))]
    found = seen((7, 115), (9, 145))
    # Half of the keypoints of person 1, and all of those of person 2, are at the first found
    # person.
    keypoints = found.keypoints.copy()
    keypoints[0, :8] = true[0].keypoints[1, :8]
    keypoints[0, 8:] = true[0].keypoints[1, 8:]
    keypoints[1, :, 0] += 300
    keypoints[1, :7] = true[0].keypoints[0, :7]
    assert score([found._replace(keypoints=keypoints)], true).found == pytest.approx(1 / 2)


def test_jitter_is_motion_beyond_that_of_the_annotation():
    torso = np.linalg.norm(standing(0)[5] - standing(0)[12])
    found = score([seen((7, 100 + 3 * n + 2 * (n % 2)), (9, 400)) for n in range(10)], TRUE)
    assert found.jitter == pytest.approx(2 / torso / 2)  # one of two people
    assert found.pck.tolist() == [1, 1]


def test_a_drawn_video_and_its_annotations_score_perfectly(command, tmp_path):
    """The tools agree on frames, people and keypoints."""
    arguments = ["--seconds=0.4", "--width=320", "--height=240", "--people=2"]
    command("tools/make_video.py", f"--output={tmp_path / 'walk.mp4'}", *arguments)
    data = json.loads((tmp_path / "walk.json").read_text())
    assert len(data["images"]) == 10 and data["images"][0]["file_name"] == "walk.mp4#0"
    assert {a["track_id"] for a in data["annotations"]} == {1, 2}
    for one in data["annotations"]:
        one["person"] = one["track_id"]
    (tmp_path / "results.json").write_text(json.dumps(data))
    where = [f"--annotations={tmp_path / 'walk.json'}", f"--results={tmp_path / 'results.json'}"]
    printed = command("tools/score_video.py", *where).out
    assert (
        "10 frames, 20 people" in printed
        and "found 100.0%, PCK@.2 1.000" in printed
        and "switched 0 times" in printed
    )
    again = tmp_path / "again.mp4"
    command("tools/make_video.py", f"--output={again}", *arguments)
    assert (
        json.loads(again.with_suffix(".json").read_text())["annotations"][3]["keypoints"]
        == data["annotations"][3]["keypoints"]
    )


def test_people_who_embrace_touch_and_part(command, tmp_path):
    path = tmp_path / "embrace.mp4"
    size = ["--seconds=6", "--rate=1", "--width=320", "--height=240", "--people=2"]
    command("tools/make_video.py", f"--output={path}", "--movement=embrace", *size)
    apart = []
    for image in json.loads(path.with_suffix(".json").read_text())["images"]:
        data = json.loads(path.with_suffix(".json").read_text())["annotations"]
        boxes = [a["bbox"] for a in data if a["image_id"] == image["id"]]
        (left, right) = sorted(boxes)
        apart.append(right[0] - left[0] - left[2])
    assert apart[0] > 0 > apart[3] and apart[0] > apart[1] > apart[3] < apart[5]


def test_files_that_do_not_fit_are_reported(command, tmp_path):
    (tmp_path / "a.json").write_text("{}")
    where = [f"--annotations={tmp_path / 'a.json'}", f"--results={tmp_path / 'a.json'}"]
    failed = command("tools/score_video.py", *where, check=False)
    assert (
        failed.status == 1
        and "is no such file of a video with track_id of its people" in failed.err
    )
    failed = command("tools/make_video.py", f"--output={tmp_path / 'a.txt'}", check=False)
    assert failed.status == 1 and "expected a name that ends in .mp4" in failed.err
