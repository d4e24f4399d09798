"""Layers of the CPN."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf


def _strided(x, rows: int, columns: int) -> tf.Tensor:
    """Return the pixels of x (N, H, W, C) that a 1x1 convolution with strides uses."""
    height, width, channels = x.shape[1:]
    if rows == columns == 1:
        return x
    if height is None or width is None or height % rows or width % columns:
        return x[:, ::rows, ::columns]
    # Copy whole pixels: a strided slice copies number by number, which takes twenty times as long.
    blocks = tf.reshape(x, (-1, height // rows, rows, width // columns, columns * channels))
    return blocks[:, :, 0, :, :channels]


def _convolve(x, kernel, rows: int, columns: int):
    """Convolve with a kernel of 1; the gradient of the kernel is a matrix product.

    Args:
        x: (N, H, W, C).
        kernel: (1, 1, C, D).
        rows, columns: Strides.

    Returns:
        (N, ceil(H / rows), ceil(W / columns), D).
    """
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
                tf.reshape(t, (-1, t.shape[-1])) for t in (_strided(x, rows, columns), upstream)
            )
            return to_x, tf.reshape(tf.matmul(seen, upstream, transpose_a=True), kernel.shape)

        return tf.nn.conv2d(x, kernel, strides, "VALID"), gradient

    return convolve(x, kernel)


@tf.keras.utils.register_keras_serializable("tfcpn")
class PointwiseConv(tf.keras.layers.Conv2D):
    """Conv2D of kernel 1; in float32 or on a GPU the very same operations.

    oneDNN computes the weight gradient of a convolution in bfloat16 hardly faster than in float32.
    The matrix product here takes a quarter of that time (docs/notes/performance.md).
    """

    def convolution_op(self, inputs, kernel):
        if inputs.dtype == tf.float32 or tf.config.get_visible_devices("GPU"):
            return super().convolution_op(inputs, kernel)
        return _convolve(inputs, tf.convert_to_tensor(kernel), *self.strides)


def _upsampling_matrix(size: int, length: int) -> np.ndarray:
    """Return the (size, length) matrix of TensorFlow 1's bilinear upsampling of a line."""
    source = np.minimum(np.arange(size) * (length / size), length - 1)
    return np.maximum(0, 1 - np.abs(source[:, None] - np.arange(length)))


