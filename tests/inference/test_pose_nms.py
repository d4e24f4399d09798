"""OKS between poses, and suppression of duplicates."""

from dataclasses import replace

import numpy as np
import pytest

from tfcpn.evaluation.metrics import keypoint_sigmas
from tfcpn.inference.estimator import Person, oks_nms, pose_oks
from tfcpn.skeleton import COCO, MEDIAPIPE


def person(shift=0.0, score=0.9, confidence=1.0) -> Person:
    keypoints = np.stack([np.linspace(0, 100, 17), np.linspace(0, 200, 17)], axis=1) + shift
    return Person(
        keypoints, np.full(17, 0.9, np.float32), np.full(17, confidence), score, np.zeros(5), 0
    )


def test_the_similarity_is_the_oks_of_coco():
    """exp(-d^2 / (2 s^2 (2 sigma)^2)), s^2 the area: .53 of the box of the keypoints."""
    moved = person().keypoints.copy()
    moved[:5] += 3
    area = 0.53 * 100 * 200
    expected = np.where(
        np.arange(17) < 5, np.exp(-18 / (2 * area * (2 * np.array(COCO.sigmas)) ** 2)), 1
    ).mean()
    assert pose_oks(moved, person(), keypoint_sigmas(COCO)) == pytest.approx(expected)
    assert pose_oks(person().keypoints, person(), keypoint_sigmas(COCO)) == 1
    assert pose_oks(moved, person(), keypoint_sigmas(COCO), sigma_scale=3) > expected


def test_only_confident_keypoints_count():
    unsure = replace(person(), confidence=np.where(np.arange(17) < 5, 0.1, 1.0))
    moved = person().keypoints.copy()
    moved[:5] += 50
    assert pose_oks(moved, unsure, keypoint_sigmas(COCO)) == 1
    moved[5] = np.nan
    assert pose_oks(moved, person(confidence=0.0), keypoint_sigmas(COCO)) < 1


def test_of_two_similar_poses_the_more_confident_one_is_kept():
    people = [person(score=0.5), person(1.0, score=0.8), person(80.0, score=0.3)]
    assert oks_nms(people, keypoint_sigmas(COCO), 0.7) == [1, 2]
    assert oks_nms(people, keypoint_sigmas(COCO), 1.0) == [1, 0, 2]


def test_keypoints_without_a_sigma_have_the_mean_of_coco():
    assert keypoint_sigmas(MEDIAPIPE) == pytest.approx([np.mean(COCO.sigmas)] * 33)
    assert len(keypoint_sigmas(COCO.with_align_points())) == 17
