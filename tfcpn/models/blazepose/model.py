"""BlazePose (arXiv 2006.10204) as in MediaPipe: encoder, heatmap decoder, mask, regression."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.models.specs import (
    BLAZEPOSE_INPUT_SIZE,
    MASK_CHANNELS,
    NUM_LANDMARKS,
    VALUES_PER_LANDMARK,
    BlazePoseSpec,
)

NORM_EPSILON = 1e-3
NORM_SUFFIX = "_norm"


class _ChannelScaled:
    """Mixin of a convolution whose kernel and bias are stored relative to per-channel scales.

    A folded batch norm leaves channels whose weights differ by a factor of a million, which no
    learning rate fits. Relative to their scales, a step changes each in proportion. The scales are
    not trained.

    Attributes:
        mask: Where the kernel may be other than zero, shaped as the kernel; None: everywhere.
        shares_bias: Whether another convolution has the same bias, which then is not trained.
    """

    mask: np.ndarray | None = None
    shares_bias = False

    def build(self, input_shape):
        super().build(input_shape)
        channels = self.bias.shape
        ones = {"initializer": "ones", "trainable": False, "dtype": tf.float32}
        self.kernel_unit = self.add_weight(name="kernel_unit", shape=channels, **ones)
        self.bias_unit = self.add_weight(name="bias_unit", shape=channels, **ones)

    def scaled(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the kernel and bias to use."""
        depthwise = isinstance(self, tf.keras.layers.DepthwiseConv2D)
        kernel = self.depthwise_kernel if depthwise else self.kernel
        unit = self.kernel_unit[:, None] if depthwise else self.kernel_unit
        # Under a mixed policy all four are half precision within `call`, and float32 elsewhere.
        kernel, bias = kernel * unit, self.bias * self.bias_unit
        if self.mask is not None:
            kernel *= tf.cast(self.mask, kernel.dtype)
        return kernel, tf.stop_gradient(bias) if self.shares_bias else bias


class ScaledConv2D(_ChannelScaled, tf.keras.layers.Conv2D):
    """Convolution with a bias and per-channel scales."""

    def call(self, inputs):
        kernel, bias = self.scaled()
        return tf.nn.bias_add(
            tf.nn.conv2d(inputs, kernel, self.strides, self.padding.upper()), bias
        )


class ScaledDepthwiseConv2D(_ChannelScaled, tf.keras.layers.DepthwiseConv2D):
    """Depthwise convolution with a bias and per-channel scales."""

    def call(self, inputs):
        kernel, bias = self.scaled()
        strides = (1, *self.strides, 1)
        return tf.nn.bias_add(
            tf.nn.depthwise_conv2d(inputs, kernel, strides, self.padding.upper()), bias
        )


