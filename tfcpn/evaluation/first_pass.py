"""What a first pass over the square box tells: which turn of it to believe, and the alignment points."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfcpn.geometry.points import alignment_points
from tfcpn.skeleton import Skeleton

# Keypoints whose peak is below this share of the person's median peak do not count for the circle around the body.
MIN_PEAK = 0.25


def most_confident_rotation(
    keypoints: np.ndarray, scores: np.ndarray, skeleton: Skeleton
) -> tuple[np.ndarray, np.ndarray]:
    """Of several turns of the same people the one with the highest mean score, person by person.

    keypoints: (T, B, K, 2). scores: (T, B, K). Returns (B, K, 2) and (B, K).
    """
    surest = scores[..., : skeleton.num_annotated].mean(axis=2).argmax(axis=0)
    everybody = np.arange(len(surest))
    return keypoints[surest, everybody], scores[surest, everybody]


def points_from_keypoints(
    keypoints: np.ndarray,
    scores: np.ndarray,
    empty_score: float,
    skeleton: Skeleton,
    radius: str,
    missing_keypoints: tuple[int, ...] = (),
) -> np.ndarray:
    """The alignment points (B, 2, 2) that the keypoints (B, K, 2) in the image with scores (B, K) tell.

    Where the network predicts them they are its last two keypoints. Else they are made as from an annotation without an
    outline; a keypoint that scores little above empty_score is not in the image, comes out anywhere, and must not
    widen the circle; nor must one that the network does not have (absent).
    """
    if skeleton.align_points:
        return keypoints[:, skeleton.num_annotated :]
    return points_of(keypoints, scores, empty_score, skeleton, radius, missing_keypoints).numpy()


def points_of(
    keypoints,
    scores,
    empty_score: float,
    skeleton: Skeleton,
    radius: str,
    missing_keypoints: tuple[int, ...] = (),
) -> tf.Tensor:
    """`points_of_joints` of tensors, as a tensor (B, 2, 2) float64: a part of a graph."""
    if skeleton.align_points:
        return tf.cast(keypoints[:, skeleton.num_annotated :], tf.float64)
    peak = tf.convert_to_tensor(scores) - empty_score
    there = [keypoint for keypoint in range(peak.shape[1]) if keypoint not in missing_keypoints]
    present = tf.sort(tf.gather(peak, there, axis=1), axis=1)
    median = (present[:, (len(there) - 1) // 2] + present[:, len(there) // 2]) / 2
    seen = (peak >= MIN_PEAK * median[:, None]) & tf.constant(
        [j in there for j in range(peak.shape[1])]
    )
    keypoints = tf.cast(keypoints, tf.float64)
    with_visibility = tf.concat([keypoints, tf.cast(seen[..., None], tf.float64)], axis=-1)
    return alignment_points(
        with_visibility, tf.zeros(tf.shape(keypoints)[0], tf.float64), skeleton, radius
    )
