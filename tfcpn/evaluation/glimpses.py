"""A few validation people to look at while a network learns: annotated, found, and where its heatmaps are warm."""

from __future__ import annotations

import cv2
import numpy as np

from tfcpn.data.pipeline import region_batches
from tfcpn.evaluation.estimate import region_of_boxes
from tfcpn.evaluation.predictor import Predictor
from tfcpn.evaluation.validation_set import ValidationSet
from tfcpn.geometry.crops import keypoints_to_crop
from tfcpn.parts import Parts
from tfcpn.report.pictures import draw_pose

COUNT = 8


class ValidationVisualizer:
    """The first people of a validation set, cut once."""

    def __init__(self, people: ValidationSet, parts: Parts, count: int = COUNT):
        self._skeleton = people.skeleton
        self._there = np.array(
            [
                keypoint not in parts.codec.missing_keypoints
                for keypoint in range(people.skeleton.count)
            ]
        )
        size = parts.crop_spec.size
        boxes, image_files = people.boxes[:count], people.image_files[:count]
        regions = region_of_boxes(boxes, image_files, parts.alignment, size)
        self._crops = next(iter(region_batches(image_files, regions, parts.crop_spec, count)))
        whose = {p.id: p for p in people.people}
        nobody = np.zeros((people.skeleton.count, 3), np.float32)
        truth = np.stack(
            [whose[b.person].keypoints if b.person in whose else nobody for b in boxes]
        )
        self._truth = keypoints_to_crop(truth, regions, size).numpy()

    def render(self, predictor: Predictor) -> np.ndarray:
        """(N, H, 3 W, 3) uint8 RGB: the annotated keypoints, those that are found, the heatmaps' warmest keypoint."""
        found = predictor(self._crops)[0].numpy()
        outputs = predictor.outputs(self._crops)
        heat = np.asarray(getattr(outputs, "heatmaps", outputs)).max(axis=-1)
        return np.stack(
            [self._render_one(*what) for what in zip(self._crops.numpy(), self._truth, found, heat)]
        )

    def _render_one(
        self, crop: np.ndarray, truth: np.ndarray, found: np.ndarray, heat: np.ndarray
    ) -> np.ndarray:
        cells = [crop.copy(), crop.copy()]
        count = self._skeleton.count
        draw_pose(cells[0], truth[:, :2], truth[:, 2] > 0, self._skeleton, 1)
        draw_pose(cells[1], found[:count], self._there, self._skeleton, 1)
        warm = np.clip((heat - heat.min()) / max(float(np.ptp(heat)), 1e-6) * 255, 0, 255).astype(
            np.uint8
        )
        warm = cv2.applyColorMap(cv2.resize(warm, crop.shape[1::-1]), cv2.COLORMAP_JET)
        cells.append(cv2.addWeighted(crop, 0.45, warm, 0.55, 0))
        return np.hstack(cells)[..., ::-1]
