"""Body rotation of people, and PCK by it."""

import json

import numpy as np
import pytest

from tfcpn.config import REPORTED, Config
from tfcpn.data.coco import read_annotations
from tfcpn.evaluation.metrics import (
    ROTATION_GROUPS,
    pck_by_rotation,
    proportion_with_interval,
    torso_rotation,
)
from tfcpn.skeleton import COCO


def person(angle, visibility=2):
    """A torso rotated clockwise by this many degrees."""
    keypoints = np.zeros((17, 3))
    up = np.array([np.sin(np.radians(angle)), -np.cos(np.radians(angle))])
    side = np.array([-up[1], up[0]])
    for hip, shoulder, sign in zip(COCO.hips, COCO.shoulders, (-1, 1)):
        keypoints[hip] = [*(np.array([50, 50]) + 5 * sign * side), visibility]
        keypoints[shoulder] = [*(np.array([50, 50]) + 30 * up + 8 * sign * side), visibility]
    return keypoints


@pytest.mark.parametrize(
    "angle, turn", [(0, 0), (30, 30), (-75, 75), (90, 90), (180, 180), (-135, 135)]
)
def test_the_rotation_is_that_of_the_torso_from_upright(angle, turn):
    assert torso_rotation(person(angle)[None], COCO)[0] == pytest.approx(turn, abs=1e-9)


def test_a_person_without_a_hip_has_no_rotation():
    assert np.isnan(torso_rotation(person(10, visibility=0)[None], COCO)[0])


def test_a_proportion_is_over_keypoints_and_the_interval_over_people():
    correct = np.array([[1, 1, 1, 1], [0, np.nan, np.nan, np.nan], [np.nan] * 4])
    share = proportion_with_interval(correct)
    assert (share.mean, share.people) == (0.8, 2) and (share.low, share.high) == (0, 1)
    rng = np.random.default_rng(0)
    many = (rng.random((400, 10)) < 0.6).astype(float)
    share = proportion_with_interval(many)
    spread = 1.96 * np.sqrt(0.6 * 0.4 / 4000)
    assert share.mean - share.low == pytest.approx(spread, rel=0.15)
    assert share.high - share.mean == pytest.approx(spread, rel=0.15)
    assert np.isnan(proportion_with_interval(correct[2:]).mean)


def test_only_people_with_a_rotation_are_grouped():
    turn = np.array([0, 29.9, 30, 89.9, 90, 180, np.nan])
    shares = pck_by_rotation(np.ones((7, 3)), turn)
    assert [shares[g].people for g in ROTATION_GROUPS] == [6, 2, 2, 2]


@pytest.fixture
def evaluated(people_copy, edit_json, tmp_path):
    """Perfect results for the first person of each image, without the other people; every second
    person is missed.
    """

    def alone(data):
        seen = set()
        labeled = [a for a in data["annotations"] if a["num_keypoints"]]
        data["annotations"] = [
            a for a in labeled if not (a["image_id"] in seen or seen.add(a["image_id"]))
        ]

    edit_json(people_copy.val_annotations, alone)
    _, people, *_ = read_annotations(people_copy.val_annotations)
    folder = tmp_path / "run" / "eval" / "epoch_0001"
    folder.mkdir(parents=True)
    results = [
        {
            "image_id": p.image_id,
            "category_id": 1,
            "keypoints": p.keypoints.ravel().tolist(),
            "score": 1,
        }
        for p in people
    ]
    (folder / "results.json").write_text(json.dumps(results[::2]))
    cfg = Config(val_annotations=str(people_copy.val_annotations))
    settings = {name: getattr(cfg, name) for name in REPORTED}
    metrics = {
        "experiment": "x",
        "epoch": 1,
        "people": 8,
        "people_counted": 8,
        "settings": settings,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder, people


def test_the_tool_writes_pck_of_evaluations(evaluated, command, tmp_path):
    folder, people = evaluated
    done = command(
        "tools/pck_by_rotation.py",
        f"--evaluations={folder.parent}/*",
        f"--output={tmp_path / 'out.md'}",
    )
    (row,) = json.loads((tmp_path / "out.json").read_text())
    keypoints = np.stack([p.keypoints for p in people])
    turn = torso_rotation(keypoints, COCO)
    known = ~np.isnan(turn)
    labels = (keypoints[..., 2] > 0).sum(axis=1)
    expected = labels[known & (np.arange(len(people)) % 2 == 0)].sum() / labels[known].sum()
    for name in ("PCK@.2", "PCK@.1"):
        assert row["shares"][name]["all"]["mean"] == pytest.approx(expected)
        assert row["shares"][name]["all"]["people"] == known.sum()
    assert "| x | 256x192, scale 255, person, gt boxes, flip" in done.out


def test_an_evaluation_that_cannot_be_grouped_is_reported_in_one_line(evaluated, command, tmp_path):
    folder, _ = evaluated
    out = f"--output={tmp_path / 'out.md'}"
    failed = command("tools/pck_by_rotation.py", "--evaluations=nowhere/*", out, check=False)
    assert failed.status == 1 and "there is no evaluation" in failed.err
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["settings"]["network"] = "blazepose_detector"
    (folder / "metrics.json").write_text(json.dumps(metrics))
    failed = command("tools/pck_by_rotation.py", f"--evaluations={folder}", out, check=False)
    assert failed.status == 1 and "is of a detector" in failed.err
    metrics["settings"] |= {"network": "cpn", "boxes": "d.json"}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    failed = command("tools/pck_by_rotation.py", f"--evaluations={folder}", out, check=False)
    assert (
        failed.status == 1
        and "no evaluation on annotated boxes" in failed.err
        and not (tmp_path / "out.md").exists()
    )
