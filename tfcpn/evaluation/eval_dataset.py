"""The validation set: annotations, boxes and images, read and checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from tfcpn.checkpoints.detectors import load_pose_detector
from tfcpn.data.coco import Annotations, CocoImage, PersonAnnotation, read_annotations
from tfcpn.data.detections import PersonBox, read_detections
from tfcpn.data.images import ImageFile, find_images, read_image
from tfcpn.models.blazepose.detector import Detection, body_square, iou
from tfcpn.skeleton import Skeleton
from tfcpn.transforms.alignment import Alignment
from tfcpn.transforms.regions import alignment_points, has_alignment_keypoints
from tfcpn.utils.console import progress_bar
from tfcpn.utils.errors import InputError

# Minimum IoU of a box and the square about a detection's circle that are of one person.
MIN_DETECTION_IOU = 0.1


@dataclass(frozen=True)
class ValidationSet:
    """People of an annotation file, on which any number of models can be evaluated.

    Attributes:
        annotations: Name of the annotation file.
        annotated: Its content.
        num_labeled: Number of people with labeled keypoints.
        people: Those of them that count.
        boxes: Boxes to predict, by image.
        image_files: The image of each box.
    """

    annotations: str
    annotated: Annotations
    num_labeled: int
    people: tuple[PersonAnnotation, ...]
    boxes: tuple[PersonBox, ...]
    image_files: tuple[ImageFile, ...]

    @property
    def images(self) -> dict[int, CocoImage]:
        """The annotated images by id."""
        return self.annotated.images

    @property
    def skeleton(self) -> Skeleton:
        """The annotated keypoints."""
        return self.annotated.skeleton

    @property
    def category(self) -> int:
        """Id of the people's category in results."""
        return self.annotated.category

    @property
    def counted(self) -> frozenset[int]:
        """Ids of the annotations that count."""
        return frozenset(person.id for person in self.people)


def check_point_source(alignment: Alignment, source: str, boxes: str) -> None:
    """Check that alignment points can come from --align_source.

    Args:
        alignment: How regions are defined.
        source: Value of --align_source.
        boxes: Value of --boxes.

    Raises:
        InputError: If they do not fit together.
    """
    if not alignment.uses_points:
        if source != "gt":
            raise InputError(
                f"--align_source={source}: --align={alignment.mode} needs no alignment points"
            )
    elif source == "gt" and boxes != "gt":
        raise InputError(
            "--align_source=gt needs --boxes=gt; align a detector's boxes by "
            "--align_source=two_pass, or by detections if its file has the field align_points"
        )
    elif source == "detector" and boxes != "gt":
        raise InputError("--align_source=detector needs --boxes=gt, to which it is matched")
    elif source == "detections" and boxes == "gt":
        raise InputError("--align_source=detections needs a detector's file in --boxes")


def _annotated_boxes(
    people: list[PersonAnnotation], known: np.ndarray, skeleton: Skeleton, alignment: Alignment
) -> list[PersonBox]:
    """Return boxes of score 1, with alignment points where they are known."""
    points = [None] * len(people)
    if known.any():
        keypoints = np.stack([person.keypoints for person in people])
        max_radius = np.array([person.max_radius for person in people])
        found = alignment_points(keypoints, max_radius, skeleton, alignment.radius).numpy()
        found = found.reshape(-1, 4).tolist()
        points = [tuple(xy) if is_known else None for xy, is_known in zip(found, known)]
    return [
        PersonBox(p.image_id, p.box, 1.0, points=xy, annotation_id=p.id)
        for p, xy in zip(people, points)
    ]


def _drop_unaligned(
    boxes: list[PersonBox], alignment: Alignment, source: str, annotations: str, file: str
) -> list[PersonBox]:
    """Drop boxes without alignment points, with --align_missing=drop."""
    if not alignment.uses_points or source in ("two_pass", "detector"):
        return boxes
    known = [box for box in boxes if box.points is not None]
    if not known and source == "detections":
        raise InputError(f"{file}: no detection has align_points; use --align_source=two_pass")
    if alignment.missing != "drop":
        return boxes
    if not known:
        raise InputError(
            f"{annotations}: no person has the keypoints of the alignment points, and "
            "--align_missing=drop drops all of them"
        )
    return known


