"""What the settings of a run may be: the values of one by itself, and of several together."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tfcpn.utils.errors import InputError

# tf-cpn trains on four views of each person at a time: rescaled, mirrored and twice rotated.
VIEWS = 4
# Defaults of MediaPipe's networks: their only input size, the region that they were made for, and
# no decay of weights that start out good.
NETWORK_DEFAULTS = {
    "blazepose": {
        "input_size": (256, 256),
        "align": "blazepose",
        "weight_decay": 0.0,
        "views": 1,
    },
    "blazepose_detector": {
        "input_size": (224, 224),
        "align": "image",
        "weight_decay": 0.0,
        "views": 1,
        "align_missing": "drop",
    },
}
MAX_DETECTOR_FREEZE = 72  # of 73 convolutions
# Regions that training views can show, see --regions.
DETECTOR, LANDMARKS, BACKGROUND = "detector", "landmarks", "background"
REGIONS = ("annotation", DETECTOR, LANDMARKS, BACKGROUND)


def other_regions(regions: Sequence[str]) -> tuple[str, ...]:
    """Return which of --regions are of the person and not annotated, in the order of REGIONS."""
    return tuple(region for region in (DETECTOR, LANDMARKS) if region in regions)


def check_value(field: dataclasses.Field, value) -> None:
    """Raise InputError unless a value has the type and the range of its field."""
    metadata, text = field.metadata, f"--{field.name}={value}"
    base, is_tuple = field.type, field.type.startswith("tuple[")
    if is_tuple:
        base = field.type.removeprefix("tuple[").split(",")[0]
    types = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}[base]
    items = value if is_tuple and isinstance(value, tuple) else (value,)
    if (is_tuple and not isinstance(value, tuple)) or not all(type(v) in types for v in items):
        raise InputError(f"{text}: expected {field.type}")
    if metadata["choices"] and value not in metadata["choices"]:
        raise InputError(f"{text}: expected one of {', '.join(metadata['choices'])}")
    if base == "float" and not math.isfinite(value):
        raise InputError(f"{text}: expected a number")
    if metadata["minimum"] is not None and value < metadata["minimum"]:
        raise InputError(f"{text}: expected at least {metadata['minimum']:g}")
    if metadata["maximum"] is not None and value > metadata["maximum"]:
        raise InputError(f"{text}: expected at most {metadata['maximum']:g}")


def _is_size(size: tuple[int, ...]) -> bool:
    return len(size) == 2 and all(n > 0 and n % 32 == 0 for n in size)


# Pairs of a predicate on a Config and the message if it holds: what no run can have.
CONFLICTS: tuple[tuple[Callable[[Any], bool], str | Callable[[Any], str]], ...] = (
    (
        lambda c: not _is_size(c.input_size),
        lambda c: (
            f"--input_size={'x'.join(map(str, c.input_size))}: expected HEIGHTxWIDTH in multiples "
            "of 32, such as 256x192"
        ),
    ),
    (
        lambda c: len(c.label_kernels) != 4 or not all(k > 0 and k % 2 for k in c.label_kernels),
        lambda c: (
            f"--label_kernels={','.join(map(str, c.label_kernels))}: expected four odd sizes, such "
            "as 15,11,9,7"
        ),
    ),
    (
        lambda c: (
            c.input_size != NETWORK_DEFAULTS.get(c.network, {}).get("input_size", c.input_size)
        ),
        lambda c: (
            f"--network={c.network}: takes --input_size="
            f"{'x'.join(map(str, NETWORK_DEFAULTS[c.network]['input_size']))} only"
        ),
    ),
    (
        lambda c: (c.network == "blazepose_detector") != (c.align == "image"),
        lambda c: (
            f"--align={c.align}: --align=image is for --network=blazepose_detector, which takes "
            "nothing else"
        ),
    ),
    (
        lambda c: c.network == "blazepose_detector" and c.views != 1,
        "--network=blazepose_detector: takes --views=1 only",
    ),
    (
        lambda c: c.network == "blazepose_detector" and c.init_weights == "none",
        "--init_weights=none: --network=blazepose_detector starts from MediaPipe's weights",
    ),
    (
        lambda c: c.network == "blazepose" and c.decoder != "tf_cpn",
        lambda c: f"--decoder={c.decoder}: is for heatmaps; BlazePose predicts coordinates",
    ),
    (
        lambda c: c.random_half_body and other_regions(c.regions),
        "--random_half_body: is for annotated regions, --regions=annotation",
    ),
    (
        lambda c: (
            {LANDMARKS, BACKGROUND} & set(c.regions)
            and (c.network != "blazepose" or c.init_weights == "none")
        ),
        "--regions=landmarks and background: are for --network=blazepose with MediaPipe's weights",
    ),
    (
        lambda c: c.network == "blazepose_detector" and c.blazepose_freeze > MAX_DETECTOR_FREEZE,
        lambda c: (
            f"--blazepose_freeze={c.blazepose_freeze}: expected at most {MAX_DETECTOR_FREEZE} of "
            "the detector's convolutions"
        ),
    ),
    (
        lambda c: (
            not set(c.regions) <= set(REGIONS) or not 0 < len(set(c.regions)) == len(c.regions)
        ),
        lambda c: f"--regions={','.join(c.regions)}: expected some of {', '.join(REGIONS)}",
    ),
    (
        lambda c: c.regions == (BACKGROUND,),
        "--regions=background: needs another region, such as annotation",
    ),
    (
        lambda c: BACKGROUND in c.regions and (c.align_missing != "drop" or not c.presence_weight),
        "--regions=background: needs --presence_weight above 0 and --align_missing=drop",
    ),
    (
        lambda c: c.regions != REGIONS[:1] and not c.align_rotate,
        "--regions: other regions are rotated; use --align_rotate",
    ),
    (
        lambda c: c.network == "blazepose" and c.blazepose_freeze and c.init_weights == "none",
        "--init_weights=none: random weights must not be frozen, use --blazepose_freeze=0",
    ),
    (
        lambda c: (
            c.network == "blazepose" and c.init_weights == "none" and c.blazepose_norm == "scaled"
        ),
        "--init_weights=none needs --blazepose_norm=batch: nothing else learns from random weights",
    ),
    (
        lambda c: c.align == "blazepose" and c.input_size[0] != c.input_size[1],
        "--align=blazepose: its region is square, expected a square such as --input_size=256x256",
    ),
    (lambda c: c.views not in (1, VIEWS), lambda c: f"--views={c.views}: expected {VIEWS} or 1"),
    (
        lambda c: c.shift and c.views == VIEWS,
        lambda c: f"--shift={c.shift:g}: tf-cpn's {VIEWS} views are not shifted; use --views=1",
    ),
    (
        lambda c: c.random_half_body and c.views == VIEWS,
        lambda c: (
            f"--random_half_body={c.random_half_body:g}: tf-cpn's {VIEWS} views show the whole "
            "person; use --views=1"
        ),
    ),
    (
        lambda c: c.any_rotation and c.views == VIEWS,
        lambda c: (
            f"--any_rotation={c.any_rotation:g}: tf-cpn's {VIEWS} views are rotated by --rotation; "
            "use --views=1"
        ),
    ),
    (
        lambda c: c.batch_size % c.views,
        lambda c: (
            f"--batch_size={c.batch_size}: expected a multiple of {c.views}, the views of a person"
        ),
    ),
    (
        lambda c: c.data_service and not re.fullmatch(r"[^:/\s]+:\d+", c.data_service),
        lambda c: f"--data_service={c.data_service}: expected host:port, such as localhost:5050",
    ),
    (
        lambda c: c.data_service and c.deterministic,
        "--data_service: the order of people depends on its workers; use it without "
        "--deterministic",
    ),
    (lambda c: c.rescale_max < c.rescale_min, "--rescale_max is below --rescale_min"),
)


class Requirement(NamedTuple):
    """When some flags have an effect.

    Attributes:
        flags: Names of the flags.
        is_met: Whether a run with this Config uses them.
        needs: What it would have to be, for the message.
    """

    flags: tuple[str, ...]
    is_met: Callable[[Any], bool]
    needs: str


REQUIREMENTS = (
    Requirement(
        (
            "backbone",
            "heatmap_scale",
            "scale_free",
            "label_kernels",
            "batch_norm_momentum",
            "hard_keypoints",
            "late_upsampling",
        ),
        lambda c: c.network == "cpn",
        "--network=cpn",
    ),
    Requirement(
        (
            "blazepose_size",
            "blazepose_norm",
            "distillation_weight",
            "heatmap_weight",
            "presence_weight",
            "refine_landmarks",
        ),
        lambda c: c.network == "blazepose",
        "--network=blazepose",
    ),
    Requirement(
        ("blazepose_freeze",),
        lambda c: c.network in NETWORK_DEFAULTS,
        "--network=blazepose or blazepose_detector",
    ),
    Requirement(
        ("positive_weight", "background_views"),
        lambda c: c.network == "blazepose_detector",
        "--network=blazepose_detector",
    ),
    Requirement(
        (
            "boxes",
            "decoder",
            "eval_batch_size",
            "eval_people",
            "flip_test",
            "pck_norm",
            "predict_align_points",
            "random_half_body",
            "result_nms",
        ),
        lambda c: c.network != "blazepose_detector",
        "a network of keypoints, not --network=blazepose_detector",
    ),
    Requirement(
        ("regions",),
        lambda c: c.align == "blazepose" and c.views == 1,
        "--align=blazepose and --views=1",
    ),
    Requirement(
        ("distillation_weight",),
        lambda c: c.init_weights != "none",
        "MediaPipe's weights: random ones have no teacher",
    ),
    Requirement(
        ("unmirror_labels",),
        lambda c: (c.network, c.align) == ("blazepose",) * 2 and c.init_weights != "none",
        "--network=blazepose with MediaPipe's weights and --align=blazepose",
    ),
    Requirement(
        ("align_rotate", "align_margin", "align_missing", "align_source"),
        lambda c: c.align == "blazepose",
        "--align=blazepose",
    ),
    Requirement(
        ("align_radius",),
        lambda c: c.align == "blazepose" or c.predict_align_points,
        "--align=blazepose or --predict_align_points",
    ),
    Requirement(
        ("first_pass_rotations",),
        lambda c: c.align_source == "two_pass",
        "--align_source=two_pass",
    ),
    Requirement(
        ("detector",),
        lambda c: c.align_source == "detector" or {DETECTOR, BACKGROUND} & set(c.regions),
        "--align_source=detector or --regions=detector or background",
    ),
    Requirement(
        ("pck_norm",),
        lambda c: c.boxes == "gt",
        "--boxes=gt: a detector's boxes are not matched to people",
    ),
    Requirement(("nms_oks",), lambda c: c.result_nms == "oks", "--result_nms=oks"),
    Requirement(
        ("lr_halving",), lambda c: not c.lr_cosine, "step decay, which --lr_cosine replaces"
    ),
)