def first_quarter(batch) -> tf.Tensor:
    """Return the first quarter of a batch, rounded up, which distillation uses."""
    return batch[: (tf.shape(batch)[0] + 3) // 4]


class FirstQuarter(tf.keras.layers.Layer):
    """In training the first quarter of a batch, else all of it."""

    def call(self, inputs, training=None):
        return first_quarter(inputs) if training else inputs


def _relu6(name: str):
    return tf.keras.layers.ReLU(6.0, name=name)


class BlazeLayers:
    """Builds convolutions, numbered in the order of MediaPipe's files."""

    def __init__(self, norm: str, seed: int = 0):
        """Set what the layers share.

        Args:
            norm: "none": each convolution has a bias. "scaled": and per-channel scales. "batch": a
                batch norm instead. Output convolutions always have a bias.
            seed: Seed of the initial weights.
        """
        self.norm, self.seed, self.count = norm, seed, 0
        self.has_batch_norm = norm == "batch"
        self.kinds = tf.keras.layers.Conv2D, tf.keras.layers.DepthwiseConv2D
        if norm == "scaled":
            self.kinds = ScaledConv2D, ScaledDepthwiseConv2D

    def _named(self, name: str) -> str:
        self.count += 1
        return f"{self.count - 1:02d}_{name}"

    def _initializer(self):
        return tf.keras.initializers.HeNormal(seed=self.seed * 1000 + self.count)

    def _normalized(self, x, name: str, relu: bool):
        if self.has_batch_norm:
            layer = tf.keras.layers.BatchNormalization(
                epsilon=NORM_EPSILON, name=name + NORM_SUFFIX
            )
            x = layer(x)
        return _relu6(f"{name}_relu6")(x) if relu else x

    def conv(self, x, channels: int, kernel: int, name: str, *, stride: int = 1, relu: bool = True):
        """Add a convolution with its norm. With stride 2 the padding is symmetric."""
        name = self._named(name)
        if stride == 2:
            x = tf.keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
        padding = "same" if stride == 1 else "valid"
        options = {
            "use_bias": not self.has_batch_norm,
            "kernel_initializer": self._initializer(),
            "name": name,
        }
        x = self.kinds[0](channels, kernel, strides=stride, padding=padding, **options)(x)
        return self._normalized(x, name, relu)

    def depthwise(self, x, kernel: int, name: str, *, stride: int = 1, pad: bool = True):
        """Add a depthwise convolution with its norm and ReLU6.

        pad: symmetric padding with stride 2.
        """
        name = self._named(name)
        padding = "same"
        if stride == 2 and pad:
            x, padding = tf.keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x), "valid"
        options = {
            "use_bias": not self.has_batch_norm,
            "depthwise_initializer": self._initializer(),
            "name": name,
        }
        x = self.kinds[1](kernel, strides=stride, padding=padding, **options)(x)
        return self._normalized(x, name, True)

    def output_conv(self, x, channels: int, kernel: int, name: str, padding: str = "same"):
        """Add an output convolution: float32, with a bias."""
        name = self._named(name)
        options = {"kernel_initializer": self._initializer(), "dtype": "float32", "name": name}
        return self.kinds[0](channels, kernel, padding=padding, **options)(x)

    def bottleneck(self, x, block, name: str, skip=None):
        """Add an inverted bottleneck, residual where shapes allow.

        Args:
            x: Features.
            block: Its spec.
            name: Prefix of the layers' names.
            skip: Called on x between expansion and depthwise convolution, the order of MediaPipe's
            files.

        Returns:
            The features and the result of `skip`.
        """
        wide = self.conv(x, block.expanded, 1, f"{name}_expand")
        skip_features = skip(x) if skip is not None else None
        y = self.depthwise(wide, block.kernel, f"{name}_depthwise", stride=block.stride)
        y = self.conv(y, block.channels, 1, f"{name}_project", relu=False)
        if block.stride == 1 and x.shape[-1] == block.channels:
            y = tf.keras.layers.Add(name=f"{name}_add")([y, x])
        return y, skip_features

    def separable(self, x, channels: int, name: str):
        """Add a depthwise 3x3 and a 1x1 convolution, each with ReLU6."""
        return self.conv(self.depthwise(x, 3, f"{name}_depthwise"), channels, 1, name)

    def residual(self, x, name: str, stride: int = 1):
        """Add relu6(x + 1x1(depthwise 3x3(x))); with stride 2, x is max-pooled."""
        y = self.depthwise(x, 3, f"{name}_depthwise", stride=stride, pad=False)
        y = self.conv(y, x.shape[-1], 1, name, relu=False)
        if stride == 2:
            x = tf.keras.layers.MaxPool2D(2, name=f"{name}_pool")(x)
        return _relu6(f"{name}_relu6")(tf.keras.layers.Add(name=f"{name}_add")([x, y]))


class BlazePoseOutputs(NamedTuple):
    """Outputs of the network, float32.

    Attributes:
        landmarks: (N, 39, 5) x, y, z in crop pixels, logits of visibility and presence.
        person: (N, 1) logit of a person's presence.
        mask: (N, 256, 256, 1) logits; in training, of the first quarter of the crops.
        heatmaps: (N, 64, 64, 39) logits.
        world: (N, 39, 3) x, y, z in meters relative to the mid-hip.
    """

    landmarks: tf.Tensor
    person: tf.Tensor
    mask: tf.Tensor
    heatmaps: tf.Tensor
    world: tf.Tensor


def _up(x, name: str):
    return tf.keras.layers.UpSampling2D(2, interpolation="bilinear", name=name)(x)


def _add(a, b, name: str):
    return tf.keras.layers.Add(name=name)([a, b])


