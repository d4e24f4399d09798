"""Preprocessing of pixels, horizontal flips, and the warp of images.

The warp is tensorflow-addons' where it is installed, else the operation of TensorFlow that it
calls. tensorflow-addons exists for Python up to 3.11 and works with TensorFlow up to 2.15. Later
versions of TensorFlow come with tf-keras (`tfcpn/__init__.py` selects it). Nothing else in the
package depends on which of the two is installed.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.utils.errors import InputError

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

    @property
    def pad_value(self) -> float:
        """The pad color after normalization, which is the same in all channels; 0 without one."""
        if self.pad_color is None:
            return 0.0
        return (self.pad_color[0] - self.mean[0]) / self.divisor


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


def flip_horizontal(images) -> tf.Tensor:
    """Flip images or maps from left to right.

    Args:
        images: (N, H, W, C).
    """
    # A CPU reverses the middle of three axes much faster than the third of four.
    rows = tf.reshape(images, (-1, *images.shape[2:]))
    return tf.reshape(tf.reverse(rows, axis=[1]), tf.shape(images))


if getattr(tf.keras, "__version__", "2").startswith("3"):
    raise InputError(
        f"TensorFlow {tf.__version__} uses Keras 3 here, and tfcpn is written for Keras 2: pip "
        "install tf-keras, and do not set TF_USE_LEGACY_KERAS=0"
    )


def native_transform(
    images,
    transforms,
    interpolation: str = "nearest",
    fill_mode: str = "constant",
    output_shape=None,
    fill_value: float = 0.0,
) -> tf.Tensor:
    """Warp images by projective transforms, with the arguments of
    `tensorflow_addons.image.transform`.

    Args:
        images: (N, H, W, C), uint8 or float.
        transforms: (N, 8) float32 rows a0, a1, a2, b0, b1, b2, c0, c1. Output pixel (x, y) reads
            the input at ((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k) with k = c0 x + c1 y + 1.
        interpolation: "nearest" or "bilinear".
        fill_mode: "constant", "reflect", "wrap" or "nearest", for what lies outside the image.
        output_shape: (height, width) of the output; None keeps the input's.
        fill_value: Value outside under "constant".

    Returns:
        (N, height, width, C), of the images' dtype.
    """
    images = tf.convert_to_tensor(images)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.convert_to_tensor(transforms, tf.float32),
        output_shape=tf.shape(images)[1:3]
        if output_shape is None
        else tf.convert_to_tensor(output_shape, tf.int32),
        interpolation=interpolation.upper(),
        fill_mode=fill_mode.upper(),
        fill_value=tf.convert_to_tensor(fill_value, tf.float32),
    )


try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # every import announces the end of life
        from tensorflow_addons.image import transform
except ImportError:
    transform = native_transform
