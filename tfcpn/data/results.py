"""Joints of people -> the entries of a results file, in COCO's format and with tf-cpn's rounding."""

from __future__ import annotations

import numpy as np

from tfcpn.data.coco import PERSON
from tfcpn.data.detections import Box


def result(
    box: Box, joints: np.ndarray, scores: np.ndarray, category: int = PERSON, absent: tuple[int, ...] = ()
) -> dict:
    """One entry of a results file, rounded as tf-cpn rounds.

    joints: (K, 2) in the image. scores: (K,). Both of the annotated joints only: alignment points are no result, and
    no part of the score. absent: numbers of joints that the network does not have: 0, 0, 0, and no part of it either.
    """
    keypoints = np.concatenate([np.round(joints, 3), np.ones((len(joints), 1))], axis=1)
    if absent:
        keypoints[list(absent)] = 0
        scores = np.delete(scores, list(absent))
    return {
        "image_id": box.image_id,
        "category_id": category,
        "keypoints": keypoints.ravel().tolist(),
        "score": round(float(box.score * np.mean(scores)), 4),
    }
