"""What somebody wears: a few colors of the body, by which people are told apart where their poses are alike."""

from __future__ import annotations

import cv2
import numpy as np

from tfcpn.prediction.person import Person
from tfcpn.skeleton import Skeleton

# Where on the torso: from the shoulders to the hips, and from the left to the right.
_DOWN, _ACROSS = (0.25, 0.55, 0.9), (0.3, 0.5, 0.7)
_SIZE = 0.06  # of a patch, in parts of the torso's length
_LIGHTNESS = 0.5  # counts less than color: shadows
_ALIKE = 20.0  # a difference in CIE Lab, by which likeness falls to 1/e


def color_signature(image: np.ndarray, person: Person, skeleton: Skeleton) -> np.ndarray | None:
    """The colors (P, 3) of patches of the torso, CIE Lab with less of lightness; NaN outside the image. None for
    keypoints that tell no torso.
    """
    if not skeleton.shoulders or not skeleton.hips:
        return None
    (sl, sr), (hl, hr) = (
        person.keypoints[list(pair)] for pair in (skeleton.shoulders, skeleton.hips)
    )
    length = np.linalg.norm((sl + sr - hl - hr) / 2)
    if not np.isfinite(length):
        return None  # the network has no such keypoints
    max_radius = int(np.clip(round(_SIZE * length), 1, 30))
    down, across = (grid.reshape(-1, 1) for grid in np.meshgrid(_DOWN, _ACROSS, indexing="ij"))
    left, right = sl + down * (hl - sl), sr + down * (hr - sr)
    middles, size = left + across * (right - left), np.array(image.shape[1::-1])
    inside = ((middles >= 0) & (middles < size)).all(axis=1)
    found = np.full((len(middles), 3), np.nan)
    if inside.any():
        about = np.arange(-max_radius, max_radius + 1)
        x, y = np.clip(
            middles[inside].astype(int)[:, :, None] + about, 0, size[:, None] - 1
        ).transpose(1, 0, 2)
        patches = image[y[:, :, None], x[:, None, :]]
        found[inside] = np.median(patches.reshape(len(patches), -1, 3), axis=1)
        lab = cv2.cvtColor((found[inside][None] / 255).astype(np.float32), cv2.COLOR_BGR2LAB)[0]
        found[inside] = lab * [_LIGHTNESS, 1, 1]
    return found


def color_similarity(a: np.ndarray | None, b: np.ndarray | None) -> float:
    """How alike two people's colors are, 0 to 1; 1 where nothing can be compared."""
    if a is None or b is None:
        return 1.0
    away = np.linalg.norm(a - b, axis=1)
    away = away[np.isfinite(away)]
    return float(np.exp(-np.median(away) / _ALIKE)) if len(away) else 1.0


def update_appearance(
    old: np.ndarray | None, new: np.ndarray | None, share: float
) -> np.ndarray | None:
    """Colors that go slowly with the light: `share` of the new ones."""
    if old is None or new is None:
        return new if old is None else old
    mixed = old + share * (new - old)
    return np.where(np.isfinite(mixed), mixed, np.where(np.isfinite(old), old, new))
