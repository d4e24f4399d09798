"""Object keypoint similarity, as COCO's evaluation computes it."""

from __future__ import annotations

import numpy as np

from tfcpn.evaluation.average_precision import MEAN_SIGMA
from tfcpn.skeleton import Skeleton


def keypoint_sigmas(skeleton: Skeleton) -> np.ndarray:
    """COCO's sigma of each annotated keypoint (K,); its mean where nobody measured them."""
    count = skeleton.num_annotated
    return np.array(skeleton.sigmas if skeleton.sigmas is not None else [MEAN_SIGMA] * count)[
        :count
    ]


def keypoint_similarity(
    found: np.ndarray, truth: np.ndarray, area, sigmas: np.ndarray
) -> np.ndarray:
    """COCO's keypoint similarity of points (..., 2) with points (..., 2): exp(-d^2 / (2 area (2 sigma)^2)), (...)."""
    squares = np.sum((found - truth) ** 2, axis=-1)
    return np.exp(-squares / (2 * (area + np.spacing(1)) * (2 * sigmas) ** 2))
