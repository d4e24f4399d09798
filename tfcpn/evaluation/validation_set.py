"""Whom an evaluation looks at and who counts: annotation file, boxes and images, read and checked once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.data.coco import CocoImage, Person, read_annotations
from tfcpn.data.detections import PersonBox, read_detections
from tfcpn.data.pictures import ImageFile, find_image
from tfcpn.geometry.alignment import Alignment
from tfcpn.geometry.points import alignment_points, has_alignment_keypoints
from tfcpn.skeleton import Skeleton


@dataclass(frozen=True)
class ValidationSet:
    """People of an annotation file, on whom any number of models can be evaluated.

    skeleton: the annotated keypoints. category: id of their category. labeled: how many people have keypoints. people:
    those of them that count. boxes: whom to look at, by image; images: where each of them is.
    """

    annotations: str
    images: dict[int, CocoImage]
    skeleton: Skeleton
    category: int
    labeled: int
    people: tuple[Person, ...]
    boxes: tuple[PersonBox, ...]
    image_files: tuple[ImageFile, ...]

    @property
    def counted(self) -> frozenset[int]:
        """Ids of the annotations that count."""
        return frozenset(p.id for p in self.people)


def check_source(alignment: Alignment, source: str, boxes: str) -> None:
    """See that the alignment points can come from where --align_source says. Raises InputError."""
    if not alignment.uses_points:
        if source != "gt":
            raise InputError(
                f"--align_source={source}: --align={alignment.mode} needs no alignment points"
            )
    elif source == "gt" and boxes != "gt":
        raise InputError(
            "--align_source=gt wants --boxes=gt; a detector's boxes are aligned by --align_source=two_pass, or by "
            "detections if its file has the field align_points"
        )
    elif source == "detector" and boxes != "gt":
        raise InputError(
            "--align_source=detector wants --boxes=gt: it looks for the people of annotated boxes"
        )
    elif source == "detections" and boxes == "gt":
        raise InputError("--align_source=detections wants a detector's file in --boxes")


def _annotated_boxes(
    people: list[Person], known: np.ndarray, skeleton: Skeleton, alignment: Alignment
) -> list[PersonBox]:
    """Boxes of score 1, with alignment points where they are known."""
    points = [None] * len(people)
    if known.any():
        keypoints, max_radius = (
            np.stack([p.keypoints for p in people]),
            np.array([p.max_radius for p in people]),
        )
        found = (
            alignment_points(keypoints, max_radius, skeleton, alignment.radius)
            .numpy()
            .reshape(-1, 4)
            .tolist()
        )
        points = [tuple(xy) if has else None for xy, has in zip(found, known)]
    return [PersonBox(p.image_id, p.box, 1.0, xy, p.id) for p, xy in zip(people, points)]


def _with_points(
    boxes: list[PersonBox], alignment: Alignment, source: str, annotations: str, file: str
) -> list[PersonBox]:
    """The boxes that stay: without those that lack alignment points, if that is what becomes of them."""
    if not alignment.uses_points or source in ("two_pass", "detector"):
        return boxes
    known = [b for b in boxes if b.points is not None]
    if not known and source == "detections":
        raise InputError(f"{file}: no detection has align_points; use --align_source=two_pass")
    if alignment.missing != "drop":
        return boxes
    if not known:
        raise InputError(
            f"{annotations}: nobody has the keypoints of the alignment points, and --align_missing=drop leaves all of "
            "them out"
        )
    return known


def read_validation_set(
    annotations: str,
    image_dir: str,
    skeleton: Skeleton,
    alignment: Alignment,
    *,
    boxes: str = "gt",
    source: str = "gt",
    who: str = "all",
) -> ValidationSet:
    """boxes: "gt" or a detector's file. source: where alignment points come from. who: "all" or "alignable" count.

    A file without labeled people, such as COCO's lists of test images, is enough with a detector's file. Raises
    InputError for what does not fit together, and for images that are missing or of another size than annotated.
    """
    check_source(alignment, source, boxes)
    require_people = boxes == "gt" or who != "all"
    images, people, skeleton, category = read_annotations(annotations, require_people, skeleton)
    labeled = people = [p for p in people if p.trainable]
    known = np.zeros(len(people), bool)
    if who == "alignable" or (alignment.uses_points and people):
        known = has_alignment_keypoints(
            np.stack([p.keypoints for p in people]), skeleton, alignment.radius
        ).numpy()
    if who == "alignable":
        if not known.any():
            raise InputError(f"{annotations}: nobody has the keypoints of the alignment points")
        people, known = [p for p, has_them in zip(people, known) if has_them], known[known]
    if boxes == "gt":
        shown = _annotated_boxes(people, known, skeleton, alignment)
    else:
        shown = read_detections(boxes, images, category)
    shown = _with_points(shown, alignment, source, annotations, boxes)
    # Neighbors in the list share their image's file.
    shown.sort(key=lambda b: b.image_id)
    needed = sorted({b.image_id for b in shown})
    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(needed, pool.map(lambda i: find_image(image_dir, images[i]), needed)))
    image_files = tuple(found[b.image_id] for b in shown)
    whom = len(labeled), tuple(people), tuple(shown), image_files
    return ValidationSet(annotations, images, skeleton, category, *whom)
