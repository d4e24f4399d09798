"""Preprocessing: how pixels become the network's input."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

# Mean color of ImageNet in BGR, as in tf-cpn.
MEAN_BGR = (102.9801, 115.9465, 122.7717)


class Preprocessing(NamedTuple):
    """The input is (pixel - mean) / divisor. Colors are BGR, as crops are.

    Attributes:
        mean: Mean color.
        divisor: Divisor of all channels.
        rgb: Whether the network expects RGB.
        pad_color: Color of the area outside the image; None repeats the image's border.
    """

    mean: tuple[float, float, float]
    divisor: float
    rgb: bool
    pad_color: tuple[float, float, float] | None


TF_CPN_PREPROCESSING = Preprocessing(MEAN_BGR, 255.0, rgb=False, pad_color=MEAN_BGR)


def normalize(crops, preprocessing: Preprocessing) -> tf.Tensor:
    """Normalize pixels.

    Args:
        crops: (..., 3) BGR in [0, 255].
        preprocessing: Mean, divisor and channel order.

    Returns:
        (..., 3) float32.
    """
    shape = tf.shape(crops)
    # Whole rows: a CPU subtracts triples several times slower.
    rows = tf.reshape(tf.cast(crops, tf.float32), tf.concat([shape[:-2], [shape[-2] * 3]], axis=0))
    rows = (rows - tf.tile(tf.constant(preprocessing.mean), [shape[-2]])) / preprocessing.divisor
    images = tf.ensure_shape(tf.reshape(rows, shape), crops.shape)
    return tf.reverse(images, axis=[-1]) if preprocessing.rgb else images


def denormalize(images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Convert inputs back to pixels for display: the inverse of `normalize`.

    Args:
        images: (..., 3) float.
        preprocessing: Mean, divisor and channel order.

    Returns:
        (..., 3) uint8 BGR.
    """
    images = images[..., ::-1] if preprocessing.rgb else images
    return np.clip(images * preprocessing.divisor + np.array(preprocessing.mean), 0, 255).astype(
        np.uint8
    )
