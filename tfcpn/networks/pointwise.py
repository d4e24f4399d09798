"""A 1x1 convolution that learns quicker in half precision on a CPU."""

from __future__ import annotations

import tensorflow as tf


def _seen(x, rows: int, columns: int) -> tf.Tensor:
    """The pixels of x (N, H, W, C) that a 1x1 convolution of these strides sees."""
    height, width, channels = x.shape[1:]
    if rows == columns == 1:
        return x
    if height is None or width is None or height % rows or width % columns:
        return x[:, ::rows, ::columns]
    # The same by copying whole pixels: a slice with strides goes number by number, which takes twenty times as long.
    blocks = tf.reshape(x, (-1, height // rows, rows, width // columns, columns * channels))
    return blocks[:, :, 0, :, :channels]


def _convolve(x, kernel, rows: int, columns: int):
    """x: (N, H, W, C), kernel: (1, 1, C, D) -> (N, ceil(H / rows), ceil(W / columns), D)."""
    strides = [1, rows, columns, 1]

    @tf.custom_gradient
    def convolve(x, kernel):
        def gradient(upstream):
            to_x = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(x),
                filter=kernel,
                out_backprop=upstream,
                strides=strides,
                padding="VALID",
            )
            seen, upstream = (
                tf.reshape(t, (-1, t.shape[-1])) for t in (_seen(x, rows, columns), upstream)
            )
            return to_x, tf.reshape(tf.matmul(seen, upstream, transpose_a=True), kernel.shape)

        return tf.nn.conv2d(x, kernel, strides, "VALID"), gradient

    return convolve(x, kernel)


@tf.keras.utils.register_keras_serializable("tfcpn")
class PointwiseConv(tf.keras.layers.Conv2D):
    """Conv2D of kernel 1: the same numbers and, in float32 or on a GPU, the same operations.

    oneDNN computes a convolution's weight gradient in bfloat16 hardly faster than in float32; the matrix product that
    it is here takes a quarter of that (docs/performance.md).
    """

    def convolution_op(self, inputs, kernel):
        if inputs.dtype == tf.float32 or tf.config.get_visible_devices("GPU"):
            return super().convolution_op(inputs, kernel)
        return _convolve(inputs, tf.convert_to_tensor(kernel), *self.strides)
