"""MediaPipe's pose detector: people of a whole image with their alignment points.

The detector (BlazePose, arXiv 2006.10204, section 2.2) is an SSD on 224 x 224 pixels that finds
faces and estimates from them the mid-hip and the radius of the body.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from tfcpn.models.tflite import make_interpreter
from tfcpn.utils.errors import InputError

SIZE = 224
# Layers of anchors: the stride of a layer's cells and how many anchors lie in each of them.
_LAYERS = ((8, 2), (16, 2), (32, 6))
VALUES = 12  # x, y, width, height of the box, and x, y of four points
_NMS_IOU = 0.3  # of boxes that are of one person
_MAX_LOGIT = 100.0
# Width and height of an upright body in MediaPipe's circle, relative to its radius.
_BODY_WIDTH, _BODY_HEIGHT = 1.1, 1.9
DETECTOR_MEMBER = "pose_detect"  # what the detector's file is called in a .task bundle


class Detection(NamedTuple):
    """A detected person, in pixels.

    Attributes:
        score: From 0 to 1.
        box: (4,) x, y, width, height of the face.
        points: (2, 2) x, y of the alignment points.
    """

    score: float
    box: np.ndarray
    points: np.ndarray


@cache
def anchors() -> np.ndarray:
    """Return the centers of the detector's anchors, x and y relative to its input: (2254, 2)."""
    layers = []
    for stride, count in _LAYERS:
        cells = (np.arange(SIZE // stride) + 0.5) * stride / SIZE
        grid = np.stack(np.meshgrid(cells, cells), axis=-1).reshape(-1, 2)
        layers.append(np.repeat(grid, count, axis=0))
    return np.concatenate(layers)


def decode_boxes(
    raw: np.ndarray, logits: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Decode the detector's outputs.

    Args:
        raw: (A, 12).
        logits: (A,).
        threshold: Minimum score.

    Returns:
        (D, 6, 2): x, y of the box's corners and of its four points, relative to the input;
        scores (D,).
    """
    scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -_MAX_LOGIT, _MAX_LOGIT)))
    keep = scores >= threshold
    pairs, middles = raw[keep].reshape(-1, 6, 2) / SIZE, anchors()[keep]
    center, half = pairs[:, 0] + middles, pairs[:, 1] / 2
    points = pairs[:, 2:] + middles[:, None]
    return np.concatenate(
        [(center - half)[:, None], (center + half)[:, None], points], axis=1
    ), scores[keep]


def iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the IoU (D,) of a box (2, 2), its corners, with boxes (D, 2, 2)."""
    low, high = np.maximum(box[0], others[:, 0]), np.minimum(box[1], others[:, 1])
    both = np.prod(np.maximum(high - low, 0), axis=-1)
    either = np.prod(box[1] - box[0]) + np.prod(others[:, 1] - others[:, 0], axis=-1) - both
    return np.where(either > 0, both / np.where(either > 0, either, 1), 0)


def weighted_nms(values: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Apply MediaPipe's weighted non-maximum suppression: overlapping detections are averaged.

    Args:
        values: (D, 6, 2) as returned by `decode_boxes`.
        scores: (D,).

    Returns:
        Values and scores of the people, the best first.
    """
    order = np.argsort(-scores, kind="stable")
    values, scores = values[order], scores[order]
    people, best_scores = [], []
    while len(values):
        same = iou(values[0, :2], values[:, :2]) > _NMS_IOU
        same[0] = True
        people.append(np.average(values[same], axis=0, weights=scores[same]))
        best_scores.append(scores[0])
        values, scores = values[~same], scores[~same]
    return np.array(people).reshape(-1, 6, 2), np.array(best_scores)


def body_box(points: np.ndarray) -> tuple[float, float, float, float]:
    """Return an approximate box x, y, width, height of a body.

    Args:
        points: (2, 2) its alignment points.
    """
    up = points[1] - points[0]
    across = up[::-1] * [1, -1]
    corners = [
        points[0] + a * _BODY_WIDTH / 2 * across + b * _BODY_HEIGHT / 2 * up
        for a in (-1, 1)
        for b in (-1, 1)
    ]
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    return (*map(float, low), *map(float, np.maximum(high - low, 1)))


def body_square(points: np.ndarray) -> np.ndarray:
    """Return the corners (2, 2) of the square about the circle of a detection's points (2, 2)."""
    max_radius = np.linalg.norm(points[1] - points[0])
    return np.stack([points[0] - max_radius, points[0] + max_radius])


class PoseDetector:
    """Runs MediaPipe's detector."""

    def __init__(self, content: bytes, threshold: float = 0.5, name: str = "the file"):
        """Load the detector.

        Args:
            content: Content of pose_detection.tflite.
            threshold: Minimum score of a person.
            name: Its name, for messages.

        Raises:
            InputError: For another file.
        """
        try:
            self._interpreter = make_interpreter(content)
            outputs = {
                tuple(o["shape"]): o["index"] for o in self._interpreter.get_output_details()
            }
            count = len(anchors())
            self._raw, self._logits = outputs[(1, count, VALUES)], outputs[(1, count, 1)]
            self._input = self._interpreter.get_input_details()[0]["index"]
        except (ValueError, RuntimeError, KeyError) as error:
            raise InputError(
                f"{name}: is not MediaPipe's pose detector of 0.10 ({error!r})"
            ) from error
        self.threshold = threshold

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """Return the people of an image (H, W, 3) uint8 BGR, the best first."""
        height, width = image.shape[:2]
        side = max(height, width)
        # The square about the image, sampled where MediaPipe's warp does: corners on corners, black
        # outside.
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
        values, scores = weighted_nms(*decode_boxes(raw, logits[:, 0], self.threshold))
        found = []
        for person, score in zip(values * side + corner, scores):
            box = np.concatenate([person[0], person[1] - person[0]])
            found.append(Detection(float(score), box, person[2:4]))
        return found
