"""MediaPipe's pose detector: people of a whole image, each with the two alignment points of the body.

The detector (BlazePose, arXiv 2006.10204, section 2.2) is an SSD on 224 x 224 pixels that finds faces and guesses
from them where the mid-hip is and how far the body reaches.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.networks.tflite_file import read_tflite_bytes
from tfcpn.networks.tflite_run import make_interpreter

SIZE = 224
# Layers of anchors: the stride of a layer's cells and how many anchors lie in each of them.
_LAYERS = ((8, 2), (16, 2), (32, 6))
_VALUES = 12  # x, y, width, height of the box, and x, y of four points
_LEAST_OVERLAP = 0.3  # of boxes that are of one person
_GREATEST_LOGIT = 100.0
MEMBER = "pose_detect"  # what the detector's file is called in a .task bundle


class Detection(NamedTuple):
    """box: (4,) x, y, width, height of the face. points: (2, 2) the alignment points x, y. All in pixels."""

    score: float
    box: np.ndarray
    points: np.ndarray


@cache
def anchors() -> np.ndarray:
    """The middles of the detector's anchors, x and y in parts of its input: (2254, 2)."""
    layers = []
    for stride, count in _LAYERS:
        cells = (np.arange(SIZE // stride) + 0.5) * stride / SIZE
        grid = np.stack(np.meshgrid(cells, cells), axis=-1).reshape(-1, 2)
        layers.append(np.repeat(grid, count, axis=0))
    return np.concatenate(layers)


def decode_boxes(
    raw: np.ndarray, logits: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """The detector's outputs (A, 12) and (A,) -> those that score at least `least`: (D, 6, 2) and scores (D,).

    Of each the x, y of the box's corners, then of its four points, in parts of the detector's input.
    """
    scores = 1 / (
        1 + np.exp(-np.clip(logits.astype(np.float64), -_GREATEST_LOGIT, _GREATEST_LOGIT))
    )
    keep = scores >= least
    pairs, middles = raw[keep].reshape(-1, 6, 2) / SIZE, anchors()[keep]
    center, half = pairs[:, 0] + middles, pairs[:, 1] / 2
    points = pairs[:, 2:] + middles[:, None]
    return np.concatenate(
        [(center - half)[:, None], (center + half)[:, None], points], axis=1
    ), scores[keep]


def iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box (2, 2), its corners, with others (D, 2, 2): (D,)."""
    low, high = np.maximum(box[0], others[:, 0]), np.minimum(box[1], others[:, 1])
    both = np.prod(np.maximum(high - low, 0), axis=-1)
    either = np.prod(box[1] - box[0]) + np.prod(others[:, 1] - others[:, 0], axis=-1) - both
    return np.where(either > 0, both / np.where(either > 0, either, 1), 0)


def weighted_nms(values: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """MediaPipe's weighted non-maximum suppression: what overlaps the best is averaged with it, by the scores.

    values: (D, 6, 2) as from `decoded`. Returns those of the people, best first, with the best one's score.
    """
    order = np.argsort(-scores, kind="stable")
    values, scores = values[order], scores[order]
    people, sure = [], []
    while len(values):
        same = iou(values[0, :2], values[:, :2]) > _LEAST_OVERLAP
        same[0] = True
        people.append(np.average(values[same], axis=0, weights=scores[same]))
        sure.append(scores[0])
        values, scores = values[~same], scores[~same]
    return np.array(people).reshape(-1, 6, 2), np.array(sure)


def body_square(points: np.ndarray) -> np.ndarray:
    """The corners (2, 2) of the square about the circle of a detection's points (2, 2)."""
    max_radius = np.linalg.norm(points[1] - points[0])
    return np.stack([points[0] - max_radius, points[0] + max_radius])


class PoseDetector:
    """path: pose_detection.tflite, or a .task bundle with it. least: score of a person. Raises InputError."""

    def __init__(self, path: str, least: float = 0.5):
        content = read_tflite_bytes(path, MEMBER)
        try:
            self._interpreter = make_interpreter(content)
            outputs = {
                tuple(o["shape"]): o["index"] for o in self._interpreter.get_output_details()
            }
            count = len(anchors())
            self._raw, self._logits = outputs[(1, count, _VALUES)], outputs[(1, count, 1)]
            self._input = self._interpreter.get_input_details()[0]["index"]
        except (ValueError, RuntimeError, KeyError) as error:
            raise InputError(
                f"{Path(path)}: is not MediaPipe's pose detector of 0.10 ({error!r})"
            ) from error
        self.least = least

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """The people of an image (H, W, 3) uint8 BGR, best first."""
        height, width = image.shape[:2]
        side = max(height, width)
        # The square about the image, sampled where MediaPipe's warp does: corners on corners, black outside.
        corner = np.array([width - side, height - side]) / 2
        scale = SIZE / side
        warp = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
        square = cv2.warpAffine(image, warp, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
        self._interpreter.set_tensor(
            self._input, square[None, ..., ::-1].astype(np.float32) / 127.5 - 1
        )
        self._interpreter.invoke()
        raw, logits = (
            self._interpreter.get_tensor(index)[0] for index in (self._raw, self._logits)
        )
        values, scores = weighted_nms(*decode_boxes(raw, logits[:, 0], self.least))
        found = []
        for person, score in zip(values * side + corner, scores):
            box = np.concatenate([person[0], person[1] - person[0]])
            found.append(Detection(float(score), box, person[2:4]))
        return found