def upsample(x, size: tuple[int, int]) -> tf.Tensor:
    """Upsample as TensorFlow 1 did: bilinear without half-pixel centers or aligned corners.

    Output pixel i reads the input at i * in / out; TensorFlow 2's resize reads (i + .5) * in / out
    - .5. In float32 this is the original's own operation, to the last bit of its gradient. In half
    precision it is two matrix products, whose weights are exact when a size is doubled: the
    operation would compute in float32 and, on a CPU, run its gradient on one core (8% of a step).

    Args:
        x: (N, h, w, C).
        size: (height, width).

    Returns:
        (N, *size, C).
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
    """`upsample` to a fixed size as a layer."""

    def __init__(self, size: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, x):
        return upsample(x, self.size)

    def get_config(self):
        return {**super().get_config(), "size": self.size}


class LazyPyramid(NamedTuple):
    """Pyramid levels that represent their concatenation after upsampling to `size`.

    Attributes:
        tensors: (N, H / m, W / m, C), (N, H / mn, W / mn, D), ..., finest first, with integers m,
        n, ...
        size: (H, W).
    """

    tensors: list
    size: tuple[int, int]


@tf.keras.utils.register_keras_serializable("tfcpn")
class PyramidConv(PointwiseConv):
    """The 1x1 convolution of a `LazyPyramid`: of its upsampled and concatenated levels.

    Upsampling and a 1x1 convolution commute, and the convolution of concatenated channels is the
    sum of theirs. So every level is convolved in its own size and the sums are upsampled from level
    to level: equal up to rounding, with a third of the multiplications for four levels.

    The input is a list of tensors, or one; the kernel is (1, 1, C + D + ..., filters).

    Raises:
        ValueError: If a level is not an integer number of times as large as the next.
    """

    def __init__(self, filters: int, size: tuple[int, int], kernel_size=1, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        if (self.kernel_size, self.strides, self.activation) != (
            (1, 1),
            (1, 1),
            tf.keras.activations.linear,
        ):
            raise ValueError(f"{self.name}: needs a kernel of 1, no strides and no activation")
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


BATCH_NORM_MOMENTUM = 0.99
# tf-cpn writes 1e-9, but TensorFlow 1's fused batch norm raised anything below this to it.
BATCH_NORM_EPSILON = 1.001e-5


class ConvLayers:
    """Builds the convolution blocks of the CPN."""

    def __init__(
        self,
        seed: int | None,
        batch_norm_momentum: float = BATCH_NORM_MOMENTUM,
        late_upsampling: bool = False,
    ):
        """Set what the blocks share.

        Args:
            seed: Seed of the initial weights; None for zeros, in a model that gets those of
            another.
            batch_norm_momentum: Decay of the moving averages.
            late_upsampling: Apply 1x1 convolutions before upsampling (`PyramidConv`). Always on in
                half precision, where there are no numbers of the original to match to the last bit.
        """
        self.seed, self.batch_norm_momentum = seed, batch_norm_momentum
        half = tf.keras.mixed_precision.global_policy().compute_dtype != "float32"
        self.late_upsampling = late_upsampling or half

    def initializer(self, kind: str, name: str) -> tf.keras.initializers.Initializer:
        """Return an initializer, seeded by the name of the layer, not by the order of building.

        Args:
            kind: "he" (fan-in, factor 2, truncated normal) or "glorot" (uniform).
            name: Name of the layer.
        """
        if self.seed is None:
            return tf.keras.initializers.Zeros()
        seed = (self.seed + zlib.crc32(name.encode())) % 2**31
        if kind == "he":
            return tf.keras.initializers.HeNormal(seed)
        return tf.keras.initializers.GlorotUniform(seed)

    def upsample_levels(self, levels: list, size: tuple[int, int], name: str):
        """Upsample pyramid levels, finest first, and concatenate them, possibly lazily."""
        if self.late_upsampling:
            return LazyPyramid(levels, size)
        large = [Upsample(size, name=f"{name}/level{i}")(level) for i, level in enumerate(levels)]
        return (
            tf.keras.layers.Concatenate(name=f"{name}/joined")(large)
            if len(large) > 1
            else large[0]
        )

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
        """Add a convolution without normalization.

        Args:
            x: (N, H, W, C), or a `LazyPyramid` for a kernel of 1 without a stride.
            filters: Output channels.
            kernel: Size of the kernel.
            name: Name of the layer.
            stride: Stride.
            init: See `initializer`.
            bias: Whether it has a bias.
            dtype: Type of the layer; None for the policy's.

        Returns:
            (N, ceil(H / stride), ceil(W / stride), filters).
        """
        how = {
            "use_bias": bias,
            "kernel_initializer": self.initializer(init, name),
            "name": name,
            "dtype": dtype,
        }
        if isinstance(x, LazyPyramid):
            if (kernel, stride) != (1, 1):
                raise ValueError(f"{name}: levels are convolved by kernels of 1 without a stride")
            return PyramidConv(filters, x.size, **how)(x.tensors)
        padding = "same"
        if stride > 1 and kernel > 1:
            # Explicit and symmetric: "same" would pad an even size only below and on the right.
            before = (kernel - 1) // 2
            x = tf.keras.layers.ZeroPadding2D(
                (before, kernel - 1 - before), name=f"{name}/pad", dtype=dtype
            )(x)
            padding = "valid"
        layer = PointwiseConv if kernel == 1 else tf.keras.layers.Conv2D
        return layer(filters, kernel, stride, padding, **how)(x)

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
        """Add a convolution, a batch norm whose gain starts at `gain`, and optionally a ReLU."""
        x = self.conv(x, filters, kernel, name, stride=stride, init=init, dtype=dtype)
        x = tf.keras.layers.BatchNormalization(
            momentum=self.batch_norm_momentum,
            epsilon=BATCH_NORM_EPSILON,
            gamma_initializer=tf.keras.initializers.Constant(gain),
            name=f"{name}/BatchNorm",
            dtype=dtype,
        )(x)
        return tf.keras.layers.ReLU(name=f"{name}/relu", dtype=dtype)(x) if relu else x

    def bottleneck(self, x, depth: int, inner: int, name: str, *, stride: int = 1):
        """Add a bottleneck: 1x1, 3x3 (with the stride), 1x1, and a shortcut.

        The shortcut is the identity if the depth stays the same, else a projection.

        Args:
            x: A tensor, or a `LazyPyramid`.
            depth: Output channels.
            inner: Channels of the 3x3 convolution.
            name: Prefix of the layers' names.
            stride: Stride.
        """
        if not isinstance(x, LazyPyramid) and x.shape[-1] == depth and stride == 1:
            shortcut = x
        else:
            shortcut = self.conv_bn(
                x, depth, 1, f"{name}/shortcut", stride=stride, init="he", relu=False
            )
        y = self.conv_bn(x, inner, 1, f"{name}/conv1", init="he", relu=True)
        y = self.conv_bn(y, inner, 3, f"{name}/conv2", stride=stride, init="he", relu=True)
        y = self.conv_bn(y, depth, 1, f"{name}/conv3", init="he", relu=False)
        return tf.keras.layers.ReLU(name=f"{name}/out")(
            tf.keras.layers.Add(name=f"{name}/add")([shortcut, y])
        )
