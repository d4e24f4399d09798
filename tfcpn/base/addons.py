"""The warp of images: tensorflow-addons' where it is installed, else the operation of TensorFlow that it calls.

tensorflow-addons exists for Python up to 3.11 and works with TensorFlow up to 2.15. Beyond, TensorFlow comes with
tf-keras (`tfcpn/__init__.py` selects it). Nothing else in the package depends on which of the two is installed.
"""

from __future__ import annotations

import warnings

import tensorflow as tf

from tfcpn.base.errors import InputError

if getattr(tf.keras, "__version__", "2").startswith("3"):
    raise InputError(
        f"TensorFlow {tf.__version__} uses Keras 3 here, and tfcpn is written for Keras 2: pip install tf-keras, and "
        "do not set TF_USE_LEGACY_KERAS=0"
    )


def native_transform(
    images,
    transforms,
    interpolation: str = "nearest",
    fill_mode: str = "constant",
    output_shape=None,
    fill_value: float = 0.0,
) -> tf.Tensor:
    """Warp images by projective transforms, with the arguments of `tensorflow_addons.image.transform`.

    Args:
        images: (N, H, W, C), uint8 or float.
        transforms: (N, 8) float32 rows a0, a1, a2, b0, b1, b2, c0, c1. Output pixel (x, y) reads the input at
            ((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k) with k = c0 x + c1 y + 1.
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
