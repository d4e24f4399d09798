"""Alignment points from MediaPipe's detector: whom it sees in a picture, matched with the boxes looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.base.progress import progress
from tfcpn.data.detections import Box
from tfcpn.data.pictures import Picture
from tfcpn.networks.pose_detection import Detection, PoseDetector, circle_square, overlap
from tfcpn.picture.read import read_picture

# A body's square about its circle and a box that are of one person overlap by at least so much.
LEAST_OVERLAP = 0.1


def matched(boxes: Sequence[Box], found: Sequence[Detection]) -> list[Box]:
    """The boxes of one picture with the points of the detections that fit them best, one each, the surest first.

    A box that nothing fits has no points.
    """
    corners = np.array([b.box for b in boxes], np.float64).reshape(-1, 2, 2)
    corners[:, 1] += corners[:, 0]
    points: list[tuple | None] = [None] * len(boxes)
    for detection in found:
        overlaps = overlap(circle_square(detection.points), corners)
        overlaps[[p is not None for p in points]] = 0
        best = int(np.argmax(overlaps))
        if overlaps[best] >= LEAST_OVERLAP:
            points[best] = tuple(detection.points.ravel().tolist())
    return [replace(box, points=xy) for box, xy in zip(boxes, points)]


def with_detected_points(boxes: Sequence[Box], pictures: Sequence[Picture], path: str) -> tuple[Box, ...]:
    """The boxes, neighbours of one picture together, with the points of whom the detector finds there.

    Raises InputError for a picture that cannot be decoded, or if nobody at all is found.
    """
    detector, done = PoseDetector(path), []
    with progress(len(boxes), "detector", "person") as bar:
        for file, group in groupby(zip(boxes, pictures), key=lambda pair: pair[1].path):
            group = [box for box, _ in group]
            done += matched(group, detector(read_picture(file)))
            bar.update(len(group))
    if not any(box.points for box in done):
        raise InputError(f"--align_source=detector: {path} finds nobody in the {len(done)} boxes")
    return tuple(done)
