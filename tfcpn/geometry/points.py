"""A person's two alignment points: the mid-hip, and the point above it on the circle around the whole body."""

from __future__ import annotations

import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.skeleton import Skeleton

# From the farthest labelled joint to the circle around the body: what MediaPipe's own circle measures.
BEYOND_JOINTS = 1.15
# The circle of tf-cpn's experiment log (docs/experiments.md): through a point beyond the nose.
BEYOND_NOSE = 1.3


def alignment_joints(skeleton: Skeleton, radius: str) -> tuple[int, ...]:
    """The joints that must be labelled for the alignment points to be known.

    Raises InputError if the skeleton does not tell which they are.
    """
    ends, what = (skeleton.nose, "nose") if radius == "nose" else (skeleton.shoulders, "shoulders")
    for role, joints in (("hips", skeleton.hips), (what, ends)):
        if not joints:
            raise InputError(
                f"the joints {skeleton.name!r} name no {role}, of which BlazePose's alignment points are made: use "
                "--align=person or --align=square"
            )
    return skeleton.hips + ends


def alignable(keypoints, skeleton: Skeleton, radius: str) -> tf.Tensor:
    """Whether each of the people (..., K, 3) has the joints that the alignment points are made of: (...) bool."""
    needed = tf.gather(keypoints, list(alignment_joints(skeleton, radius)), axis=-2)
    return tf.reduce_all(needed[..., 2] > 0, axis=-1)


def alignment_points(keypoints, reach, skeleton: Skeleton, radius: str) -> tf.Tensor:
    """MediaPipe's two alignment points: the mid-hip, and the point above it on the circle around the whole body.

    keypoints: (..., K, 3) x, y, visibility. reach: (...) distance from the mid-hip to the farthest point of the
    person's outline, 0 if none is known. radius: "body" takes the farthest labelled joint or outline point (without
    an outline, as "joints"); "joints" the farthest labelled joint times 1.15; "nose" is the rule of tf-cpn's
    experiment log, 1.3 times the way to the nose. Returns (..., 2, 2) float64 x, y; without meaning where `alignable`
    is false.
    """
    keypoints = tf.cast(keypoints, tf.float64)
    xy = keypoints[..., :2]
    centre = tf.reduce_mean(tf.gather(xy, list(skeleton.hips), axis=-2), axis=-2)
    if radius == "nose":
        nose = tf.gather(xy, skeleton.nose[0], axis=-2)
        return tf.stack([centre, centre + BEYOND_NOSE * (nose - centre)], axis=-2)
    direction = tf.reduce_mean(tf.gather(xy, list(skeleton.shoulders), axis=-2), axis=-2) - centre
    length = tf.norm(direction, axis=-1, keepdims=True)
    # Shoulders exactly on the hips tell no direction: then up is up.
    up = tf.constant([0.0, -1.0], tf.float64)
    direction = tf.where(length > 0, tf.math.divide_no_nan(direction, length), up)
    distance = tf.norm(xy - centre[..., None, :], axis=-1)
    farthest = tf.reduce_max(tf.where(keypoints[..., 2] > 0, distance, 0.0), axis=-1)
    circle = BEYOND_JOINTS * farthest
    if radius == "body":
        reach = tf.cast(reach, tf.float64)
        circle = tf.where(reach > 0, tf.maximum(reach, farthest), circle)
    return tf.stack([centre, centre + circle[..., None] * direction], axis=-2)
