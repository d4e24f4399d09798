"""Images of some validation people while a network trains: annotation, prediction, heatmaps."""

from __future__ import annotations

import cv2
import numpy as np

from tfcpn.builders import Components
from tfcpn.data.pipeline import region_batches
from tfcpn.evaluation.estimate import regions_of_boxes
from tfcpn.evaluation.eval_dataset import ValidationSet
from tfcpn.evaluation.predictor import Predictor
from tfcpn.transforms.regions import keypoints_to_crop
from tfcpn.visualization import draw_pose, overlay_heatmap

NUM_PEOPLE = 8


class ValidationVisualizer:
    """Draws the first people of a validation set, whose crops are cut once."""

    def __init__(self, people: ValidationSet, components: Components, count: int = NUM_PEOPLE):
        """Cut the crops.

        Args:
            people: The validation set.
            components: The components of the run.
            count: Number of people.
        """
        self._skeleton = people.skeleton
        missing = components.codec.missing_keypoints
        self._present = np.array([i not in missing for i in range(self._skeleton.num_keypoints)])
        size = components.crop_spec.size
        boxes, image_files = people.boxes[:count], people.image_files[:count]
        regions = regions_of_boxes(boxes, image_files, components.alignment, size)
        batches = region_batches(image_files, regions, components.crop_spec, count)
        self._crops = next(iter(batches))
        annotated = {person.id: person.keypoints for person in people.people}
        unlabeled = np.zeros((self._skeleton.num_keypoints, 3), np.float32)
        truth = np.stack([annotated.get(box.annotation_id, unlabeled) for box in boxes])
        self._truth = keypoints_to_crop(truth, regions, size).numpy()

    def render(self, predictor: Predictor) -> np.ndarray:
        """Return images (N, H, 3 W, 3) uint8 RGB: annotation, prediction, maximum heatmap."""
        found = predictor(self._crops)[0].numpy()
        outputs = predictor.outputs(self._crops)
        heatmaps = np.asarray(getattr(outputs, "heatmaps", outputs)).max(axis=-1)
        people = zip(self._crops.numpy(), self._truth, found, heatmaps)
        return np.stack([self._render_person(*person) for person in people])

    def _render_person(
        self, crop: np.ndarray, truth: np.ndarray, found: np.ndarray, heatmap: np.ndarray
    ) -> np.ndarray:
        annotation, prediction = crop.copy(), crop.copy()
        count = self._skeleton.num_keypoints
        draw_pose(annotation, truth[:, :2], truth[:, 2] > 0, self._skeleton, 1)
        draw_pose(prediction, found[:count], self._present, self._skeleton, 1)
        overlay = overlay_heatmap(crop, cv2.resize(heatmap, crop.shape[1::-1]))
        return np.hstack([annotation, prediction, overlay])[..., ::-1]
