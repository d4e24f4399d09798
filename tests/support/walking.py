"""People with known keypoints in every frame, and a Pose that predicts exactly these."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np

from tfcpn.data.detections import PersonBox
from tfcpn.evaluation.metrics import keypoint_sigmas
from tfcpn.inference.backends import RegionPredictions
from tfcpn.inference.estimator import NMS_OKS
from tfcpn.inference.pose import Pose
from tfcpn.skeleton import COCO
from tfcpn.transforms.alignment import Alignment

SKELETON = COCO.with_align_points()
# A standing body of height 200 around the mid-hip, in the order of COCO; then the two alignment
# points.
_HALF = [
    (0, -90),
    (6, -95),
    (-6, -95),
    (12, -90),
    (-12, -90),
    (25, -60),
    (-25, -60),
    (30, -25),
    (-30, -25),
]
_HALF += [(32, 5), (-32, 5), (15, 0), (-15, 0), (15, 50), (-15, 50), (15, 95), (-15, 95)]
BODY = np.array([*_HALF, (0, 0), (0, -105)], float)


def frame(number: int) -> np.ndarray:
    """An image whose pixels encode only the frame number."""
    image = np.zeros((400, 640, 3), np.uint8)
    image[0, 0] = number % 256, number // 256, 0
    return image


class KnowingPose(Pose):
    """truth: from the frame number to the keypoints (N, 19, 2) of the people. For a region the
    network returns the person nearest to its center, or none. The detector finds all people except
    those in `hidden` (indices of truth).
    """

    def __init__(self, truth, hidden=lambda number: ()):
        self.truth, self.hidden, self.skeleton, self.nms_oks = truth, hidden, SKELETON, NMS_OKS
        self.sigmas, self.alignment = keypoint_sigmas(COCO), Alignment("blazepose")
        self.backend = SimpleNamespace(
            min_presence=0.5, codec=SimpleNamespace(empty_score=0.0, missing_keypoints=())
        )
        self.detector, self.asked, self._lock = self._find, 0, threading.RLock()

    @staticmethod
    def number(image) -> int:
        return int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])

    def _find(self, image) -> list[PersonBox]:
        self.asked += 1
        now = self.number(image)
        people = [p for place, p in enumerate(self.truth(now)) if place not in self.hidden(now)]
        return [
            PersonBox(0, (*p.min(0), *np.ptp(p, axis=0)), 0.9, tuple(p[17:].ravel()))
            for p in people
        ]

    def regions(self, image, boxes, points=None):
        points = (
            np.array([box.points for box in boxes]).reshape(-1, 2, 2) if points is None else points
        )
        size = 2.5 * np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
        return np.concatenate([points[:, 0], np.stack([size, size, 0 * size], axis=1)], axis=1)

    def predict_regions(self, image, regions) -> RegionPredictions:
        people = self.truth(self.number(image))
        keypoints, sure = np.zeros((len(regions), 19, 2)), np.zeros(len(regions))
        for place, region in enumerate(regions):
            away = [np.linalg.norm(p[17] - region[:2]) for p in people]
            if away and min(away) < region[2] / 4:
                keypoints[place], sure[place] = people[int(np.argmin(away))], 0.95
        return RegionPredictions(keypoints, np.full((len(regions), 19), 0.9, np.float32), sure)

    def predict_boxes(self, image, boxes):
        regions = self.regions(image, boxes)
        return self.predict_regions(image, regions), regions

    def alignment_points(self, answer):
        return answer.keypoints[:, 17:]


def standing(x: float, y: float = 200.0, size: float = 1.0) -> np.ndarray:
    """Keypoints (19, 2) of a body with the mid-hip at this point."""
    return BODY * size + [x, y]
