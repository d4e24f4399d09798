"""Find people in an image: MediaPipe's detector, another detector's file, or the whole image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tfcpn.checkpoints.detectors import load_pose_detector
from tfcpn.data.detections import PersonBox
from tfcpn.inference.detector_files import FILE_THRESHOLD, FileDetector
from tfcpn.models.blazepose.detector import Detection, PoseDetector, body_box, body_square, iou
from tfcpn.models.specs import DEFAULT_DETECTION_MODEL, DEFAULT_PERSON_DETECTOR
from tfcpn.utils.errors import InputError

# Minimum score of a person by MediaPipe's detector, and when it looks at a known person's box.
MEDIAPIPE_THRESHOLD, ZOOM_THRESHOLD = 0.5, 0.35
# Side of what it looks at over that of the box, and IoU of its body with the box from which on they
# are of one person. Measured on COCO's sample (docs/notes/inference.md).
ZOOM, MIN_ZOOM_IOU = 1.6, 0.2
# IoU from which on a box is of a person that MediaPipe's detector finds in the whole image.
MIN_SAME_IOU = 0.4
# IoU of two circles' squares above which they may be of one person, and above which they are.
_MAYBE_SAME_IOU, _SAME_IOU = 0.3, 0.6
# Share of a box within another one above which they are of one person, cut by a tile.
_SAME_SHARE = 0.7

Detector = Callable[[np.ndarray], list[PersonBox]]


def load_detector(
    path: str, threshold: float | None = None, tiles: int = 1, zoom: bool = True
) -> Detector:
    """Load a detector.

    Args:
        path: "auto": the fetched person detector, else MediaPipe's. "none": the whole image is one
            person. MediaPipe's .tflite or .task file, or the run that trained it. Another .onnx or
            .tflite file, see `FileDetector`.
        threshold: Minimum score of a person; None for .5 of MediaPipe's detector, .3 of others.
        tiles: Above 1, also search tiles of 2 x 2 to n x n of the image, for smaller people.
        zoom: Let MediaPipe's detector find the alignment points of people in boxes without them, in
            the whole image or near the box, and people that another detector misses.

    Raises:
        InputError: For a file that is not a detector.
    """
    if path == "none":
        return full_image_box
    if path == "auto":
        fetched = Path(DEFAULT_PERSON_DETECTOR).exists()
        path = DEFAULT_PERSON_DETECTOR if fetched else DEFAULT_DETECTION_MODEL
    if not path.endswith(".onnx"):
        try:
            detector = load_pose_detector(
                path, MEDIAPIPE_THRESHOLD if threshold is None else threshold
            )
        except InputError:
            if not Path(path).exists() or not path.endswith(".tflite"):
                raise
        else:
            return lambda image: detect_people(detector, image, tiles)
    detector = FileDetector(path, FILE_THRESHOLD if threshold is None else threshold)
    if not zoom or not Path(DEFAULT_DETECTION_MODEL).exists():
        return lambda image: detect_boxes(detector, image, tiles)
    near = load_pose_detector(DEFAULT_DETECTION_MODEL, ZOOM_THRESHOLD)
    whole = load_pose_detector(DEFAULT_DETECTION_MODEL, max(MEDIAPIPE_THRESHOLD, threshold or 0.0))

    def detect(image: np.ndarray) -> list[PersonBox]:
        boxes = detect_boxes(detector, image, tiles)
        people = detect_people(whole, image)
        boxes, missed = points_of_people(boxes, people)
        boxes = [box if box.points else zoomed(near, image, box) for box in boxes]
        return boxes + missed

    return detect


def points_of_people(
    boxes: list[PersonBox], people: list[PersonBox]
) -> tuple[list[PersonBox], list[PersonBox]]:
    """Return boxes with the alignment points of the people whose bodies they overlap most.

    Args:
        boxes: Boxes without points.
        people: People with points.

    Returns:
        The boxes, and the people who are mostly within none of them.
    """
    pairs = [
        (float(iou(_corners(person), _corners(box)[None])[0]), p, b)
        for p, person in enumerate(people)
        for b, box in enumerate(boxes)
    ]
    owner: dict[int, int] = {}
    for overlap, p, b in sorted(pairs, reverse=True):
        if overlap > MIN_SAME_IOU and p not in owner.values() and b not in owner:
            owner[b] = p
    missed = [
        person
        for p, person in enumerate(people)
        if p not in owner.values()
        and all(_share_within(person, box) <= _SAME_SHARE for box in boxes)
    ]
    boxes = [
        replace(box, points=people[owner[b]].points) if b in owner else box
        for b, box in enumerate(boxes)
    ]
    return boxes, missed


def _corners(box: PersonBox) -> np.ndarray:
    """Return the first and last corner (2, 2) of a box."""
    x, y, width, height = box.box
    return np.array([[x, y], [x + width, y + height]])


def zoomed(detector: PoseDetector, image: np.ndarray, box: PersonBox) -> PersonBox:
    """Return a box with the alignment points that MediaPipe's detector finds in it.

    Args:
        detector: MediaPipe's detector. It looks at the part of the image about the box, so that a
            small person is large enough for it.
        image: (H, W, 3) uint8 BGR.
        box: The box. Without a detection that fits, it is returned as it is.
    """
    corners = _corners(box)
    center, half = corners.mean(axis=0), ZOOM * (corners[1] - corners[0]) / 2
    low = np.maximum(np.floor(center - half), 0).astype(int)
    high = np.minimum(np.ceil(center + half), image.shape[1::-1]).astype(int)
    part = np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]])
    for found in detector(part):  # the most confident first
        points = found.points + low
        body = PersonBox(0, body_box(points), found.score)
        if iou(corners, _corners(body)[None])[0] > MIN_ZOOM_IOU:
            return replace(box, points=tuple(map(float, points.ravel())))
    return box


def detect_boxes(detector: FileDetector, image: np.ndarray, tiles: int = 1) -> list[PersonBox]:
    """Return the boxes that a detector finds in an image and its tiles, the most confident first.

    Of two boxes of which one is mostly within the other, the more confident one is kept: a tile
    may cut a person.
    """
    found = []
    for tile, (x, y) in _tiles_of(image, tiles):
        for box in detector(tile):
            left, top, width, height = box.box
            found.append(replace(box, box=(left + float(x), top + float(y), width, height)))
    found.sort(key=lambda box: -box.score)
    if tiles == 1:
        return found
    kept: list[PersonBox] = []
    for box in found:
        if all(_share_within(box, other) <= _SAME_SHARE for other in kept):
            kept.append(box)
    return kept


def _share_within(a: PersonBox, b: PersonBox) -> float:
    """Return the overlap of two boxes as a share of the smaller one."""
    low = np.maximum(a.box[:2], b.box[:2])
    high = np.minimum(np.add(a.box[:2], a.box[2:]), np.add(b.box[:2], b.box[2:]))
    smaller = min(a.box[2] * a.box[3], b.box[2] * b.box[3])
    return float(np.prod(np.maximum(high - low, 0)) / smaller)


def full_image_box(image: np.ndarray) -> list[PersonBox]:
    """Return the whole image as one person."""
    height, width = image.shape[:2]
    return [PersonBox(0, (0.0, 0.0, float(width), float(height)), 1.0)]


def _tiles_of(image: np.ndarray, tiles: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the image and, for tiles = n, overlapping tiles of 2 x 2 to n x n, with corners."""
    yield image, np.zeros(2)
    for count in range(2, tiles + 1):
        # Larger than an even share, so that a person of a tile's size is whole in one of them.
        largest = round(max(image.shape[:2]) * 1.2 / count)
        sides = [min(length, largest) for length in image.shape[:2]]
        starts = [
            np.unique(np.linspace(0, length - side, count).astype(int))
            for length, side in zip(image.shape, sides)
        ]
        for y in starts[0]:
            for x in starts[1]:
                yield image[y : y + sides[0], x : x + sides[1]], np.array([x, y])


