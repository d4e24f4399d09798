"""Flags that would change nothing: each is refused in one line, and none is taken in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tfcpn.base.errors import InputError
from tfcpn.settings.config import BLAZEPOSE, FIELDS, Config


class Rule(NamedTuple):
    """flags: names. heeded: whether a run with this Config heeds them. needs: what it would have to be, in words."""

    flags: tuple[str, ...]
    heeded: Callable[[Config], bool]
    needs: str


_CPN = (
    "backbone",
    "heatmap_scale",
    "scale_free",
    "label_kernels",
    "batch_norm_momentum",
    "hard_keypoints",
    "late_upsampling",
)
_BLAZEPOSE = (
    "blazepose_size",
    "blazepose_norm",
    "blazepose_freeze",
    "distillation_weight",
    "heatmap_weight",
)
_BLAZEPOSE += ("refine_landmarks",)
RULES = (
    Rule(_CPN, lambda c: c.network == "cpn", "--network=cpn"),
    Rule(_BLAZEPOSE, lambda c: c.network == "blazepose", "--network=blazepose"),
    Rule(
        ("distillation_weight",),
        lambda c: c.init_weights != "none",
        "MediaPipe's weights: random ones are held to nothing",
    ),
    Rule(
        ("align_rotate", "align_margin", "align_missing", "align_source"),
        lambda c: c.align == "blazepose",
        "--align=blazepose",
    ),
    Rule(
        ("align_radius",),
        lambda c: c.align == "blazepose" or c.predict_align_points,
        "--align=blazepose or --predict_align_points",
    ),
    Rule(
        ("first_pass_rotations",), lambda c: c.align_source == "two_pass", "--align_source=two_pass"
    ),
    Rule(("detector",), lambda c: c.align_source == "detector", "--align_source=detector"),
    Rule(
        ("pck_norm",),
        lambda c: c.boxes == "gt",
        "--boxes=gt: of a detector's boxes nobody knows whose they are",
    ),
    Rule(("nms_oks",), lambda c: c.result_nms == "oks", "--result_nms=oks"),
    Rule(("lr_halving",), lambda c: not c.lr_cosine, "a rate that halves, and not --lr_cosine"),
)
# Of an evaluation, which takes all flags of a training so that both take the same flagfile.
TRAINING_ONLY = ("xla", "data_service")


def _usual(cfg: Config, name: str):
    return (
        BLAZEPOSE.get(name, FIELDS[name].default)
        if cfg.network == "blazepose"
        else FIELDS[name].default
    )


def check_flags_apply(cfg: Config, given: set[str], evaluating: bool = False) -> None:
    """See that every flag that was given acts.

    Args:
        cfg: The settings as they are used, those of an earlier run included.
        given: Names of the flags that the command line or a flagfile sets. One that is set to its default is fine.
        evaluating: Whether nothing is trained.

    Raises:
        InputError: That names the first flag without effect, and what it is for.
    """
    for rule in RULES:
        for name in sorted(given & set(rule.flags)):
            if getattr(cfg, name) != _usual(cfg, name) and not rule.heeded(cfg):
                raise InputError(f"--{name} would change nothing here: it wants {rule.needs}")
    for name in sorted(given & set(TRAINING_ONLY)) if evaluating else ():
        if getattr(cfg, name) != FIELDS[name].default:
            raise InputError(f"--{name} would change nothing here: it is for training")
