"""Views that show the upper or the lower half of a person, as those whom an image's border cuts."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.skeleton import Skeleton, body_part

_LEGS = ("hip", "knee", "ankle", "heel", "foot", "toe", "leg", "thigh", "shin", "calf")
# Fewer keypoints than these do not tell where a half is.
LEAST_KEYPOINTS = 3
# Side of what is seen over the extent of the half's keypoints, and the least of it over the region's.
_MARGIN, _LEAST = 1.5, 0.4


def lower_body_mask(skeleton: Skeleton) -> tuple[bool, ...]:
    """Of each keypoint whether it is of the lower half, as its name says: hips, knees, ankles and what is below.

    Raises InputError where one of the halves has too few keypoints.
    """
    lower = tuple(any(word in body_part(name) for word in _LEGS) for name in skeleton.keypoints)
    if not LEAST_KEYPOINTS <= sum(lower) <= len(lower) - LEAST_KEYPOINTS:
        raise InputError(
            f"--random_half_body: the names of these keypoints ({', '.join(skeleton.keypoints)}) do not tell the halves: it wants "
            f"{LEAST_KEYPOINTS} or more with {', '.join(_LEGS[:-1])} or {_LEGS[-1]} in them, and as many without"
        )
    return lower


class HalfBodies(NamedTuple):
    """shown: (P,) bool, who is seen in part. low, high: (P, 2) x, y in crop pixels, the corners of that part."""

    shown: tf.Tensor
    low: tf.Tensor
    high: tf.Tensor

    def within(self, region, middle) -> tuple[tf.Tensor, tf.Tensor]:
        """Size of what is seen over that of the region, (P,), and its middle in crop pixels, (P, 2). region: (2,)
        width and height of the region in crop pixels. middle: (2,) its own.
        """
        part = tf.reduce_max((self.high - self.low) / region, axis=1) * _MARGIN
        size = tf.where(self.shown, tf.clip_by_value(part, _LEAST, 1.0), 1.0)
        return size, tf.where(self.shown[:, None], (self.low + self.high) / 2, middle)


def select_half_bodies(keypoints, draws, share: float, lower: tuple[bool, ...]) -> HalfBodies:
    """Who is seen in part. keypoints: (P, K, 3) x, y in crop pixels and visibility. draws: (P,) from 0 to 1; below half
    of `share` the upper half is seen, below all of it the lower one, if enough of its keypoints are labeled.
    """
    of_half = tf.where((draws < share / 2)[:, None], [not low for low in lower], list(lower))
    known = of_half & (keypoints[..., 2] > 0)
    place, far = keypoints[..., :2], tf.constant(1e6)
    low = tf.reduce_min(tf.where(known[..., None], place, far), axis=1)
    high = tf.reduce_max(tf.where(known[..., None], place, -far), axis=1)
    enough = tf.reduce_sum(tf.cast(known, tf.int32), axis=1) >= LEAST_KEYPOINTS
    return HalfBodies((draws < share) & enough, low, high)
