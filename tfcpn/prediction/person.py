"""A person in a picture, as prediction returns one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Person:
    """Somebody in a picture. Lengths are in its pixels, from the top left corner.

    joints: (K, 2) float64 x, y, of the joints that `Pose.joints` names; those that the network does not have are NaN.
    scores: (K,) float32, how sure the network is of each: BlazePose's visibility from 0 to 1, or the height of a
    heatmap's peak, plus one half; 0 where there is no joint. certain: (K,) from 0 to 1, the same for any network: a
    joint of .5 or more is drawn in full. score: of the person, the detector's times the mean of the joints'. region:
    (5,) what the network saw: centre x and y, width, height, and its turn in radians, clockwise. number: who it is in
    a video, from 1; in a picture the place in the list.
    """

    joints: np.ndarray
    scores: np.ndarray
    certain: np.ndarray
    score: float
    region: np.ndarray
    number: int

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x, y, width and height of what holds the joints that are certain, or of all if none is; zeros if there is
        none.
        """
        there = np.isfinite(self.joints[:, 0])
        seen = there & (self.certain >= SURE)
        if not there.any():
            return 0.0, 0.0, 0.0, 0.0
        inside = self.joints[seen if seen.any() else there]
        low, high = inside.min(axis=0), inside.max(axis=0)
        return (*map(float, low), *map(float, high - low))


FILLED = 0.53  # area of a person over that of the box of the joints (about COCO's mean)
SURE, FAINT = 0.5, 0.25  # drawn in full; drawn faintly; below that not at all
