"""The layers that networks are built of: convolution blocks, TensorFlow 1's upsampling, a quicker 1x1 convolution."""

from __future__ import annotations

import zlib

import numpy as np
import tensorflow as tf

BATCH_NORM_DECAY = 0.99
# tf-cpn writes 1e-9, but TensorFlow 1's fused batch norm raised anything below this to it.
BATCH_NORM_EPSILON = 1.001e-5


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
                input_sizes=tf.shape(x), filter=kernel, out_backprop=upstream, strides=strides, padding="VALID"
            )
            seen, upstream = (tf.reshape(t, (-1, t.shape[-1])) for t in (_seen(x, rows, columns), upstream))
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
        if inputs.dtype == tf.float32 or tf.config.list_physical_devices("GPU"):
            return super().convolution_op(inputs, kernel)
        return _convolve(inputs, tf.convert_to_tensor(kernel), *self.strides)


def _upsampling_matrix(size: int, length: int) -> np.ndarray:
    """(size, length) matrix of TensorFlow 1's bilinear upsampling of a line of `length` pixels."""
    source = np.minimum(np.arange(size) * (length / size), length - 1)
    return np.maximum(0, 1 - np.abs(source[:, None] - np.arange(length)))


@tf.keras.utils.register_keras_serializable("tfcpn")
class Upsample(tf.keras.layers.Layer):
    """Bilinear upsampling to a fixed size as TensorFlow 1 did it: no half-pixel centres, no aligned corners.

    Output pixel i reads the input at i * in / out; TensorFlow 2's resize reads (i + .5) * in / out - .5.

    In float32 this is the original's own operation, to the last bit of its gradient. In half precision it is two
    matrix products, whose weights are exact there: the operation would compute in float32 and, on a CPU, run its
    gradient on one core (8% of a step).
    """

    def __init__(self, size: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, x):
        if self.size == tuple(x.shape[1:3]):
            return x
        if x.dtype == tf.float32:
            return tf.raw_ops.ResizeBilinear(images=x, size=self.size)
        (height, width), (h, w, c) = self.size, x.shape[1:]
        x = tf.matmul(tf.constant(_upsampling_matrix(height, h), x.dtype), tf.reshape(x, (-1, h, w * c)))
        x = tf.matmul(tf.constant(_upsampling_matrix(width, w), x.dtype), tf.reshape(x, (-1, w, c)))
        return tf.reshape(x, (-1, height, width, c))

    def get_config(self):
        return {**super().get_config(), "size": self.size}


class ConvLayers:
    """Makes the convolution blocks of the network; holds what they share: the seed of the initial weights, and what
    the statistics of batch norms keep of themselves in a step.
    """

    def __init__(self, seed: int, norm_momentum: float = BATCH_NORM_DECAY):
        self.seed, self.norm_momentum = seed, norm_momentum

    def initializer(self, kind: str, name: str) -> tf.keras.initializers.Initializer:
        """ "he" (fan-in, factor 2, truncated normal) or "glorot" (uniform), seeded by the layer's name.

        By name, so a layer's first weights do not depend on the order in which layers are built.
        """
        seed = (self.seed + zlib.crc32(name.encode())) % 2**31
        if kind == "he":
            return tf.keras.initializers.HeNormal(seed)
        return tf.keras.initializers.GlorotUniform(seed)

    def conv(
        self,
        x,
        filters: int,
        kernel: int,
        name: str,
        *,
        stride: int = 1,
        init: str,
        bias: bool = False,
        dtype=None,
    ):
        """A convolution without normalisation. (N, H, W, C) -> (N, ceil(H / stride), ceil(W / stride), filters)."""
        padding = "same"
        if stride > 1 and kernel > 1:
            # Explicit and symmetric: "same" would pad an even size only below and on the right.
            before = (kernel - 1) // 2
            x = tf.keras.layers.ZeroPadding2D((before, kernel - 1 - before), name=f"{name}/pad", dtype=dtype)(x)
            padding = "valid"
        layer = PointwiseConv if kernel == 1 else tf.keras.layers.Conv2D
        return layer(
            filters,
            kernel,
            stride,
            padding,
            use_bias=bias,
            kernel_initializer=self.initializer(init, name),
            name=name,
            dtype=dtype,
        )(x)

    def conv_bn(
        self,
        x,
        filters: int,
        kernel: int,
        name: str,
        *,
        stride: int = 1,
        init: str,
        relu: bool,
        gain: float = 1.0,
        dtype=None,
    ):
        """Convolution, batch norm whose gain starts at `gain` and, if asked, ReLU."""
        x = self.conv(x, filters, kernel, name, stride=stride, init=init, dtype=dtype)
        x = tf.keras.layers.BatchNormalization(
            momentum=self.norm_momentum,
            epsilon=BATCH_NORM_EPSILON,
            gamma_initializer=tf.keras.initializers.Constant(gain),
            name=f"{name}/BatchNorm",
            dtype=dtype,
        )(x)
        return tf.keras.layers.ReLU(name=f"{name}/relu", dtype=dtype)(x) if relu else x

    def bottleneck(self, x, depth: int, inner: int, name: str, *, stride: int = 1):
        """1x1, 3x3 (which strides), 1x1 and the shortcut: identity where the depth stays, else a projection."""
        if x.shape[-1] == depth and stride == 1:
            shortcut = x
        else:
            shortcut = self.conv_bn(x, depth, 1, f"{name}/shortcut", stride=stride, init="he", relu=False)
        y = self.conv_bn(x, inner, 1, f"{name}/conv1", init="he", relu=True)
        y = self.conv_bn(y, inner, 3, f"{name}/conv2", stride=stride, init="he", relu=True)
        y = self.conv_bn(y, depth, 1, f"{name}/conv3", init="he", relu=False)
        return tf.keras.layers.ReLU(name=f"{name}/out")(tf.keras.layers.Add(name=f"{name}/add")([shortcut, y]))
