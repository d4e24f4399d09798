"""How alike two poses are: COCO's object keypoint similarity, between predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfcpn.prediction.person import AREA_RATIO, DRAW_THRESHOLD, Person


def pose_oks(
    keypoints: np.ndarray, other: Person, sigmas: np.ndarray, sigma_scale: float = 1.0
) -> float:
    """The OKS (COCO keypoints evaluation) of keypoints (K, 2) with another person, over the keypoints that are certain
    there, or over all if none is. loose: factor of the tolerances.
    """
    counts = np.isfinite(keypoints[:, 0]) & np.isfinite(other.keypoints[:, 0])
    if (counts & (other.confidence >= DRAW_THRESHOLD)).any():
        counts &= other.confidence >= DRAW_THRESHOLD
    area = max(AREA_RATIO * other.box[2] * other.box[3], 1.0)
    squares = np.sum((keypoints[counts] - other.keypoints[counts]) ** 2, axis=1)
    return float(np.mean(np.exp(-squares / (2 * area * (2 * sigma_scale * sigmas[counts]) ** 2))))


def oks_nms(people: Sequence[Person], sigmas: np.ndarray, most: float) -> list[int]:
    """Places of the people that stay, the best first: who is more alike than `most` to a better one goes (OKS-NMS,
    PoseTrack's and COCO's usual way).
    """
    stay: list[int] = []
    for place in sorted(range(len(people)), key=lambda place: -people[place].score):
        if all(pose_oks(people[place].keypoints, people[other], sigmas) <= most for other in stay):
            stay.append(place)
    return stay
