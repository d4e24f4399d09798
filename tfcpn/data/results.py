"""Keypoints of people -> the entries of a results file, in COCO's format and with tf-cpn's rounding."""

from __future__ import annotations

import numpy as np

from tfcpn.data.coco import PERSON
from tfcpn.data.detections import PersonBox


def result(
    box: PersonBox,
    keypoints: np.ndarray,
    scores: np.ndarray,
    category: int = PERSON,
    missing_keypoints: tuple[int, ...] = (),
) -> dict:
    """One entry of a results file, rounded as tf-cpn rounds.

    keypoints: (K, 2) in the image. scores: (K,). Both of the annotated keypoints only: alignment points are no result, and
    no part of the score. absent: numbers of keypoints that the network does not have: 0, 0, 0, and no part of it either.
    """
    flat = np.concatenate([np.round(keypoints, 3), np.ones((len(keypoints), 1))], axis=1)
    if missing_keypoints:
        flat[list(missing_keypoints)] = 0
        scores = np.delete(scores, list(missing_keypoints))
    return {
        "image_id": box.image_id,
        "category_id": category,
        "keypoints": flat.ravel().tolist(),
        "score": round(float(box.score * np.mean(scores)), 4),
    }
