"""Images and maps, turned over from left to right."""

from __future__ import annotations

import tensorflow as tf


def mirror_pixels(images) -> tf.Tensor:
    """Images or maps (N, H, W, C), turned over from left to right."""
    # A CPU reverses the middle axis of three much faster than the third of four.
    rows = tf.reshape(images, (-1, *images.shape[2:]))
    return tf.reshape(tf.reverse(rows, axis=[1]), tf.shape(images))
