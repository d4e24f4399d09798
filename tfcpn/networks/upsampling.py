"""TensorFlow 1's upsampling, and the 1x1 convolution of what is upsampled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.networks.pointwise import PointwiseConv


def _upsampling_matrix(size: int, length: int) -> np.ndarray:
    """(size, length) matrix of TensorFlow 1's bilinear upsampling of a line of `length` pixels."""
    source = np.minimum(np.arange(size) * (length / size), length - 1)
    return np.maximum(0, 1 - np.abs(source[:, None] - np.arange(length)))


def upsample(x, size: tuple[int, int]) -> tf.Tensor:
    """(N, h, w, C) -> (N, *size, C), bilinear as TensorFlow 1 did it: no half-pixel centers, no aligned corners.

    Output pixel i reads the input at i * in / out; TensorFlow 2's resize reads (i + .5) * in / out - .5.

    In float32 this is the original's own operation, to the last bit of its gradient. In half precision it is two
    matrix products, whose weights are exact there when a size is doubled: the operation would compute in float32
    and, on a CPU, run its gradient on one core (8% of a step).
    """
    if tuple(size) == tuple(x.shape[1:3]):
        return x
    if x.dtype == tf.float32:
        return tf.raw_ops.ResizeBilinear(images=x, size=size)
    (height, width), (h, w, c) = size, x.shape[1:]
    x = tf.matmul(
        tf.constant(_upsampling_matrix(height, h), x.dtype), tf.reshape(x, (-1, h, w * c))
    )
    x = tf.matmul(tf.constant(_upsampling_matrix(width, w), x.dtype), tf.reshape(x, (-1, w, c)))
    return tf.reshape(x, (-1, height, width, c))


@tf.keras.utils.register_keras_serializable("tfcpn")
class Upsample(tf.keras.layers.Layer):
    """`upsample` to a fixed size."""

    def __init__(self, size: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, x):
        return upsample(x, self.size)

    def get_config(self):
        return {**super().get_config(), "size": self.size}


class LazyPyramid(NamedTuple):
    """Levels of a pyramid that stand for what they are when upsampled to `size` (H, W) and joined.

    tensors: (N, H / m, W / m, C), (N, H / mn, W / mn, D), ..., finest first, with whole m, n, ...
    """

    tensors: list
    size: tuple[int, int]


@tf.keras.utils.register_keras_serializable("tfcpn")
class PyramidConv(PointwiseConv):
    """The 1x1 convolution of `Levels`: of what they are when they are upsampled and joined.

    A list of tensors, or one, -> (N, *size, filters); the kernel is (1, 1, C + D + ..., filters). Raises ValueError
    if a level is not a whole number of times as large as the next.

    Upsampling and a 1x1 convolution may change places, and the convolution of joined channels is the sum of theirs.
    So every level is convolved in its own size and the sums are upsampled from level to level: the same numbers to
    rounding, with a third of the multiplications where there are four levels, a quarter where one is doubled.
    """

    def __init__(self, filters: int, size: tuple[int, int], kernel_size=1, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        if (self.kernel_size, self.strides, self.activation) != (
            (1, 1),
            (1, 1),
            tf.keras.activations.linear,
        ):
            raise ValueError(f"{self.name}: wants a kernel of 1, no strides and no activation")
        self.size = tuple(size)
        self.input_spec = None  # Conv2D's is that of a single tensor; its build sets it once more

    def build(self, shapes):
        several = isinstance(shapes[0], (list, tuple, tf.TensorShape))
        shapes = [tuple(shape) for shape in (shapes if several else [shapes])]
        for finer, coarser in zip(shapes, shapes[1:]):
            if finer[1] % coarser[1] or finer[2] % coarser[2]:
                raise ValueError(
                    f"{self.name}: {finer[1:3]} is not a whole number of times {coarser[1:3]}"
                )
        super().build((*shapes[0][:3], sum(shape[3] for shape in shapes)))
        self.input_spec = None

    def call(self, levels):
        levels = tf.nest.flatten(levels)
        kernels = tf.split(self.kernel, [level.shape[3] for level in levels], axis=2)
        convolved = [self.convolution_op(level, kernel) for level, kernel in zip(levels, kernels)]
        if self.use_bias:
            convolved[0] = tf.nn.bias_add(convolved[0], self.bias)
        total = convolved.pop()
        for level in reversed(convolved):
            total = level + upsample(total, level.shape[1:3])
        return upsample(total, self.size)

    def get_config(self):
        return {**super().get_config(), "size": self.size}
