"""The 1x1 convolution, with a weight gradient that is quick on a CPU in half precision."""

from __future__ import annotations

import tensorflow as tf


@tf.custom_gradient
def _convolve(x, kernel):
    """x: (N, H, W, C), kernel: (1, 1, C, D) -> (N, H, W, D)."""

    def gradient(upstream):
        one = [1, 1, 1, 1]
        to_x = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(x), filter=kernel, out_backprop=upstream, strides=one, padding="VALID"
        )
        rows, upstream_rows = (tf.reshape(t, (-1, t.shape[-1])) for t in (x, upstream))
        return to_x, tf.reshape(tf.matmul(rows, upstream_rows, transpose_a=True), kernel.shape)

    return tf.nn.conv2d(x, kernel, 1, "VALID"), gradient


class PointwiseConv(tf.keras.layers.Conv2D):
    """Conv2D of kernel 1: the same numbers and, in float32 or on a GPU, the same operations.

    oneDNN computes a convolution's weight gradient in bfloat16 hardly faster than in float32; the matrix product that
    it is here takes a quarter of that (docs/performance.md).
    """

    def convolution_op(self, inputs, kernel):
        if inputs.dtype == tf.float32 or tf.config.list_physical_devices("GPU"):
            return super().convolution_op(inputs, kernel)
        rows, columns = self.strides
        x = inputs[:, ::rows, ::columns] if max(self.strides) > 1 else inputs
        return _convolve(x, tf.convert_to_tensor(kernel))
