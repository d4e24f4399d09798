"""The blocks that networks are built of, convolution by convolution."""

from __future__ import annotations

import zlib

import tensorflow as tf

from tfcpn.networks.pointwise import PointwiseConv
from tfcpn.networks.upsampling import LazyPyramid, PyramidConv, Upsample

BATCH_NORM_DECAY = 0.99
# tf-cpn writes 1e-9, but TensorFlow 1's fused batch norm raised anything below this to it.
BATCH_NORM_EPSILON = 1.001e-5


class ConvLayers:
    """Makes the convolution blocks of the network; holds what they share.

    seed: of the initial weights; None: they are zero, for a model that gets those of another. batch_norm_momentum: what the
    statistics of batch norms keep of themselves in a step. late_upsampling: 1x1 convolutions come before the
    upsampling of what they see (`PyramidConv`); in half precision they always do, since there is no number of the
    original's to keep to the last bit.
    """

    def __init__(
        self,
        seed: int | None,
        batch_norm_momentum: float = BATCH_NORM_DECAY,
        late_upsampling: bool = False,
    ):
        self.seed, self.batch_norm_momentum = seed, batch_norm_momentum
        half = tf.keras.mixed_precision.global_policy().compute_dtype != "float32"
        self.late_upsampling = late_upsampling or half

    def initializer(self, kind: str, name: str) -> tf.keras.initializers.Initializer:
        """ "he" (fan-in, factor 2, truncated normal) or "glorot" (uniform), seeded by the layer's name.

        By name, so a layer's first weights do not depend on the order in which layers are built.
        """
        if self.seed is None:
            return tf.keras.initializers.Zeros()
        seed = (self.seed + zlib.crc32(name.encode())) % 2**31
        if kind == "he":
            return tf.keras.initializers.HeNormal(seed)
        return tf.keras.initializers.GlorotUniform(seed)

    def upsample_levels(self, levels: list, size: tuple[int, int], name: str):
        """A pyramid's levels, finest first, upsampled to `size` and joined, or what stands for that; for `conv`."""
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
        """A convolution without normalization. (N, H, W, C) -> (N, ceil(H / stride), ceil(W / stride), filters).

        x: a tensor or, for a kernel of 1 without a stride, `Levels`.
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
        """Convolution, batch norm whose gain starts at `gain` and, if asked, ReLU."""
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
        """1x1, 3x3 (which strides), 1x1 and the shortcut: identity where the depth stays, else a projection.

        x: a tensor or, as for `conv`, `Levels`.
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