def build_blazepose(
    spec: BlazePoseSpec,
    norm: str = "none",
    seed: int = 0,
    stop_gradient: bool = False,
    freeze: int = 0,
) -> tf.keras.Model:
    """Build the network as a Keras functional model from images to `BlazePoseOutputs`.

    Args:
        spec: The architecture.
        norm: See `BlazeLayers`.
        seed: Seed of the initial weights.
        stop_gradient: Whether the regression branch does not train the encoder, as in the paper
            (section 2.4).
        freeze: Number of leading convolutions that are not trained.
    """
    layers = BlazeLayers(norm, seed)
    images = tf.keras.Input((*BLAZEPOSE_INPUT_SIZE, 3), name="image")
    x = layers.conv(images, spec.stem[0], 3, "stem", stride=2)
    x = layers.depthwise(x, 3, "stem_depthwise")
    x = layers.conv(x, spec.stem[1], 1, "stem_project", relu=False)

    def to_mask(features):
        if features.shape[-1] == MASK_CHANNELS:
            return layers.residual(features, "skip_mask")
        return layers.separable(features, MASK_CHANNELS, "skip_mask")

    skips = []
    for number, block in enumerate(spec.blocks):
        size = x.shape[1]
        skip = None
        if block.stride == 2:
            skip = (
                (lambda f, n=size: layers.separable(f, spec.decoder, f"skip{n}"))
                if skips
                else to_mask
            )
        x, skip_features = layers.bottleneck(x, block, f"block{number}", skip)
        if skip is not None:
            skips.append(skip_features)
    x = layers.conv(x, spec.last[0], 1, "last_expand")
    features = layers.depthwise(x, spec.last[1], "last_depthwise")

    mask_skip, *skips = skips
    x = layers.separable(features, spec.decoder, "decoder")
    for skip in reversed(skips):
        size = skip.shape[1]
        x = _add(_up(x, f"up{size}"), skip, f"decoder{size}")
    decoded = x

    # The mask takes a quarter of the work and has no labels: it is distilled on a quarter of the
    # crops.
    x = layers.separable(FirstQuarter(name="mask_part64")(decoded), MASK_CHANNELS, "mask")
    x = _add(_up(x, "mask_up128"), FirstQuarter(name="mask_part128")(mask_skip), "mask_add128")
    x = layers.residual(layers.residual(x, "mask128a"), "mask128b")
    x = _up(x, "mask_up256")
    x = layers.residual(layers.residual(x, "mask256a"), "mask256b")
    mask = layers.output_conv(x, 1, 3, "mask_out")
    heatmaps = layers.output_conv(decoded, NUM_LANDMARKS, 1, "heatmaps_out")

    if stop_gradient:
        features = tf.keras.layers.Lambda(tf.stop_gradient, name="stop_gradient")(features)
    x = layers.separable(features, spec.regression, "regression")
    for size, count in zip((4, 2), spec.residuals):
        x = layers.residual(x, f"regression{size}", stride=2)
        for number in range(count):
            x = layers.residual(x, f"regression{size}_{number}")
    landmarks = layers.output_conv(
        x, NUM_LANDMARKS * VALUES_PER_LANDMARK, 2, "landmarks_out", "valid"
    )
    world = layers.output_conv(x, NUM_LANDMARKS * 3, 2, "world_out", "valid")
    person = layers.output_conv(x, 1, 2, "person_out", "valid")
    reshape = tf.keras.layers.Reshape
    outputs = BlazePoseOutputs(
        reshape((NUM_LANDMARKS, VALUES_PER_LANDMARK), name="landmarks", dtype="float32")(landmarks),
        reshape((1,), name="person", dtype="float32")(person),
        mask,
        heatmaps,
        reshape((NUM_LANDMARKS, 3), name="world", dtype="float32")(world),
    )
    model = tf.keras.Model(images, outputs, name=f"blazepose_{spec.name}")
    for layer in convolutions(model)[:freeze]:
        for kept in filter(None, (layer, norm_of(model, layer))):
            kept.trainable = False
    return model


def convolutions(model: tf.keras.Model) -> list[tf.keras.layers.Layer]:
    """Return the convolutions of a model, in the order of MediaPipe's files."""
    kinds = (tf.keras.layers.Conv2D, tf.keras.layers.DepthwiseConv2D)
    return sorted(
        (layer for layer in model.layers if isinstance(layer, kinds)), key=lambda layer: layer.name
    )


def norm_of(model: tf.keras.Model, convolution) -> tf.keras.layers.BatchNormalization | None:
    """Return the batch norm after a convolution, if there is one."""
    name = convolution.name + NORM_SUFFIX
    return next((layer for layer in model.layers if layer.name == name), None)
