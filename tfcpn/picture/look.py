"""What a network sees of a crop: the normalisation of its pixels, and the colour of what lies outside the image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

# Mean colour of ImageNet in BGR, as tf-cpn subtracts it.
MEAN_BGR = (102.9801, 115.9465, 122.7717)


class Look(NamedTuple):
    """The input is (pixel - mean) / divisor. Colours are BGR, as crops are.

    rgb: whether the network wants its channels as RGB. outside: the colour of what lies outside the image; None: its
    border is repeated there.
    """

    mean: tuple[float, float, float]
    divisor: float
    rgb: bool
    outside: tuple[float, float, float] | None


TF_CPN = Look(MEAN_BGR, 255.0, rgb=False, outside=MEAN_BGR)


def normalize(crops, look: Look) -> tf.Tensor:
    """BGR pixels (..., 3) in [0, 255] -> the network's input, float32 of the same shape."""
    shape = tf.shape(crops)
    # Whole rows at a time: a CPU subtracts triples several times slower.
    rows = tf.reshape(tf.cast(crops, tf.float32), tf.concat([shape[:-2], [shape[-2] * 3]], axis=0))
    rows = (rows - tf.tile(tf.constant(look.mean), [shape[-2]])) / look.divisor
    images = tf.ensure_shape(tf.reshape(rows, shape), crops.shape)
    return tf.reverse(images, axis=[-1]) if look.rgb else images


def to_pixels(images: np.ndarray, look: Look) -> np.ndarray:
    """The inverse of `normalize`, to look at: (..., 3) uint8 BGR."""
    images = images[..., ::-1] if look.rgb else images
    return np.clip(images * look.divisor + np.array(look.mean), 0, 255).astype(np.uint8)