def read_validation_set(
    annotations: str,
    image_dir: str,
    *,
    skeleton: Skeleton,
    alignment: Alignment,
    boxes: str = "gt",
    source: str = "gt",
    subset: str = "all",
    strict: bool = False,
) -> ValidationSet:
    """Read a validation set.

    With a detector's file, an annotation file without labeled people is enough, such as COCO's
    lists of test images.

    Args:
        annotations: The annotation file.
        image_dir: Folder of its images.
        skeleton: Keypoints that the file must have.
        alignment: How regions are defined.
        boxes: "gt" or a detector's file.
        source: Source of the alignment points.
        subset: "all" or "alignable" people count.
        strict: Refuse what would be repaired or looks wrong.

    Raises:
        InputError: For arguments that do not fit together, and for images that are missing or of
            another size than annotated.
    """
    check_point_source(alignment, source, boxes)
    require_people = boxes == "gt" or subset != "all"
    annotated = read_annotations(
        annotations, require_people, skeleton, image_dir=image_dir, strict=strict
    )
    images, skeleton = annotated.images, annotated.skeleton
    labeled = people = [person for person in annotated.people if person.trainable]
    known = np.zeros(len(people), bool)
    if subset == "alignable" or (alignment.uses_points and people):
        keypoints = np.stack([person.keypoints for person in people])
        known = has_alignment_keypoints(keypoints, skeleton, alignment.radius).numpy()
    if subset == "alignable":
        if not known.any():
            raise InputError(f"{annotations}: no person has the keypoints of the alignment points")
        people, known = [p for p, is_known in zip(people, known) if is_known], known[known]
    if boxes == "gt":
        targets = _annotated_boxes(people, known, skeleton, alignment)
    else:
        targets = read_detections(boxes, images, annotated.categories, strict)
    targets = _drop_unaligned(targets, alignment, source, annotations, boxes)
    # Consecutive boxes of an image share its decoding.
    targets.sort(key=lambda box: box.image_id)
    needed = sorted({box.image_id for box in targets})
    found = find_images(image_dir, [images[i] for i in needed], annotations, strict)
    files = dict(zip(needed, found))
    return ValidationSet(
        annotations=annotations,
        annotated=annotated,
        num_labeled=len(labeled),
        people=tuple(people),
        boxes=tuple(targets),
        image_files=tuple(files[box.image_id] for box in targets),
    )


def match_detections(
    boxes: Sequence[PersonBox], detections: Sequence[Detection]
) -> list[PersonBox]:
    """Return the boxes of an image with the alignment points of the best matching detections.

    Each detection goes to one box, the most confident first. Boxes without a match have no points.
    """
    corners = np.array([box.box for box in boxes], np.float64).reshape(-1, 2, 2)
    corners[:, 1] += corners[:, 0]
    points: list[tuple | None] = [None] * len(boxes)
    for detection in detections:
        overlaps = iou(body_square(detection.points), corners)
        overlaps[[p is not None for p in points]] = 0
        best = int(np.argmax(overlaps))
        if overlaps[best] >= MIN_DETECTION_IOU:
            points[best] = tuple(detection.points.ravel().tolist())
    return [replace(box, points=xy) for box, xy in zip(boxes, points)]


def add_detected_points(
    boxes: Sequence[PersonBox], image_files: Sequence[ImageFile], path: str
) -> tuple[PersonBox, ...]:
    """Return boxes with alignment points from MediaPipe's detector.

    Args:
        boxes: Boxes, those of an image next to each other.
        image_files: The image of each box.
        path: The detector's .tflite or .task file, or the run that trained it.

    Raises:
        InputError: For an image that cannot be decoded, and if no person at all is found.
    """
    detector, result = load_pose_detector(path), []
    with progress_bar(len(boxes), "detector", "person") as bar:
        pairs = zip(boxes, image_files)
        for file, group in groupby(pairs, key=lambda pair: pair[1]):
            of_image = [box for box, _ in group]
            pixels = read_image(file.path, file.orientation)
            result += match_detections(of_image, detector(pixels))
            bar.update(len(of_image))
    if not any(box.points for box in result):
        raise InputError(
            f"--align_source=detector: {path} finds no person in the {len(result)} boxes"
        )
    return tuple(result)
