"""From a Config to the values that it names: which network, which codec, which crops. Here names become things."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from tfcpn.base.errors import InputError
from tfcpn.codecs.codec import Codec
from tfcpn.codecs.heatmap import HeatmapCodec
from tfcpn.codecs.landmarks import LandmarkCodec
from tfcpn.data.filters import PersonFilter
from tfcpn.geometry.alignment import Alignment
from tfcpn.geometry.points import alignment_keypoints
from tfcpn.networks.blazepose import blazepose
from tfcpn.networks.blazepose_table import NUM_LANDMARKS
from tfcpn.networks.cpn import cpn
from tfcpn.networks.network import Network
from tfcpn.picture.cut import CropSpec
from tfcpn.settings.config import Config
from tfcpn.settings.recipe import VIEWS, training_margin
from tfcpn.skeleton import Skeleton


class Parts(NamedTuple):
    """What a run consists of. skeleton: the network's keypoints, the alignment points among them if it predicts them.

    training_format: of the crops that training views are cut from. training_margin: side of what they show over that
    of the region.
    """

    skeleton: Skeleton
    alignment: Alignment
    network: Network
    codec: Codec
    crop_spec: CropSpec
    training_format: CropSpec
    training_margin: float


def alignment_of(cfg: Config) -> Alignment:
    return Alignment(
        cfg.align, cfg.align_rotate, cfg.align_margin, cfg.align_radius, cfg.align_missing
    )


def make_parts(cfg: Config, annotated: Skeleton) -> Parts:
    """annotated: the keypoints of the data. Raises InputError for an alignment that they do not tell."""
    alignment = alignment_of(cfg)
    if alignment.uses_points or cfg.predict_align_points:
        alignment_keypoints(annotated, alignment.radius)
    skeleton = annotated.with_align_points() if cfg.predict_align_points else annotated
    network, codec = _NETWORKS[cfg.network](cfg, skeleton)
    crop_spec = CropSpec(cfg.input_size, alignment.uses_points, network.preprocessing.pad_color)
    training_format, margin = crop_spec, training_margin(cfg.shift)
    if cfg.views != VIEWS:
        # As large as its view at the region's own size, which then loses nothing.
        training_format = replace(crop_spec, size=tuple(round(n * margin) for n in cfg.input_size))
    return Parts(skeleton, alignment, network, codec, crop_spec, training_format, margin)


def _cpn(cfg: Config, skeleton: Skeleton) -> tuple[Network, Codec]:
    how = (
        cfg.seed,
        cfg.output_gain,
        cfg.batch_norm_momentum,
        cfg.hard_keypoints,
        cfg.late_upsampling,
    )
    network = cpn(cfg.input_size, cfg.backbone, skeleton.count, *how)
    kernels, scale = cfg.label_kernels, cfg.heatmap_scale
    how = skeleton.mirror, cfg.decoder
    return network, HeatmapCodec(cfg.input_size, cfg.heatmap_size, kernels, scale, *how)


def _blazepose(cfg: Config, skeleton: Skeleton) -> tuple[Network, Codec]:
    if cfg.decoder != "tf_cpn":
        raise InputError(
            f"--decoder={cfg.decoder}: is of heatmaps; BlazePose's coordinates need none"
        )
    held = cfg.init_weights != "none"
    how = cfg.seed, held, cfg.distillation_weight, cfg.heatmap_weight, cfg.blazepose_freeze
    network = blazepose(cfg.blazepose_size, cfg.blazepose_norm, *how)
    return network, LandmarkCodec(skeleton, NUM_LANDMARKS, cfg.input_size[1], cfg.refine_landmarks)


# What --network may say: each from a Config and the keypoints to the network and the codec that goes with it.
_NETWORKS = {"cpn": _cpn, "blazepose": _blazepose}


def training_filter(cfg: Config, skeleton: Skeleton) -> PersonFilter:
    """Who is trained on: the filters, and with --align_missing=drop who can be aligned. Raises InputError."""
    required = set(skeleton.indices(cfg.filter_require, "filter_require"))
    if cfg.align == "blazepose" and cfg.align_missing == "drop":
        required |= set(alignment_keypoints(skeleton, cfg.align_radius))
    rules = (
        cfg.filter_min_keypoints,
        tuple(sorted(required)),
        cfg.filter_max_people,
        cfg.filter_min_area,
    )
    return PersonFilter(*rules)
