"""A person in an image, as prediction returns one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Person:
    """Somebody in an image. Lengths are in its pixels, from the top left corner.

    keypoints: (K, 2) float64 x, y, of the keypoints that `Pose.keypoints` names; those that the network does not have are NaN.
    scores: (K,) float32, how sure the network is of each: BlazePose's visibility from 0 to 1, or the height of a
    heatmap's peak, plus one half; 0 where there is no keypoint. certain: (K,) from 0 to 1, the same for any network: a
    keypoint of .5 or more is drawn in full. score: of the person, the detector's times the mean of the keypoints'. region:
    (5,) what the network saw: center x and y, width, height, and its turn in radians, clockwise. number: who it is in
    a video, from 1; in an image the place in the list.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    confidence: np.ndarray
    score: float
    region: np.ndarray
    track_id: int

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x, y, width and height of what holds the keypoints that are certain, or of all if none is; zeros if there is
        none.
        """
        there = np.isfinite(self.keypoints[:, 0])
        seen = there & (self.confidence >= DRAW_THRESHOLD)
        if not there.any():
            return 0.0, 0.0, 0.0, 0.0
        inside = self.keypoints[seen if seen.any() else there]
        low, high = inside.min(axis=0), inside.max(axis=0)
        return (*map(float, low), *map(float, high - low))


AREA_RATIO = 0.53  # area of a person over that of the box of the keypoints (about COCO's mean)
DRAW_THRESHOLD, FAINT_THRESHOLD = 0.5, 0.25  # drawn in full; drawn faintly; below that not at all
