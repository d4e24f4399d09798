"""What a first pass over the square box tells: which turn of it to believe, and the alignment points."""

from __future__ import annotations

import numpy as np

from tfcpn.geometry.points import alignment_points
from tfcpn.skeleton import Skeleton

# Joints whose peak is below this share of the person's median peak do not count for the circle around the body.
LEAST_PEAK = 0.25


def surest_turn(joints: np.ndarray, scores: np.ndarray, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Of several turns of the same people the one with the highest mean score, person by person.

    joints: (T, B, K, 2). scores: (T, B, K). Returns (B, K, 2) and (B, K).
    """
    surest = scores[..., : skeleton.annotated].mean(axis=2).argmax(axis=0)
    everybody = np.arange(len(surest))
    return joints[surest, everybody], scores[surest, everybody]


def points_of_joints(
    joints: np.ndarray,
    scores: np.ndarray,
    empty_score: float,
    skeleton: Skeleton,
    radius: str,
    absent: tuple[int, ...] = (),
) -> np.ndarray:
    """The alignment points (B, 2, 2) that the joints (B, K, 2) in the image with scores (B, K) tell.

    Where the network predicts them they are its last two joints. Else they are made as from an annotation without an
    outline; a joint that scores little above empty_score is not in the picture, comes out anywhere, and must not
    widen the circle; nor must one that the network does not have (absent).
    """
    if skeleton.align_points:
        return joints[:, skeleton.annotated :]
    peak = scores - empty_score
    present = np.delete(peak, list(absent), axis=1)
    seen = peak >= LEAST_PEAK * np.median(present, axis=1, keepdims=True)
    seen[:, list(absent)] = False
    keypoints = np.concatenate([joints, seen[..., None]], axis=-1)
    return alignment_points(keypoints, np.zeros(len(joints)), skeleton, radius).numpy()
