"""Views that show the upper or the lower half of a person, as those whom a picture's border cuts."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.skeleton import Skeleton, joint_part

_LEGS = ("hip", "knee", "ankle", "heel", "foot", "toe", "leg", "thigh", "shin", "calf")
# Fewer joints than these do not tell where a half is.
LEAST_JOINTS = 3
# Side of what is seen over the extent of the half's joints, and the least of it over the region's.
_MARGIN, _LEAST = 1.5, 0.4


def below_the_hips(skeleton: Skeleton) -> tuple[bool, ...]:
    """Of each joint whether it is of the lower half, as its name says: hips, knees, ankles and what is below.

    Raises InputError where one of the halves has too few joints.
    """
    lower = tuple(any(word in joint_part(name) for word in _LEGS) for name in skeleton.joints)
    if not LEAST_JOINTS <= sum(lower) <= len(lower) - LEAST_JOINTS:
        raise InputError(
            f"--half_body: the names of these joints ({', '.join(skeleton.joints)}) do not tell the halves: it wants "
            f"{LEAST_JOINTS} or more with {', '.join(_LEGS[:-1])} or {_LEGS[-1]} in them, and as many without"
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


def half_bodies(joints, draws, share: float, lower: tuple[bool, ...]) -> HalfBodies:
    """Who is seen in part. joints: (P, K, 3) x, y in crop pixels and visibility. draws: (P,) from 0 to 1; below half
    of `share` the upper half is seen, below all of it the lower one, if enough of its joints are labelled.
    """
    of_half = tf.where((draws < share / 2)[:, None], [not low for low in lower], list(lower))
    known = of_half & (joints[..., 2] > 0)
    place, far = joints[..., :2], tf.constant(1e6)
    low = tf.reduce_min(tf.where(known[..., None], place, far), axis=1)
    high = tf.reduce_max(tf.where(known[..., None], place, -far), axis=1)
    enough = tf.reduce_sum(tf.cast(known, tf.int32), axis=1) >= LEAST_JOINTS
    return HalfBodies((draws < share) & enough, low, high)
