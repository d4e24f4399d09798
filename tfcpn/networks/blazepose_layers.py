"""Layers of the BlazePose network: convolutions, each with what stands for its batch norm, and its two blocks."""

from __future__ import annotations

import tensorflow as tf

NORM_EPSILON = 1e-3
NORM_SUFFIX = "_norm"


class _Scaled:
    """Of a convolution whose kernel and bias are kept in units of their own, channel by channel.

    A folded batch norm leaves channels whose weights differ by a factor of a million, of which no rate fits all: in
    units of their own a step changes each in proportion. The units are weights that are not trained.
    """

    def build(self, input_shape):
        super().build(input_shape)
        channels = self.bias.shape
        ones = {"initializer": "ones", "trainable": False, "dtype": tf.float32}
        self.kernel_unit = self.add_weight(name="kernel_unit", shape=channels, **ones)
        self.bias_unit = self.add_weight(name="bias_unit", shape=channels, **ones)

    def scaled(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Kernel and bias as they are used."""
        depthwise = isinstance(self, tf.keras.layers.DepthwiseConv2D)
        kernel = self.depthwise_kernel if depthwise else self.kernel
        unit = self.kernel_unit[:, None] if depthwise else self.kernel_unit
        # Under a mixed policy all four are half precision within `call`, and float32 elsewhere.
        return kernel * unit, self.bias * self.bias_unit


class ScaledConv2D(_Scaled, tf.keras.layers.Conv2D):
    """A convolution with a bias, in units of its own."""

    def call(self, inputs):
        kernel, bias = self.scaled()
        return tf.nn.bias_add(
            tf.nn.conv2d(inputs, kernel, self.strides, self.padding.upper()), bias
        )


class ScaledDepthwiseConv2D(_Scaled, tf.keras.layers.DepthwiseConv2D):
    """A depthwise convolution with a bias, in units of its own."""

    def call(self, inputs):
        kernel, bias = self.scaled()
        strides = (1, *self.strides, 1)
        return tf.nn.bias_add(
            tf.nn.depthwise_conv2d(inputs, kernel, strides, self.padding.upper()), bias
        )


def first_quarter(batch) -> tf.Tensor:
    """The first quarter of a batch, rounded up: what the network is held on."""
    return batch[: (tf.shape(batch)[0] + 3) // 4]


class FirstQuarter(tf.keras.layers.Layer):
    """In training the first quarter of a batch; else all of it."""

    def call(self, inputs, training=None):
        return first_quarter(inputs) if training else inputs


def _relu6(name: str):
    return tf.keras.layers.ReLU(6.0, name=name)


class BlazeLayers:
    """Makes convolutions one after another, numbered in their order, which is that of MediaPipe's files.

    norm: "none" gives every convolution a bias; "scaled" too, and units (`ScaledConv2D`); "batch" a batch norm
    instead. The layers that the network ends in have a bias always. seed: of the first weights.
    """

    def __init__(self, norm: str, seed: int = 0):
        self.norm, self.seed, self.count = norm, seed, 0
        self.biased, self.normed = norm != "batch", norm == "batch"
        self.kinds = tf.keras.layers.Conv2D, tf.keras.layers.DepthwiseConv2D
        if norm == "scaled":
            self.kinds = ScaledConv2D, ScaledDepthwiseConv2D

    def _named(self, name: str) -> str:
        self.count += 1
        return f"{self.count - 1:02d}_{name}"

    def _initializer(self):
        return tf.keras.initializers.HeNormal(seed=self.seed * 1000 + self.count)

    def _normed(self, x, name: str, relu: bool):
        if self.normed:
            layer = tf.keras.layers.BatchNormalization(
                epsilon=NORM_EPSILON, name=name + NORM_SUFFIX
            )
            x = layer(x)
        return _relu6(f"{name}_relu6")(x) if relu else x

    def conv(self, x, channels: int, kernel: int, name: str, *, stride: int = 1, relu: bool = True):
        """A convolution with its norm. With stride 2 the padding is the same on both sides."""
        name = self._named(name)
        if stride == 2:
            x = tf.keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
        padding = "same" if stride == 1 else "valid"
        how = {"use_bias": self.biased, "kernel_initializer": self._initializer(), "name": name}
        x = self.kinds[0](channels, kernel, strides=stride, padding=padding, **how)(x)
        return self._normed(x, name, relu)

    def depthwise(self, x, kernel: int, name: str, *, stride: int = 1, pad: bool = True):
        """A depthwise convolution with its norm and ReLU6. pad: with stride 2, the same on both sides."""
        name = self._named(name)
        padding = "same"
        if stride == 2 and pad:
            x, padding = tf.keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x), "valid"
        how = {"use_bias": self.biased, "depthwise_initializer": self._initializer(), "name": name}
        x = self.kinds[1](kernel, strides=stride, padding=padding, **how)(x)
        return self._normed(x, name, True)

    def end(self, x, channels: int, kernel: int, name: str, padding: str = "same"):
        """A convolution that the network ends in: float32, with a bias."""
        name = self._named(name)
        how = {"kernel_initializer": self._initializer(), "dtype": "float32", "name": name}
        return self.kinds[0](channels, kernel, padding=padding, **how)(x)

    def bottleneck(self, x, block, name: str, skip=None):
        """An inverted bottleneck, residual where shapes allow. skip: called on x between expansion and depthwise,
        which is where the files have what the decoder takes. Returns the features and what `skip` gave.
        """
        wide = self.conv(x, block.expanded, 1, f"{name}_expand")
        taken = skip(x) if skip is not None else None
        y = self.depthwise(wide, block.kernel, f"{name}_depthwise", stride=block.stride)
        y = self.conv(y, block.channels, 1, f"{name}_project", relu=False)
        if block.stride == 1 and x.shape[-1] == block.channels:
            y = tf.keras.layers.Add(name=f"{name}_add")([y, x])
        return y, taken

    def separable(self, x, channels: int, name: str):
        """Depthwise 3x3, then 1x1, each with ReLU6."""
        return self.conv(self.depthwise(x, 3, f"{name}_depthwise"), channels, 1, name)

    def residual(self, x, name: str, stride: int = 1):
        """relu6(x + 1x1(depthwise 3x3(x))); with stride 2 x is max-pooled."""
        y = self.depthwise(x, 3, f"{name}_depthwise", stride=stride, pad=False)
        y = self.conv(y, x.shape[-1], 1, name, relu=False)
        if stride == 2:
            x = tf.keras.layers.MaxPool2D(2, name=f"{name}_pool")(x)
        return _relu6(f"{name}_relu6")(tf.keras.layers.Add(name=f"{name}_add")([x, y]))
