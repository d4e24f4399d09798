"""PCK against a plain loop over people and joints."""

import math

import numpy as np
import pytest

from tfcpn.base.errors import InputError
from tfcpn.evaluation.pck import NAMES, THRESHOLDS, choose_norm, pck
from tfcpn.skeleton import COCO, LSP, by_names


def slowly(found, keypoints, boxes, skeleton, norm, threshold):
    """Right and labelled joints, by joint."""
    right, labelled = [0] * skeleton.count, [0] * skeleton.count
    for person in range(len(found)):
        if norm == "box":
            length = max(boxes[person][2], boxes[person][3])
        else:
            names = {"torso": ("left_shoulder", "right_hip"), "head": ("neck", "head_top")}[norm]
            a, b = (keypoints[person][skeleton.joints.index(name)] for name in names)
            if a[2] == 0 or b[2] == 0:
                continue
            length = math.hypot(a[0] - b[0], a[1] - b[1])
        for j in range(skeleton.count):
            x, y, v = keypoints[person][j]
            if v > 0:
                labelled[j] += 1
                right[j] += math.hypot(found[person][j][0] - x, found[person][j][1] - y) <= threshold * length
    return right, labelled


def people(skeleton, count=40, seed=0):
    rng = np.random.default_rng(seed)
    keypoints = np.concatenate(
        [rng.uniform(0, 100, (count, skeleton.count, 2)), np.zeros((count, skeleton.count, 1))], 2
    )
    keypoints[..., 2] = rng.choice([0, 1, 2], (count, skeleton.count), p=[0.2, 0.2, 0.6])
    found = keypoints[..., :2] + rng.normal(0, 9, (count, skeleton.count, 2))
    boxes = np.concatenate([np.zeros((count, 2)), rng.uniform(40, 120, (count, 2))], axis=1)
    return found, keypoints, boxes


@pytest.mark.parametrize(
    "skeleton, norm", [(COCO, "torso"), (COCO, "box"), (LSP, "torso"), (LSP, "head"), (LSP, "box")]
)
def test_shares_are_those_of_the_plain_loop(skeleton, norm):
    found, keypoints, boxes = people(skeleton)
    result = pck(found, keypoints, boxes, skeleton, norm)
    for t, threshold in enumerate(THRESHOLDS):
        right, labelled = slowly(found, keypoints, boxes, skeleton, norm, threshold)
        np.testing.assert_allclose(result.joints[:, t], np.divide(right, labelled))
        assert result.mean[t] == pytest.approx(sum(right) / sum(labelled))
        assert 0.02 < result.mean[t] < 0.98
    assert NAMES == ("PCK@.2", "PCK@.1") and result.norm == norm


def test_who_was_left_out_is_missed_and_who_has_no_length_does_not_count():
    found, keypoints, boxes = people(COCO, 2)
    keypoints[..., 2] = 2
    found = keypoints[..., :2].copy()
    found[1] = np.nan
    assert pck(found, keypoints, boxes, COCO).mean[0] == 0.5
    keypoints[1, COCO.hips[1], 2] = 0
    result = pck(found, keypoints, boxes, COCO)
    assert result.mean[0] == 1 and result.people == 1


def test_a_joint_that_nobody_has_labelled_has_no_share():
    found, keypoints, boxes = people(COCO)
    keypoints[:, 3, 2] = 0
    result = pck(found, keypoints, boxes, COCO)
    assert np.isnan(result.joints[3]).all() and not np.isnan(result.mean).any()


def test_the_length_is_chosen_by_what_the_joints_tell():
    worm = by_names("worm", ("head", "tail"))
    assert (choose_norm(COCO, "auto"), choose_norm(LSP, "auto"), choose_norm(worm, "auto")) == (
        "torso",
        "torso",
        "box",
    )
    with pytest.raises(InputError, match="--pck_norm=head: the joints 'coco' do not tell it; use box"):
        choose_norm(COCO, "head")
