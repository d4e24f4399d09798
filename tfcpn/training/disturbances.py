"""What makes views harder without moving a keypoint: other colors, and things in front."""

from __future__ import annotations

import tensorflow as tf

from tfcpn.picture.look import Preprocessing
from tfcpn.training.augmentation import stateless_seed

# Sides of what is in front, in parts of the view's.
_LEAST, _MOST = 0.1, 0.4


def color_jitter(images, seed, amount: float) -> tf.Tensor:
    """Views (N, H, W, 3), normalized, with a contrast and a saturation of 1 - amount to 1 + amount times their own,
    and by up to amount / 2 brighter or darker, where 1 is from black to white. The draws depend on the seed, a pair
    of integers, alone.
    """
    draws = tf.random.stateless_uniform(
        (3, tf.shape(images)[0], 1, 1, 1), stateless_seed(seed, 11), -amount, amount
    )
    gray = tf.reduce_mean(images, axis=-1, keepdims=True)
    colored = gray + (1 + draws[0]) * (images - gray)
    middle = tf.reduce_mean(colored, axis=(1, 2), keepdims=True)
    return middle + (1 + draws[1]) * (colored - middle) + draws[2] / 2


def random_erasing(
    images, keypoints, visibility, seed, share: float, preprocessing: Preprocessing
) -> tuple[tf.Tensor, tf.Tensor]:
    """Views and their keypoints' visibility where, in a `share` of the views, a rectangle of one color hides what is
    there (random erasing, arXiv 1708.04896).

    images: (N, H, W, 3), normalized. keypoints: (N, K, 2) x, y in pixels. visibility: (N, K). The rectangle's sides are
    .1 to .4 of the view's. Keypoints behind it are still to be found: those that were visible, 2, become occluded, 1.
    """
    count, (height, width) = tf.shape(images)[0], images.shape[1:3]
    draws = tf.random.stateless_uniform((8, count), stateless_seed(seed, 12))
    size = tf.constant([[width], [height]], tf.float32)
    half = size * (_LEAST + (_MOST - _LEAST) * draws[:2]) / 2
    center, shown = size * draws[2:4], draws[4] < share
    columns = (
        tf.abs(tf.range(width, dtype=tf.float32) + 0.5 - center[0][:, None]) < half[0][:, None]
    )
    rows = tf.abs(tf.range(height, dtype=tf.float32) + 0.5 - center[1][:, None]) < half[1][:, None]
    place = rows[:, :, None] & columns[:, None, :] & shown[:, None, None]
    color = (
        255 * tf.transpose(draws[5:]) - tf.constant(preprocessing.mean)
    ) / preprocessing.divisor
    images = tf.where(place[..., None], color[:, None, None], images)
    behind = tf.reduce_all(
        tf.abs(keypoints - tf.transpose(center)[:, None]) < tf.transpose(half)[:, None], axis=-1
    )
    return images, tf.where(behind & shown[:, None], tf.minimum(visibility, 1.0), visibility)
