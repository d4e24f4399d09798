"""The annotation of a drawn person, read off the drawing itself."""

from __future__ import annotations

import cv2
import numpy as np

from tfcpn.skeleton import COCO
from tfcpn.synthetic.draw import CARRIERS, PART, PARTS, SUPERSAMPLE, Canvas

LEAST_KEYPOINTS = (
    4  # with fewer in sight, a person's keypoints are not labeled, as on COCO's smallest people
)
HIDDEN_BY_HEAD = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")


def _visibility(name: str, point, points, canvas: Canvas, person: int) -> int:
    """Return COCO's visibility: 0 outside or behind the own head, 1 covered, 2 visible."""
    height, width = canvas.owner.shape
    x, y = int(point[0]), int(point[1])
    if not (0 <= x < width and 0 <= y < height):
        return 0
    if name in HIDDEN_BY_HEAD and point[2] < points["head"][2] - 0.02 * np.ptp(
        [p[1] for p in points.values()]
    ):
        return 0
    parts = [person * PARTS + PART[part] for part in CARRIERS[name]]
    return (
        2 if np.isin(canvas.owner[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3], parts).any() else 1
    )


def annotate(canvas: Canvas, points: dict, person: int) -> dict | None:
    """Return the annotation of a drawn person in final pixels; None if nothing is visible."""
    mask = (canvas.owner >= person * PARTS) & (canvas.owner < (person + 1) * PARTS)
    height, width = (n // SUPERSAMPLE for n in mask.shape)
    mask = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_AREA)
    if mask.sum() < 40:
        return None
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    ys, xs = np.nonzero(mask)
    keypoints = []
    for name in COCO.keypoints:
        v = _visibility(name, points[name], points, canvas, person)
        x, y = points[name][:2] / SUPERSAMPLE
        keypoints += [round(float(x)), round(float(y)), v] if v else [0, 0, 0]
    if np.count_nonzero(keypoints[2::3]) < LEAST_KEYPOINTS:
        keypoints = [0] * len(keypoints)
    return {
        "bbox": [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1],
        "area": int(mask.sum()),
        "segmentation": [c.ravel().tolist() for c in contours if len(c) >= 3],
        "keypoints": keypoints,
        "num_keypoints": int(np.count_nonzero(keypoints[2::3])),
        "iscrowd": 0,
    }
