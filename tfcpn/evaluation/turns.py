"""PCK by how far people are turned from upright, with intervals over people."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfcpn.skeleton import Skeleton

# Degrees of the torso from upright, from and below.
GROUPS = {"all": (0, 181), "under 30": (0, 30), "30 to 90": (30, 90), "over 90": (90, 181)}
RESAMPLES = 1000


class Proportion(NamedTuple):
    """A share and its interval of 95%, by drawing people with replacement. people: how many have a part in it."""

    mean: float
    low: float
    high: float
    people: int


def torso_rotation(keypoints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Degrees (B,) between the way from mid-hip to mid-shoulder and straight up: 0 upright, 180 on the head.

    keypoints: (B, K, 3). NaN for people of whom a hip or a shoulder is not labeled.
    """
    keypoints = keypoints.astype(np.float64)
    ends = [keypoints[:, list(indices)] for indices in (skeleton.hips, skeleton.shoulders)]
    known = np.all([(end[..., 2] > 0).all(axis=1) for end in ends], axis=0)
    way = ends[1][..., :2].mean(axis=1) - ends[0][..., :2].mean(axis=1)
    return np.where(known, np.degrees(np.arctan2(np.abs(way[:, 0]), -way[:, 1])), np.nan)


def proportion_with_interval(correct_keypoints: np.ndarray, seed: int = 0) -> Proportion:
    """hits: (B, K) whether a person's keypoints are found, NaN where one does not count. The share is of all keypoints."""
    right, counted = (
        np.nansum(correct_keypoints, axis=1),
        (~np.isnan(correct_keypoints)).sum(axis=1),
    )
    right, counted = right[counted > 0], counted[counted > 0]
    if not len(right):
        return Proportion(np.nan, np.nan, np.nan, 0)
    rows = np.random.default_rng(seed).integers(0, len(right), (RESAMPLES, len(right)))
    low, high = np.percentile(right[rows].sum(axis=1) / counted[rows].sum(axis=1), [2.5, 97.5])
    return Proportion(float(right.sum() / counted.sum()), float(low), float(high), len(right))


def pck_by_rotation(correct_keypoints: np.ndarray, turn: np.ndarray) -> dict[str, Proportion]:
    """The share of each of GROUPS. hits: (B, K). turn: (B,) degrees."""
    return {
        name: proportion_with_interval(correct_keypoints[(turn >= low) & (turn < high)])
        for name, (low, high) in GROUPS.items()
    }
