"""The Cascaded Pyramid Network (arXiv 1711.07319): GlobalNet over ResNet, RefineNet over GlobalNet.

Layers have the scope names of tf-cpn, so its checkpoints map by name.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import tensorflow as tf

from tfcpn.codecs.heatmap import HeatmapTargets
from tfcpn.models import pretrained
from tfcpn.models.layers import BATCH_NORM_MOMENTUM, ConvLayers, Upsample
from tfcpn.models.model import Network, conv_kernels, variables_by_name
from tfcpn.models.specs import EXPANSION, SCOPES, STRIDE, UNITS, WIDTHS
from tfcpn.transforms.normalize import TF_CPN_PREPROCESSING

PYRAMID_DEPTH = 256
REFINE_INNER = 128
# Number of hardest keypoints in tf-cpn's refine loss.
HARD_KEYPOINTS = 8
# Thresholds on COCO's visibility (0 unlabeled, 1 occluded, 2 visible), as in tf-cpn.
VISIBLE = 1.1
LABELED = 0.1


class CpnOutputs(NamedTuple):
    """Outputs of the network.

    Attributes:
        global_maps: Four (N, H/4, W/4, K) float32 tensors, from the finest pyramid level to the
            coarsest.
        refine: (N, H/4, W/4, K) float32, the prediction.
    """

    global_maps: tuple
    refine: tf.Tensor


def resnet_features(images, backbone: str, layers: ConvLayers) -> list:
    """Build ResNet v1 as in tf-cpn: bottlenecks that stride on the 3x3 of a block's first unit.

    Args:
        images: (N, H, W, 3) float, H and W multiples of 32.
        backbone: Key of `specs.UNITS`.
        layers: Builds the layers.

    Returns:
        The outputs of block1 to block4 (C2 to C5), at 1/4, 1/8, 1/16 and 1/32 of the input.
    """
    scope = SCOPES[backbone]
    x = layers.conv_bn(images, 64, 7, f"{scope}/conv1", stride=2, init="he", relu=True)
    # tf-cpn pads with zeros, not minus infinity; after a ReLU the maximum is the same.
    x = tf.keras.layers.ZeroPadding2D(1, name=f"{scope}/pool1/pad")(x)
    x = tf.keras.layers.MaxPool2D(3, 2, "valid", name=f"{scope}/pool1")(x)
    features = []
    for block, (units, width) in enumerate(zip(UNITS[backbone], WIDTHS), start=1):
        for unit in range(1, units + 1):
            name = f"{scope}/block{block}/unit_{unit}/bottleneck_v1"
            stride = 2 if block > 1 and unit == 1 else 1
            x = layers.bottleneck(x, width * EXPANSION, width, name, stride=stride)
        features.append(x)
    return features


def build_cpn(
    input_size: tuple[int, int],
    backbone: str,
    num_keypoints: int,
    *,
    seed: int | None = 0,
    output_gain: float = 1.0,
    batch_norm_momentum: float = BATCH_NORM_MOMENTUM,
    late_upsampling: bool = False,
) -> tf.keras.Model:
    """Build the network as a Keras functional model from images to `CpnOutputs`.

    The output layers and all that follows them stay in float32 under mixed precision. The variables
    are the same with and without late upsampling.

    Args:
        input_size: (height, width), multiples of 32.
        backbone: Key of `specs.UNITS`.
        num_keypoints: Number of keypoints K.
        seed: See `ConvLayers`.
        output_gain: Initial gain of the five output batch norms.
        batch_norm_momentum: See `ConvLayers`.
        late_upsampling: See `ConvLayers`.
    """
    layers = ConvLayers(seed, batch_norm_momentum, late_upsampling)
    # float32 under mixed precision.
    dtype = tf.keras.mixed_precision.global_policy().variable_dtype
    output = {"init": "glorot", "relu": False, "dtype": dtype, "gain": output_gain}
    out_size = (input_size[0] // STRIDE, input_size[1] // STRIDE)
    images = tf.keras.Input((*input_size, 3), name="image")
    features = resnet_features(images, backbone, layers)

    # GlobalNet, from C5 down to C2.
    pyramid, global_maps, above = {}, {}, None
    for level in (5, 4, 3, 2):
        name, c = f"lateral/res{level}", features[level - 2]
        lateral = layers.conv_bn(c, PYRAMID_DEPTH, 1, name, init="glorot", relu=True)
        if above is not None:
            size = lateral.shape[1:3]
            up = layers.upsample_levels([above], size, f"upsampling/res{level}")
            up = layers.conv(up, PYRAMID_DEPTH, 1, f"merge/res{level}", init="glorot", bias=True)
            lateral = tf.keras.layers.Add(name=f"add/res{level}")([lateral, up])
        pyramid[level] = above = lateral
        x = layers.conv_bn(lateral, PYRAMID_DEPTH, 1, f"tmp/res{level}", init="glorot", relu=True)
        x = layers.conv_bn(x, num_keypoints, 3, f"pyramid/res{level}", **output)
        global_maps[level] = Upsample(out_size, name=f"global/res{level}", dtype=dtype)(x)

    # RefineNet: the coarser a level, the more bottlenecks it passes.
    refined = []
    for depth, level in enumerate((2, 3, 4, 5)):
        x = pyramid[level]
        for i in range(depth):
            x = layers.bottleneck(x, PYRAMID_DEPTH, REFINE_INNER, f"res{level}/refine_conv{i}")
        refined.append(x)
    x = layers.upsample_levels(refined, out_size, "refine")
    x = layers.bottleneck(x, PYRAMID_DEPTH, REFINE_INNER, "final_bottleneck")
    refine = layers.conv_bn(x, num_keypoints, 3, "refine_out", **output)

    outputs = CpnOutputs(tuple(global_maps[level] for level in (2, 3, 4, 5)), refine)
    return tf.keras.Model(images, outputs, name="cpn")


def global_loss(outputs, labels, visibility) -> tf.Tensor:
    """Return half the mean squared error, averaged over the pyramid's levels.

    The label of a keypoint that is not visible is zero, so occluded keypoints are suppressed.

    Args:
        outputs: Four (N, h, w, K) maps, finest level first.
        labels: Four (N, h, w, K) maps, widest Gaussian first. The finest output gets the widest
            label: a reversal in tf-cpn that this port keeps.
        visibility: (N, K).
    """
    mask = tf.cast(visibility > VISIBLE, outputs[0].dtype)[:, None, None, :]
    levels = [tf.reduce_mean(tf.square(o - label * mask)) for o, label in zip(outputs, labels)]
    return tf.add_n(levels) / len(levels) / 2


def refine_loss(output, label, visibility, hard_keypoints: int = HARD_KEYPOINTS) -> tf.Tensor:
    """Return the mean squared error of each crop's hardest keypoints (online mining).

    Args:
        output, label: (N, h, w, K) maps.
        visibility: (N, K); the error of unlabeled keypoints is 0.
        hard_keypoints: Number of hardest keypoints; with fewer keypoints all count.
    """
    labeled = tf.cast(visibility > LABELED, output.dtype)
    errors = tf.reduce_mean(tf.square(output - label), axis=(1, 2)) * labeled
    count = min(hard_keypoints, errors.shape[1])
    hardest = tf.math.top_k(errors, count, sorted=False).values
    return tf.reduce_mean(tf.reduce_sum(hardest, axis=1) / count)


def cpn_losses(
    outputs: CpnOutputs,
    targets: HeatmapTargets,
    teacher_outputs=None,
    *,
    hard_keypoints: int = HARD_KEYPOINTS,
) -> dict[str, tf.Tensor]:
    """Return the two data losses of tf-cpn.

    Args:
        outputs: Outputs of the network.
        targets: Four label maps, widest first; the last one is also the refine output's.
        teacher_outputs: None, as there is no teacher.
        hard_keypoints: See `refine_loss`.
    """
    maps, visibility = targets.maps, targets.visibility
    return {
        "global": global_loss(outputs.global_maps, maps, visibility),
        "refine": refine_loss(outputs.refine, maps[-1], visibility, hard_keypoints),
    }


def cpn_network(
    input_size: tuple[int, int],
    backbone: str,
    num_keypoints: int,
    *,
    seed: int = 0,
    output_gain: float = 1.0,
    batch_norm_momentum: float = BATCH_NORM_MOMENTUM,
    hard_keypoints: int = HARD_KEYPOINTS,
    late_upsampling: bool = False,
) -> Network:
    """Return the CPN as a value; see `build_cpn` and `refine_loss` for the arguments."""
    build = partial(
        build_cpn, input_size, backbone, num_keypoints, batch_norm_momentum=batch_norm_momentum
    )
    return Network(
        name="cpn",
        preprocessing=TF_CPN_PREPROCESSING,
        build=partial(build, seed=seed, output_gain=output_gain, late_upsampling=late_upsampling),
        build_for_inference=partial(build, seed=None, late_upsampling=True),
        prediction=lambda outputs: outputs.refine,
        losses=partial(cpn_losses, hard_keypoints=hard_keypoints),
        loss_names=("global", "refine"),
        keypoint_variables=("pyramid/", "refine_out/"),
        variables=variables_by_name,
        kernels=conv_kernels,
        find_weights=partial(pretrained.find_backbone_weights, backbone=backbone),
        load_weights=partial(pretrained.load_backbone_weights, backbone=backbone),
    )