def detect_people(detector: PoseDetector, image: np.ndarray, tiles: int = 1) -> list[PersonBox]:
    """Return the people that MediaPipe's detector finds, the most confident first.

    Args:
        detector: The detector.
        image: (H, W, 3) uint8 BGR.
        tiles: Above 1, also search tiles of the image, for smaller people.

    Returns:
        Boxes with alignment points.
    """
    found: list[Detection] = []
    for tile, corner in _tiles_of(image, tiles):
        in_tile = [d._replace(points=d.points + corner) for d in detector(tile)]
        found = _merge_detections(found, in_tile)
    found.sort(key=lambda detection: -detection.score)
    return [
        PersonBox(0, body_box(d.points), d.score, points=tuple(map(float, d.points.ravel())))
        for d in found
    ]


def _merge_detections(known: list[Detection], new: list[Detection]) -> list[Detection]:
    """Merge the detections of a tile into those of others.

    Within a tile the detector separates people, however close they are. So each known person is
    matched with at most one detection of the tile, the one that overlaps most, and the more
    confident of the two is kept.
    """
    if not known or not new:
        return known + new
    squares = np.array([body_square(detection.points) for detection in known])
    pairs = [
        (float(overlap), k, n)
        for n, detection in enumerate(new)
        for k, overlap in enumerate(iou(body_square(detection.points), squares))
    ]
    match: dict[int, int] = {}
    for overlap, k, n in sorted(pairs, reverse=True):
        if overlap > _MAYBE_SAME_IOU and k not in match.values() and n not in match:
            match[n] = k
    duplicates = {n for overlap, _, n in pairs if overlap > _SAME_IOU}
    merged = list(known)
    for n, detection in enumerate(new):
        if n in match:
            k = match[n]
            merged[k] = max(known[k], detection, key=lambda d: d.score)
        elif n not in duplicates:
            merged.append(detection)
    return merged
