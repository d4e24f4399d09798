"""Alignment points from MediaPipe's detector: whom it sees in an image, matched with the boxes looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.base.progress import progress
from tfcpn.data.detections import PersonBox
from tfcpn.data.pictures import ImageFile
from tfcpn.networks.pose_detection import Detection, PoseDetector, body_square, iou
from tfcpn.picture.read import read_image

# A body's square about its circle and a box that are of one person overlap by at least so much.
LEAST_OVERLAP = 0.1


def matched(boxes: Sequence[PersonBox], found: Sequence[Detection]) -> list[PersonBox]:
    """The boxes of one image with the points of the detections that fit them best, one each, the surest first.

    A box that nothing fits has no points.
    """
    corners = np.array([b.box for b in boxes], np.float64).reshape(-1, 2, 2)
    corners[:, 1] += corners[:, 0]
    points: list[tuple | None] = [None] * len(boxes)
    for detection in found:
        overlaps = iou(body_square(detection.points), corners)
        overlaps[[p is not None for p in points]] = 0
        best = int(np.argmax(overlaps))
        if overlaps[best] >= LEAST_OVERLAP:
            points[best] = tuple(detection.points.ravel().tolist())
    return [replace(box, points=xy) for box, xy in zip(boxes, points)]


def add_detected_points(
    boxes: Sequence[PersonBox], image_files: Sequence[ImageFile], path: str
) -> tuple[PersonBox, ...]:
    """The boxes, neighbors of one image together, with the points of whom the detector finds there.

    Raises InputError for an image that cannot be decoded, or if nobody at all is found.
    """
    detector, done = PoseDetector(path), []
    with progress(len(boxes), "detector", "person") as bar:
        for file, group in groupby(zip(boxes, image_files), key=lambda pair: pair[1].path):
            group = [box for box, _ in group]
            done += matched(group, detector(read_image(file)))
            bar.update(len(group))
    if not any(box.points for box in done):
        raise InputError(f"--align_source=detector: {path} finds nobody in the {len(done)} boxes")
    return tuple(done)
