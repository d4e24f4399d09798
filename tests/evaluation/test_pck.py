"""PCK against a plain loop over people and keypoints."""

import math

import numpy as np
import pytest

from support.perfect import BLAZEPOSE_DEFAULTS, PerfectKeypoints, config_of, evaluation_of
from support.small_run import flags, logged
from tfcpn.evaluation.metrics import PCK_NAMES, PCK_THRESHOLDS, compute_pck, resolve_pck_norm
from tfcpn.skeleton import COCO, LSP, from_names
from tfcpn.utils.errors import InputError


def slowly(found, keypoints, boxes, skeleton, norm, threshold):
    """Correct and labeled keypoints, by keypoint."""
    right, labeled = [0] * skeleton.num_keypoints, [0] * skeleton.num_keypoints
    for person in range(len(found)):
        if norm == "box":
            length = max(boxes[person][2], boxes[person][3])
        else:
            names = {"torso": ("left_shoulder", "right_hip"), "head": ("neck", "head_top")}[norm]
            a, b = (keypoints[person][skeleton.keypoints.index(name)] for name in names)
            if a[2] == 0 or b[2] == 0:
                continue
            length = math.hypot(a[0] - b[0], a[1] - b[1])
        for j in range(skeleton.num_keypoints):
            x, y, v = keypoints[person][j]
            if v > 0:
                labeled[j] += 1
                right[j] += (
                    math.hypot(found[person][j][0] - x, found[person][j][1] - y)
                    <= threshold * length
                )
    return right, labeled


def people(skeleton, count=40, seed=0):
    rng = np.random.default_rng(seed)
    keypoints = np.concatenate(
        [
            rng.uniform(0, 100, (count, skeleton.num_keypoints, 2)),
            np.zeros((count, skeleton.num_keypoints, 1)),
        ],
        2,
    )
    keypoints[..., 2] = rng.choice([0, 1, 2], (count, skeleton.num_keypoints), p=[0.2, 0.2, 0.6])
    found = keypoints[..., :2] + rng.normal(0, 9, (count, skeleton.num_keypoints, 2))
    boxes = np.concatenate([np.zeros((count, 2)), rng.uniform(40, 120, (count, 2))], axis=1)
    return found, keypoints, boxes


@pytest.mark.parametrize(
    "skeleton, norm", [(COCO, "torso"), (COCO, "box"), (LSP, "torso"), (LSP, "head"), (LSP, "box")]
)
def test_pck_equals_the_plain_loop(skeleton, norm):
    found, keypoints, boxes = people(skeleton)
    found_pck = compute_pck(found, keypoints, boxes, skeleton=skeleton, norm=norm)
    for t, threshold in enumerate(PCK_THRESHOLDS):
        right, labeled = slowly(found, keypoints, boxes, skeleton, norm, threshold)
        np.testing.assert_allclose(found_pck.per_keypoint[:, t], np.divide(right, labeled))
        assert found_pck.mean[t] == pytest.approx(sum(right) / sum(labeled))
        assert 0.02 < found_pck.mean[t] < 0.98
    assert PCK_NAMES == ("PCK@.2", "PCK@.1") and found_pck.norm == norm


def test_people_without_a_result_are_missed_and_people_without_a_length_do_not_count():
    found, keypoints, boxes = people(COCO, 2)
    keypoints[..., 2] = 2
    found = keypoints[..., :2].copy()
    found[1] = np.nan
    assert compute_pck(found, keypoints, boxes, skeleton=COCO).mean[0] == 0.5
    keypoints[1, COCO.hips[1], 2] = 0
    found_pck = compute_pck(found, keypoints, boxes, skeleton=COCO)
    assert found_pck.mean[0] == 1 and found_pck.people == 1


def test_an_unlabeled_keypoint_has_no_pck():
    found, keypoints, boxes = people(COCO)
    keypoints[:, 3, 2] = 0
    found_pck = compute_pck(found, keypoints, boxes, skeleton=COCO)
    assert np.isnan(found_pck.per_keypoint[3]).all() and not np.isnan(found_pck.mean).any()


def test_the_reference_length_depends_on_the_keypoints():
    worm = from_names("worm", ("head", "tail"))
    assert (
        resolve_pck_norm(COCO, "auto"),
        resolve_pck_norm(LSP, "auto"),
        resolve_pck_norm(worm, "auto"),
    ) == (
        "torso",
        "torso",
        "box",
    )
    with pytest.raises(InputError, match="--pck_norm=head: the keypoints 'coco' do not define it"):
        resolve_pck_norm(COCO, "head")


def test_half_bodies_have_no_pck_and_the_evaluation_still_runs(
    people_copy, edit_json, command, tiny_network, tmp_path
):
    def without_hips(data):
        for record in data["annotations"]:
            for keypoint in COCO.hips:
                record["keypoints"][3 * keypoint : 3 * keypoint + 3] = [0, 0, 0]
            record["num_keypoints"] = sum(v > 0 for v in record["keypoints"][2::3])

    edit_json(people_copy.val_annotations, without_hips)
    command(
        "-m", "tfcpn.train", *flags(people_copy, tmp_path / "run", "--epochs=1", "--eval_every=1")
    )
    (row,) = logged(tmp_path / "run")
    assert row["PCK@.2"] == "" and row["AP"] != ""
    done = command("-m", "tfcpn.eval", f"--model_dir={tmp_path / 'run'}", "--pck_norm=box")
    assert "n/a" not in done.out.splitlines()[-2].split("|")[-2]
    assert {p.name for p in (tmp_path / "run/eval").iterdir()} == {
        "epoch_0001",
        "epoch_0001_pck-box",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {**BLAZEPOSE_DEFAULTS, "align_source": "two_pass", "predict_align_points": True},
        {**BLAZEPOSE_DEFAULTS, "align_missing": "drop"},
    ],
)
def test_keypoints_are_compared_with_those_of_the_same_person(
    people_copy, edit_json, monkeypatch, tmp_path, changes
):
    def shuffle(
        data,
    ):  # interleave the images, so that the order of the boxes differs
        data["annotations"].sort(key=lambda a: (a["id"] * 7) % 11)
        first = next(a for a in data["annotations"] if a["num_keypoints"])
        first["keypoints"][15:18] = [0, 0, 0]  # no left shoulder, so no alignment
        first["num_keypoints"] = sum(v > 0 for v in first["keypoints"][2::3])

    edit_json(people_copy.val_annotations, shuffle)
    evaluation = evaluation_of(
        config_of(people_copy, model_dir=str(tmp_path), pck_norm="box", **changes)
    )
    metrics = evaluation.evaluate(PerfectKeypoints(evaluation).watch(monkeypatch), 1)
    counted = evaluation.people.people
    looked_at = {box.annotation_id for box in evaluation.people.boxes}
    labels = [(p.keypoints[:, 2] > 0).sum() for p in counted]
    share = sum(n for p, n in zip(counted, labels) if p.id in looked_at) / sum(labels)
    assert (share < 1) == ("align_missing" in changes)
    assert metrics["PCK@.2"] == pytest.approx(share) and metrics["PCK@.1"] == pytest.approx(share)
