"""ResNet v1 as tf-cpn has it: bottlenecks that stride on the 3x3 of a block's first unit.

Layers carry the scope names of the TensorFlow 1 program, so a checkpoint of it maps on by name.
"""

from __future__ import annotations

import zlib

import tensorflow as tf

from tfcpn.pointwise_conv import PointwiseConv

# Units of block1..block4; their widths are the same for every depth.
UNITS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4

SCOPES = {"resnet50": "resnet_v1_50", "resnet101": "resnet_v1_101"}

BATCH_NORM_DECAY = 0.99
# tf-cpn writes 1e-9, but TensorFlow 1's fused batch norm raised anything below this to it.
BATCH_NORM_EPSILON = 1.001e-5


class ConvLayers:
    """Makes the convolution blocks of the network; holds what they share: the seed of the initial weights."""

    def __init__(self, seed: int):
        self.seed = seed

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
            momentum=BATCH_NORM_DECAY,
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


def resnet_features(images, backbone: str, layers: ConvLayers) -> list:
    """The outputs of block1..block4 (C2..C5), at 1/4, 1/8, 1/16 and 1/32 of the input.

    images: (N, H, W, 3) float, H and W multiples of 32.
    """
    scope = SCOPES[backbone]
    x = layers.conv_bn(images, 64, 7, f"{scope}/conv1", stride=2, init="he", relu=True)
    # tf-cpn pads with zeros, not minus infinity; after a ReLU it makes no difference to the maximum.
    x = tf.keras.layers.ZeroPadding2D(1, name=f"{scope}/pool1/pad")(x)
    x = tf.keras.layers.MaxPool2D(3, 2, "valid", name=f"{scope}/pool1")(x)
    features = []
    for block, (units, width) in enumerate(zip(UNITS[backbone], WIDTHS), start=1):
        for unit in range(1, units + 1):
            stride = 2 if block > 1 and unit == 1 else 1
            x = layers.bottleneck(
                x, width * EXPANSION, width, f"{scope}/block{block}/unit_{unit}/bottleneck_v1", stride=stride
            )
        features.append(x)
    return features
