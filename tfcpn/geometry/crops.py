"""Affine maps between image and crop, and keypoints through them."""

from __future__ import annotations

import tensorflow as tf

# Coordinate of unlabeled keypoints: negative after every later step.
UNLABELED = -1e6


def crop_to_image(region, input_size: tuple[int, int]) -> tf.Tensor:
    """Return the affine maps from crop pixels to image pixels.

    Args:
        region: (..., 5), see `regions`.
        input_size: (height, width) of the crop.

    Returns:
        (..., 2, 3) float64; multiply with (x, y, 1).
    """
    region = tf.cast(region, tf.float64)
    cx, cy, width, height, rotation = tf.unstack(region, axis=-1)
    cos, sin = tf.cos(rotation), tf.sin(rotation)
    x_step, y_step = width / input_size[1], height / input_size[0]
    rows = [
        [cos * x_step, -sin * y_step, cx - (cos * width - sin * height) / 2],
        [sin * x_step, cos * y_step, cy - (sin * width + cos * height) / 2],
    ]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)


def _split_region(region):
    region = tf.cast(region, tf.float64)[..., None, :]
    return region[..., :2], region[..., 2:4], tf.cos(region[..., 4]), tf.sin(region[..., 4])


def keypoints_to_crop(keypoints, region, input_size: tuple[int, int]) -> tf.Tensor:
    """Map keypoints from the image into the crop.

    Without rotation this is, to the last bit, tf-cpn's float32 difference times a rounded ratio: a
    keypoint exactly between two pixels of a label map must fall to the same side.

    Args:
        keypoints: (..., K, 3) x, y in image pixels, and visibility.
        region: (..., 5).
        input_size: (height, width) of the crop.

    Returns:
        (..., K, 3) float32 x, y in crop pixels, and visibility. Keypoints of visibility 0 lie at
        `UNLABELED`.
    """
    keypoints = tf.cast(keypoints, tf.float32)
    center, extent, cos, sin = _split_region(region)
    offset = tf.cast(keypoints[..., :2], tf.float64) - center
    rotated = tf.stack(
        [cos * offset[..., 0] + sin * offset[..., 1], cos * offset[..., 1] - sin * offset[..., 0]],
        axis=-1,
    )
    ratio = tf.cast(tf.constant([input_size[1], input_size[0]], tf.float64) / extent, tf.float32)
    xy = tf.cast(rotated + extent / 2, tf.float32) * ratio
    xy = tf.where(keypoints[..., 2:] > 0, xy, UNLABELED)
    return tf.concat([xy, keypoints[..., 2:]], axis=-1)


def keypoints_to_image(keypoints, region, input_size: tuple[int, int]) -> tf.Tensor:
    """Map keypoints from the crop into the image: the inverse of `keypoints_to_crop`.

    Args:
        keypoints: (..., K, 2) x, y in crop pixels.
        region: (..., 5).
        input_size: (height, width) of the crop.

    Returns:
        (..., K, 2) float64 x, y in image pixels.
    """
    center, extent, cos, sin = _split_region(region)
    offset = (
        tf.cast(keypoints, tf.float64) / tf.constant([input_size[1], input_size[0]], tf.float64)
        - 0.5
    ) * extent
    rotated = tf.stack(
        [cos * offset[..., 0] - sin * offset[..., 1], cos * offset[..., 1] + sin * offset[..., 0]],
        axis=-1,
    )
    return rotated + center
