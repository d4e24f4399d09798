"""PCK (Yang and Ramanan): the share of labeled keypoints that are found within a part of a length of the body."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.skeleton import Skeleton

THRESHOLDS = (0.2, 0.1)
NAMES = tuple(f"PCK@{threshold:g}".replace("0.", ".") for threshold in THRESHOLDS)
NORMS = ("auto", "torso", "head", "box")


class Pck(NamedTuple):
    """norm: the length that it is normalized by. people: how many have that length. keypoints: (K, T) shares found of
    each keypoint, NaN where nobody has it labeled. mean: (T,) shares of all labeled keypoints. T: the thresholds.
    """

    norm: str
    people: int
    per_keypoint: np.ndarray
    mean: np.ndarray


def resolve_norm(skeleton: Skeleton, asked: str) -> str:
    """ "auto": the torso where the skeleton tells it, else the box. Raises InputError for a length that it lacks."""
    has = {
        "torso": skeleton.hips and skeleton.shoulders,
        "head": skeleton.head and skeleton.neck,
        "box": True,
    }
    if asked == "auto":
        return "torso" if has["torso"] else "box"
    if not has[asked]:
        raise InputError(
            f"--pck_norm={asked}: the keypoints {skeleton.name!r} do not tell it; use box"
        )
    return asked


def reference_lengths(
    keypoints: np.ndarray, boxes: np.ndarray, skeleton: Skeleton, norm: str
) -> np.ndarray:
    """The length (B,) in pixels that each person's errors are measured by; NaN where its keypoints are not labeled.

    keypoints: (B, K, 3). boxes: (B, 4) x, y, w, h. norm: "torso" is the way from the left shoulder to the right hip,
    "head" that from the neck to the top of the head, "box" the longer side of the box.
    """
    if norm == "box":
        return boxes[:, 2:].max(axis=1).astype(np.float64)
    ends = (
        (skeleton.shoulders[0], skeleton.hips[1])
        if norm == "torso"
        else (skeleton.neck[0], skeleton.head[0])
    )
    a, b = (keypoints[:, end].astype(np.float64) for end in ends)
    way = np.linalg.norm(a[:, :2] - b[:, :2], axis=1)
    return np.where((a[:, 2] > 0) & (b[:, 2] > 0) & (way > 0), way, np.nan)


def correct_keypoints(found: np.ndarray, keypoints: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Whether each keypoint is found, by threshold: (B, K, T), NaN where it does not count.

    found: (B, K, 2) x, y; NaN for people whom nobody looked at, whose keypoints are all missed. A keypoint counts if it is
    labeled and the person has a length.
    """
    error = np.linalg.norm(found - keypoints[..., :2], axis=-1) / length[:, None]
    within = error[..., None] <= np.array(THRESHOLDS)
    counts = (keypoints[..., 2] > 0) & ~np.isnan(length)[:, None]
    return np.where(counts[..., None], within, np.nan)


def pck(
    found: np.ndarray,
    keypoints: np.ndarray,
    boxes: np.ndarray,
    skeleton: Skeleton,
    norm: str = "auto",
    missing_keypoints: tuple[int, ...] = (),
) -> Pck:
    """found: (B, K, 2) in the image. keypoints: (B, K, 3) annotated. boxes: (B, 4). absent: keypoints not to count."""
    norm = resolve_norm(skeleton, norm)
    length = reference_lengths(keypoints, boxes, skeleton, norm)
    if missing_keypoints:
        keypoints = keypoints.copy()
        keypoints[:, list(missing_keypoints), 2] = 0
    hit = correct_keypoints(found, keypoints, length)
    counted = ~np.isnan(hit)
    right = np.nansum(hit, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        per_keypoint = right / counted.sum(axis=0)
        mean = right.sum(axis=0) / counted.sum(axis=(0, 1))
    return Pck(norm, int((~np.isnan(length)).sum()), per_keypoint, mean)
