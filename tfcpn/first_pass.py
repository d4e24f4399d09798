"""What a first pass over the square box tells: which turn of it to believe, and the alignment points."""

from __future__ import annotations

import numpy as np

from tfcpn import align
from tfcpn.skeleton import NUM_JOINTS

# Joints whose peak is below this share of the person's median peak do not count for the circle around the body.
LEAST_PEAK = 0.25


def surest_turn(joints: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of several turns of the same people the one with the highest mean score, person by person.

    joints: (T, B, K, 2). scores: (T, B, K). Returns (B, K, 2) and (B, K).
    """
    surest = scores[..., :NUM_JOINTS].mean(axis=2).argmax(axis=0)
    everybody = np.arange(len(surest))
    return joints[surest, everybody], scores[surest, everybody]


def alignment_points(joints: np.ndarray, scores: np.ndarray, radius: str) -> np.ndarray:
    """The alignment points (B, 2, 2) that the joints (B, K, 2) in the image with scores (B, K) tell.

    With 19 joints they are the last two. Else they are made as from an annotation without an outline; a joint with a
    weak peak is not in the picture, comes out anywhere, and must not widen the circle.
    """
    if joints.shape[1] > NUM_JOINTS:
        return joints[:, NUM_JOINTS:]
    peak = scores - 0.5
    seen = peak >= LEAST_PEAK * np.median(peak, axis=1, keepdims=True)
    keypoints = np.concatenate([joints, seen[..., None]], axis=-1)
    return align.alignment_points(keypoints, np.zeros(len(joints)), radius).numpy()
