"""The Cascaded Pyramid Network: GlobalNet over ResNet features, RefineNet over GlobalNet (arXiv 1711.07319)."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import tensorflow as tf

from tfcpn.codecs.heatmap import HeatmapTargets
from tfcpn.networks import backbone_weights
from tfcpn.networks.cpn_losses import HARD_KEYPOINTS, global_loss, refine_loss
from tfcpn.networks.layers import BATCH_NORM_DECAY, ConvLayers
from tfcpn.networks.network import Network
from tfcpn.networks.resnet import resnet_features
from tfcpn.networks.resnet_table import STRIDE
from tfcpn.networks.upsampling import Upsample
from tfcpn.networks.variables import conv_kernels, variables_by_name
from tfcpn.picture.look import TF_CPN_PREPROCESSING

PYRAMID_DEPTH = 256
REFINE_INNER = 128


class CpnOutputs(NamedTuple):
    """What the network returns.

    global_maps: four (N, H/4, W/4, K) float32 tensors, from the finest pyramid level to the coarsest.
    refine: (N, H/4, W/4, K) float32, the prediction.
    """

    global_maps: tuple
    refine: tf.Tensor


def build_cpn(
    input_size: tuple[int, int],
    backbone: str,
    num_keypoints: int,
    seed: int | None = 0,
    output_gain: float = 1.0,
    batch_norm_momentum: float = BATCH_NORM_DECAY,
    late_upsampling: bool = False,
):
    """The network as a Keras functional model from (N, H, W, 3) images to `CpnOutputs`.

    input_size: (H, W), multiples of 32. output_gain: what the gain of the five output batch norms starts at.
    seed, batch_norm_momentum, late_upsampling: see `ConvLayers`; the variables are the same either way. The output layers
    and all that follows them stay in float32 under a mixed precision policy.
    """
    layers = ConvLayers(seed, batch_norm_momentum, late_upsampling)
    # float32 under a mixed precision policy.
    dtype = tf.keras.mixed_precision.global_policy().variable_dtype
    output = {"init": "glorot", "relu": False, "dtype": dtype, "gain": output_gain}
    out_size = (input_size[0] // STRIDE, input_size[1] // STRIDE)
    images = tf.keras.Input((*input_size, 3), name="image")
    features = resnet_features(images, backbone, layers)

    # GlobalNet, from C5 down to C2.
    pyramid, global_maps, above = {}, {}, None
    for level in (5, 4, 3, 2):
        c = features[level - 2]
        lateral = layers.conv_bn(
            c, PYRAMID_DEPTH, 1, f"lateral/res{level}", init="glorot", relu=True
        )
        if above is not None:
            up = layers.upsample_levels([above], lateral.shape[1:3], f"upsampling/res{level}")
            up = layers.conv(up, PYRAMID_DEPTH, 1, f"merge/res{level}", init="glorot", bias=True)
            lateral = tf.keras.layers.Add(name=f"add/res{level}")([lateral, up])
        pyramid[level] = above = lateral
        x = layers.conv_bn(lateral, PYRAMID_DEPTH, 1, f"tmp/res{level}", init="glorot", relu=True)
        x = layers.conv_bn(x, num_keypoints, 3, f"pyramid/res{level}", **output)
        global_maps[level] = Upsample(out_size, name=f"global/res{level}", dtype=dtype)(x)

    # RefineNet: the coarser a level, the more bottlenecks it passes.
    refine_by_heatmap = []
    for depth, level in enumerate((2, 3, 4, 5)):
        x = pyramid[level]
        for i in range(depth):
            x = layers.bottleneck(x, PYRAMID_DEPTH, REFINE_INNER, f"res{level}/refine_conv{i}")
        refine_by_heatmap.append(x)
    x = layers.upsample_levels(refine_by_heatmap, out_size, "refine")
    x = layers.bottleneck(x, PYRAMID_DEPTH, REFINE_INNER, "final_bottleneck")
    refine = layers.conv_bn(x, num_keypoints, 3, "refine_out", **output)

    return tf.keras.Model(
        images, CpnOutputs(tuple(global_maps[n] for n in (2, 3, 4, 5)), refine), name="cpn"
    )


def cpn_losses(
    outputs: CpnOutputs, targets: HeatmapTargets, taught=None, hard_keypoints: int = HARD_KEYPOINTS
) -> dict[str, tf.Tensor]:
    """The two data losses of tf-cpn. targets: four label maps, widest first; the last is the refine output's. Nobody
    teaches: `taught` is None. hard_keypoints: worst keypoints of a crop that the refine loss is of.
    """
    return {
        "global": global_loss(outputs.global_maps, targets.maps, targets.visibility),
        "refine": refine_loss(outputs.refine, targets.maps[-1], targets.visibility, hard_keypoints),
    }


def cpn(
    input_size: tuple[int, int],
    backbone: str,
    num_keypoints: int,
    seed: int = 0,
    output_gain: float = 1.0,
    batch_norm_momentum: float = BATCH_NORM_DECAY,
    hard_keypoints: int = HARD_KEYPOINTS,
    late_upsampling: bool = False,
) -> Network:
    """The network as a value; the arguments are those of `build_cpn` and `cpn_losses`."""
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
        variables=variables_by_name,
        kernels=conv_kernels,
        find_weights=partial(backbone_weights.find, backbone=backbone),
        load_weights=partial(backbone_weights.load, backbone=backbone),
    )
