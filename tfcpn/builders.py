"""From a Config to the components of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from tfcpn.codecs.codec import Codec
from tfcpn.codecs.heatmap import HeatmapCodec
from tfcpn.codecs.landmarks import LandmarkCodec
from tfcpn.codecs.people import NUM_POINTS, PeopleCodec
from tfcpn.config import Config
from tfcpn.config_rules import BACKGROUND, VIEWS, other_regions
from tfcpn.data.record_sets import PersonFilter
from tfcpn.models.blazepose.blazepose import blazepose_network
from tfcpn.models.blazepose.detector_model import detector_network
from tfcpn.models.cpn import cpn_network
from tfcpn.models.model import Network
from tfcpn.models.specs import NUM_LANDMARKS
from tfcpn.skeleton import ALIGN_POINTS, Skeleton
from tfcpn.transforms.alignment import Alignment
from tfcpn.transforms.cropping import CropSpec
from tfcpn.transforms.regions import alignment_keypoints


class Components(NamedTuple):
    """The components of a run.

    Attributes:
        skeleton: Keypoints of the network, with the alignment points if it predicts them.
        alignment: How regions are defined.
        network: The network.
        codec: Its codec.
        crop_spec: Crops of evaluation.
        training_spec: Crops that training views are cut from.
        training_margin: Side of a training crop over that of the region.
        num_points: Number of points that come with a training crop: the keypoints, and those of
            other regions; of a detector, those of all people.
    """

    skeleton: Skeleton
    alignment: Alignment
    network: Network
    codec: Codec
    crop_spec: CropSpec
    training_spec: CropSpec
    training_margin: float
    num_points: int


def alignment_of(cfg: Config) -> Alignment:
    """Return the alignment of a Config."""
    return Alignment(
        mode=cfg.align,
        rotate=cfg.align_rotate,
        margin=cfg.align_margin,
        radius=cfg.align_radius,
        missing=cfg.align_missing,
    )


def build_components(
    cfg: Config, annotated: Skeleton, network: tuple[Network, Codec] | None = None
) -> Components:
    """Build the components of a run.

    Args:
        cfg: The settings.
        annotated: Keypoints of the data.
        network: Network and codec to use instead of those of `cfg.network`.

    Raises:
        InputError: If the keypoints do not define the alignment.
    """
    alignment = alignment_of(cfg)
    if alignment.uses_points or cfg.predict_align_points:
        alignment_keypoints(annotated, alignment.radius)
    skeleton = annotated.with_align_points() if cfg.predict_align_points else annotated
    network, codec = network or NETWORK_BUILDERS[cfg.network](cfg, skeleton)
    crop_spec = CropSpec(
        size=cfg.input_size,
        rotated=alignment.uses_points,
        pad_color=network.preprocessing.pad_color,
        corner_to_corner=network.corner_to_corner and alignment.uses_points,
    )
    training_spec = crop_spec
    if network.whole_images:
        # Views are parts of the image, down to half of it.
        size = tuple(2 * n for n in cfg.input_size)
        training_spec = crop_spec = replace(crop_spec, size=size, rotated=True)
    elif cfg.views != VIEWS:
        # Single views are warped at the region's own resolution, so the crop is larger.
        size = tuple(round(n * cfg.training_margin) for n in cfg.input_size)
        training_spec = replace(crop_spec, size=size)
    return Components(
        skeleton=skeleton,
        alignment=alignment,
        network=network,
        codec=codec,
        crop_spec=crop_spec,
        training_spec=training_spec,
        training_margin=cfg.training_margin,
        num_points=NUM_POINTS
        if network.whole_images
        else skeleton.num_keypoints + len(ALIGN_POINTS) * len(other_regions(cfg.regions)),
    )


def _build_cpn(cfg: Config, skeleton: Skeleton) -> tuple[Network, Codec]:
    network = cpn_network(
        cfg.input_size,
        cfg.backbone,
        skeleton.num_keypoints,
        seed=cfg.seed,
        output_gain=cfg.output_gain,
        batch_norm_momentum=cfg.batch_norm_momentum,
        hard_keypoints=cfg.hard_keypoints,
        late_upsampling=cfg.late_upsampling,
    )
    codec = HeatmapCodec(
        cfg.input_size,
        cfg.heatmap_size,
        kernels=cfg.label_kernels,
        scale=cfg.heatmap_scale,
        flip_indices=skeleton.flip_indices,
        decoder=cfg.decoder,
    )
    return network, codec


def _build_blazepose(cfg: Config, skeleton: Skeleton) -> tuple[Network, Codec]:
    network = blazepose_network(
        cfg.blazepose_size,
        norm=cfg.blazepose_norm,
        seed=cfg.seed,
        from_teacher=cfg.init_weights != "none",
        distillation_weight=cfg.distillation_weight,
        heatmap_weight=cfg.heatmap_weight,
        presence_weight=cfg.presence_weight,
        has_background=BACKGROUND in cfg.regions,
        freeze=cfg.blazepose_freeze,
    )
    codec = LandmarkCodec(
        skeleton,
        NUM_LANDMARKS,
        width=cfg.input_size[1],
        refine=cfg.refine_landmarks,
        corner_to_corner=network.corner_to_corner and alignment_of(cfg).uses_points,
    )
    return network, codec


def _build_detector(cfg: Config, skeleton: Skeleton) -> tuple[Network, Codec]:
    alignment_keypoints(skeleton, "body")
    network = detector_network(
        cfg.init_weights, freeze=cfg.blazepose_freeze, positive_weight=cfg.positive_weight
    )
    return network, PeopleCodec()


# By the value of --network: network and codec of a Config and the network's keypoints.
NETWORK_BUILDERS = {
    "cpn": _build_cpn,
    "blazepose": _build_blazepose,
    "blazepose_detector": _build_detector,
}


def training_filter(cfg: Config, skeleton: Skeleton) -> PersonFilter:
    """Return which people to train on; with --align_missing=drop only those who can be aligned.

    Raises:
        InputError: For unknown keypoints in --filter_require.
    """
    required = set(skeleton.indices(cfg.filter_require, "filter_require"))
    if cfg.align in ("blazepose", "image") and cfg.align_missing == "drop":
        required |= set(alignment_keypoints(skeleton, cfg.align_radius))
    return PersonFilter(
        min_keypoints=cfg.filter_min_keypoints,
        required=tuple(sorted(required)),
        max_people=cfg.filter_max_people,
        min_area=cfg.filter_min_area,
    )
