"""Image <-> crop: the affine map of a region, and joints through it in both directions."""

from __future__ import annotations

import tensorflow as tf

# Where a joint that is not labelled is put: so far outside that every later step sees a negative coordinate.
UNLABELLED = -1e6


def crop_to_image(region, input_size: tuple[int, int]) -> tf.Tensor:
    """The affine maps (..., 2, 3) float64 from crop pixels (x, y, 1) to image pixels."""
    region = tf.cast(region, tf.float64)
    cx, cy, width, height, rotation = tf.unstack(region, axis=-1)
    cos, sin = tf.cos(rotation), tf.sin(rotation)
    x_step, y_step = width / input_size[1], height / input_size[0]
    rows = [
        [cos * x_step, -sin * y_step, cx - (cos * width - sin * height) / 2],
        [sin * x_step, cos * y_step, cy - (sin * width + cos * height) / 2],
    ]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)


def _parts(region):
    region = tf.cast(region, tf.float64)[..., None, :]
    return region[..., :2], region[..., 2:4], tf.cos(region[..., 4]), tf.sin(region[..., 4])


def joints_to_crop(joints, region, input_size: tuple[int, int]) -> tf.Tensor:
    """Joints (..., K, 3) in the image -> (..., K, 3) float32 in the crop; the third value, visibility, stays.

    region: (..., 5). A joint of visibility 0 is put far outside (negative). Without rotation this is, to the last
    bit, tf-cpn's float32 difference times a rounded ratio: a joint that lies exactly between two pixels of a label
    map must fall to the same side.
    """
    joints = tf.cast(joints, tf.float32)
    centre, extent, cos, sin = _parts(region)
    way = tf.cast(joints[..., :2], tf.float64) - centre
    turned = tf.stack([cos * way[..., 0] + sin * way[..., 1], cos * way[..., 1] - sin * way[..., 0]], axis=-1)
    ratio = tf.cast(tf.constant([input_size[1], input_size[0]], tf.float64) / extent, tf.float32)
    xy = tf.cast(turned + extent / 2, tf.float32) * ratio
    xy = tf.where(joints[..., 2:] > 0, xy, UNLABELLED)
    return tf.concat([xy, joints[..., 2:]], axis=-1)


def joints_to_image(joints, region, input_size: tuple[int, int]) -> tf.Tensor:
    """Joints (..., K, 2) in the crop -> (..., K, 2) float64 in the image: the inverse of `joints_to_crop`."""
    centre, extent, cos, sin = _parts(region)
    way = (tf.cast(joints, tf.float64) / tf.constant([input_size[1], input_size[0]], tf.float64) - 0.5) * extent
    turned = tf.stack([cos * way[..., 0] - sin * way[..., 1], cos * way[..., 1] + sin * way[..., 0]], axis=-1)
    return turned + centre
