"""The two alignment points: the mid-hip, and the point above it on the circle around the body."""

from __future__ import annotations

import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.skeleton import Skeleton

# Radius of the circle around the body over the distance of the farthest keypoint (MediaPipe).
KEYPOINT_RADIUS_FACTOR = 1.15
# The same over the distance of the nose, in tf-cpn's experiment log (docs/experiments.md).
NOSE_RADIUS_FACTOR = 1.3


def alignment_keypoints(skeleton: Skeleton, radius: str) -> tuple[int, ...]:
    """Return the indices of the keypoints that define the alignment points.

    Args:
        skeleton: The keypoints.
        radius: One of `RADII`.

    Raises:
        InputError: If the skeleton does not name them.
    """
    ends, what = (skeleton.nose, "nose") if radius == "nose" else (skeleton.shoulders, "shoulders")
    for role, keypoints in (("hips", skeleton.hips), (what, ends)):
        if not keypoints:
            raise InputError(
                f"the keypoints {skeleton.name!r} name no {role}, of which BlazePose's alignment points are made: use "
                "--align=person or --align=square"
            )
    return skeleton.hips + ends


def has_alignment_keypoints(keypoints, skeleton: Skeleton, radius: str) -> tf.Tensor:
    """Return whether each person has the keypoints that define the alignment points labeled.

    Args:
        keypoints: (..., K, 3) x, y, visibility.
        skeleton: The keypoints' definition.
        radius: One of `RADII`.

    Returns:
        (...) bool.
    """
    needed = tf.gather(keypoints, list(alignment_keypoints(skeleton, radius)), axis=-2)
    return tf.reduce_all(needed[..., 2] > 0, axis=-1)


def alignment_points(keypoints, max_radius, skeleton: Skeleton, radius: str) -> tf.Tensor:
    """Compute MediaPipe's two alignment points from keypoints.

    Args:
        keypoints: (..., K, 3) x, y in pixels, visibility.
        max_radius: (...) distance in pixels from the mid-hip to the farthest point of the person's
            outline; 0 if unknown.
        skeleton: The keypoints' definition.
        radius: "body": the farthest labeled keypoint or outline point (without an outline, as
            "keypoints"). "keypoints": 1.15 times the farthest labeled keypoint. "nose": 1.3 times the
            distance to the nose, the rule of tf-cpn's experiment log.

    Returns:
        (..., 2, 2) float64 x, y; meaningless where `has_alignment_keypoints` is false.
    """
    keypoints = tf.cast(keypoints, tf.float64)
    xy = keypoints[..., :2]
    center = tf.reduce_mean(tf.gather(xy, list(skeleton.hips), axis=-2), axis=-2)
    if radius == "nose":
        nose = tf.gather(xy, skeleton.nose[0], axis=-2)
        return tf.stack([center, center + NOSE_RADIUS_FACTOR * (nose - center)], axis=-2)
    direction = tf.reduce_mean(tf.gather(xy, list(skeleton.shoulders), axis=-2), axis=-2) - center
    length = tf.norm(direction, axis=-1, keepdims=True)
    # Shoulders exactly on the hips define no direction: use straight up.
    up = tf.constant([0.0, -1.0], tf.float64)
    direction = tf.where(length > 0, tf.math.divide_no_nan(direction, length), up)
    distance = tf.norm(xy - center[..., None, :], axis=-1)
    farthest = tf.reduce_max(tf.where(keypoints[..., 2] > 0, distance, 0.0), axis=-1)
    circle = KEYPOINT_RADIUS_FACTOR * farthest
    if radius == "body":
        max_radius = tf.cast(max_radius, tf.float64)
        circle = tf.where(max_radius > 0, tf.maximum(max_radius, farthest), circle)
    return tf.stack([center, center + circle[..., None] * direction], axis=-2)
