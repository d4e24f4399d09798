"""BlazePose (arXiv 2006.10204) as MediaPipe ships it: encoder, decoder to heatmaps, mask and regression branch."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfcpn.networks.blazepose_layers import NORM_SUFFIX, BlazeLayers, FirstQuarter
from tfcpn.networks.blazepose_table import (
    INPUT_SIZE,
    MASK_CHANNELS,
    NUM_LANDMARKS,
    VALUES_PER_LANDMARK,
    BlazePoseSpec,
)


class BlazePoseOutputs(NamedTuple):
    """What the network returns, float32.

    landmarks: (N, 39, 5) x, y and z in crop pixels, logits of visibility and presence. person: (N, 1) logit of a
    person's being there. mask: (N, 256, 256, 1) logits, in training of the first quarter of the crops. heatmaps:
    (N, 64, 64, 39) logits. world: (N, 39, 3) x, y, z in meters about the mid-hip.
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
    table: BlazePoseSpec,
    norm: str = "none",
    seed: int = 0,
    stop_gradient: bool = False,
    frozen: int = 0,
) -> tf.keras.Model:
    """The network as a Keras functional model from (N, 256, 256, 3) images to `BlazePoseOutputs`.

    norm: as in `BlazeLayers`. stop_gradient: whether the regression branch leaves the encoder alone, as in the
    paper's training (section 2.4). frozen: how many of the first convolutions are not trained. Convolutions are
    numbered in the order of MediaPipe's files.
    """
    layers = BlazeLayers(norm, seed)
    images = tf.keras.Input((*INPUT_SIZE, 3), name="image")
    x = layers.conv(images, table.stem[0], 3, "stem", stride=2)
    x = layers.depthwise(x, 3, "stem_depthwise")
    x = layers.conv(x, table.stem[1], 1, "stem_project", relu=False)

    def to_mask(features):
        if features.shape[-1] == MASK_CHANNELS:
            return layers.residual(features, "skip_mask")
        return layers.separable(features, MASK_CHANNELS, "skip_mask")

    skips = []
    for number, block in enumerate(table.blocks):
        size = x.shape[1]
        skip = None
        if block.stride == 2:
            skip = (
                (lambda f, n=size: layers.separable(f, table.decoder, f"skip{n}"))
                if skips
                else to_mask
            )
        x, taken = layers.bottleneck(x, block, f"block{number}", skip)
        if skip is not None:
            skips.append(taken)
    x = layers.conv(x, table.last[0], 1, "last_expand")
    features = layers.depthwise(x, table.last[1], "last_depthwise")

    mask_skip, *skips = skips
    x = layers.separable(features, table.decoder, "decoder")
    for skip in reversed(skips):
        size = skip.shape[1]
        x = _add(_up(x, f"up{size}"), skip, f"decoder{size}")
    decoded = x

    # The mask is a quarter of the work and nobody labels it: in training it is held on a quarter of the crops.
    x = layers.separable(FirstQuarter(name="mask_part64")(decoded), MASK_CHANNELS, "mask")
    x = _add(_up(x, "mask_up128"), FirstQuarter(name="mask_part128")(mask_skip), "mask_add128")
    x = layers.residual(layers.residual(x, "mask128a"), "mask128b")
    x = _up(x, "mask_up256")
    x = layers.residual(layers.residual(x, "mask256a"), "mask256b")
    mask = layers.end(x, 1, 3, "mask_out")
    heatmaps = layers.end(decoded, NUM_LANDMARKS, 1, "heatmaps_out")

    if stop_gradient:
        features = tf.keras.layers.Lambda(tf.stop_gradient, name="stop_gradient")(features)
    x = layers.separable(features, table.regression, "regression")
    for size, count in zip((4, 2), table.residuals):
        x = layers.residual(x, f"regression{size}", stride=2)
        for number in range(count):
            x = layers.residual(x, f"regression{size}_{number}")
    landmarks = layers.end(x, NUM_LANDMARKS * VALUES_PER_LANDMARK, 2, "landmarks_out", "valid")
    world = layers.end(x, NUM_LANDMARKS * 3, 2, "world_out", "valid")
    person = layers.end(x, 1, 2, "person_out", "valid")
    reshape = tf.keras.layers.Reshape
    outputs = BlazePoseOutputs(
        reshape((NUM_LANDMARKS, VALUES_PER_LANDMARK), name="landmarks", dtype="float32")(landmarks),
        reshape((1,), name="person", dtype="float32")(person),
        mask,
        heatmaps,
        reshape((NUM_LANDMARKS, 3), name="world", dtype="float32")(world),
    )
    model = tf.keras.Model(images, outputs, name=f"blazepose_{table.name}")
    for layer in convolutions(model)[:frozen]:
        for kept in filter(None, (layer, norm_of(model, layer))):
            kept.trainable = False
    return model


def convolutions(model: tf.keras.Model) -> list[tf.keras.layers.Layer]:
    """The convolutions of a model, in the order of MediaPipe's files."""
    kinds = (tf.keras.layers.Conv2D, tf.keras.layers.DepthwiseConv2D)
    return sorted(
        (layer for layer in model.layers if isinstance(layer, kinds)), key=lambda layer: layer.name
    )


def norm_of(model: tf.keras.Model, convolution) -> tf.keras.layers.BatchNormalization | None:
    """The batch norm behind a convolution, if the model has batch norms and this one is followed by one."""
    name = convolution.name + NORM_SUFFIX
    return next((layer for layer in model.layers if layer.name == name), None)
