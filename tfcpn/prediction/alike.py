"""How alike two poses are: COCO's object keypoint similarity, between predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfcpn.prediction.person import FILLED, SURE, Person


def similarity(joints: np.ndarray, other: Person, sigmas: np.ndarray, loose: float = 1.0) -> float:
    """The OKS (COCO keypoints evaluation) of joints (K, 2) with another person, over the joints that are certain
    there, or over all if none is. loose: factor of the tolerances.
    """
    counts = np.isfinite(joints[:, 0]) & np.isfinite(other.joints[:, 0])
    if (counts & (other.certain >= SURE)).any():
        counts &= other.certain >= SURE
    area = max(FILLED * other.box[2] * other.box[3], 1.0)
    squares = np.sum((joints[counts] - other.joints[counts]) ** 2, axis=1)
    return float(np.mean(np.exp(-squares / (2 * area * (2 * loose * sigmas[counts]) ** 2))))


def without_doubles(people: Sequence[Person], sigmas: np.ndarray, most: float) -> list[int]:
    """Places of the people that stay, the best first: who is more alike than `most` to a better one goes (OKS-NMS,
    PoseTrack's and COCO's usual way).
    """
    stay: list[int] = []
    for place in sorted(range(len(people)), key=lambda place: -people[place].score):
        if all(similarity(people[place].joints, people[other], sigmas) <= most for other in stay):
            stay.append(place)
    return stay
