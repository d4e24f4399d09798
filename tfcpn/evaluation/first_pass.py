"""What a first pass over the square box tells: which turn of it to believe, and the alignment points."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

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
    return points_of(joints, scores, empty_score, skeleton, radius, absent).numpy()


def points_of(
    joints, scores, empty_score: float, skeleton: Skeleton, radius: str, absent: tuple[int, ...] = ()
) -> tf.Tensor:
    """`points_of_joints` of tensors, as a tensor (B, 2, 2) float64: a part of a graph."""
    if skeleton.align_points:
        return tf.cast(joints[:, skeleton.annotated :], tf.float64)
    peak = tf.convert_to_tensor(scores) - empty_score
    there = [joint for joint in range(peak.shape[1]) if joint not in absent]
    present = tf.sort(tf.gather(peak, there, axis=1), axis=1)
    median = (present[:, (len(there) - 1) // 2] + present[:, len(there) // 2]) / 2
    seen = (peak >= LEAST_PEAK * median[:, None]) & tf.constant([j in there for j in range(peak.shape[1])])
    joints = tf.cast(joints, tf.float64)
    keypoints = tf.concat([joints, tf.cast(seen[..., None], tf.float64)], axis=-1)
    return alignment_points(keypoints, tf.zeros(tf.shape(joints)[0], tf.float64), skeleton, radius)
