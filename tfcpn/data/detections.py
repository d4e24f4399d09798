"""People to estimate the pose of: from a detector's results file, or from an annotation."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from tfcpn.base.errors import InputError
from tfcpn.data.coco import PERSON, CocoImage
from tfcpn.data.json_input import is_int, is_number_list, read_json

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PersonBox:
    """A person to estimate the pose of. box: x, y, w, h in pixels.

    points: the alignment points (x, y of mid-hip, x, y on the body's circle), if they are known. person: the id of
    the annotation that the box is of, if it is of one.
    """

    image_id: int
    box: tuple[float, float, float, float]
    score: float
    points: tuple[float, float, float, float] | None = None
    person: int | None = None


def _problem(record) -> str:
    """What is wrong with a detection; empty if nothing is."""
    if not isinstance(record, dict):
        return "is not an object"
    if not is_int(record.get("image_id")):
        return f"image_id is {record.get('image_id')!r}, want a whole number"
    if not is_int(record.get("category_id", PERSON)):
        return f"category_id is {record['category_id']!r}, want a whole number"
    if not is_number_list(record.get("bbox"), 4):
        return f"bbox is {record.get('bbox')!r}, want [x, y, width, height]"
    if not is_number_list([record.get("score")]):
        return f"score is {record.get('score')!r}, want a number"
    if not is_number_list(record.get("align_points", [0, 0, 0, 0]), 4):
        return f"align_points is {record['align_points']!r}, want [x, y, x, y]"
    return ""


def read_detections(path, images: dict[int, CocoImage], category: int = PERSON) -> list[PersonBox]:
    """The people that a detector found on these images, from results in COCO's format.

    category: the id of a person's category. A record may have the field `align_points`, x and y of the two alignment
    points. As in tf-cpn, detections on other images are passed over; a box without an area is left out, and how many
    there are is told. Raises InputError for a bad record, or if none is left.
    """
    records = read_json(path)
    if not isinstance(records, list):
        raise InputError(f"{path}: want a list of detections in COCO's results format")
    boxes, empty = [], 0
    for number, record in enumerate(records):
        problem = _problem(record)
        if problem:
            raise InputError(f"{path}: detection number {number}: {problem}")
        if record.get("category_id", category) != category or record["image_id"] not in images:
            continue
        if min(record["bbox"][2:]) <= 0:
            empty += 1
            continue
        points = tuple(map(float, record["align_points"])) if "align_points" in record else None
        boxes.append(
            PersonBox(
                record["image_id"],
                tuple(map(float, record["bbox"])),
                float(record["score"]),
                points,
            )
        )
    if empty:
        _log.warning(
            "%s: %d of its %d detections have a box without an area: left out",
            path,
            empty,
            len(records),
        )
    if not boxes:
        raise InputError(f"{path}: holds no detection of a person on the annotated images")
    return boxes
