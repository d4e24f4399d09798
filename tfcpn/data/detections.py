"""Boxes of people from detectors, and results in COCO format."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from tfcpn.data.categories import PERSON_CATEGORY_ID
from tfcpn.data.findings import EMPTY_BOX, OTHER_CATEGORY, OTHER_IMAGES, Findings
from tfcpn.utils.errors import InputError
from tfcpn.utils.json_io import is_int, is_number_list, read_json


@dataclass(frozen=True)
class PersonBox:
    """A box of a person whose pose is to be estimated.

    Attributes:
        image_id: Id of the image.
        box: x, y, width, height in pixels.
        score: Score of the detector; 1 for annotated boxes.
        points: x, y of the mid-hip and x, y of the point on the circle; None if unknown.
        annotation_id: Id of the annotation whose box it is, if any.
    """

    image_id: int
    box: tuple[float, float, float, float]
    score: float
    points: tuple[float, float, float, float] | None = None
    annotation_id: int | None = None


def _problem(record) -> str:
    """Return what is wrong with a detection; "" if nothing is."""
    if not isinstance(record, dict):
        return "is not an object"
    if not is_int(record.get("image_id")):
        return f"image_id is {record.get('image_id')!r}, expected a whole number"
    if not is_int(record.get("category_id", PERSON_CATEGORY_ID)):
        return f"category_id is {record['category_id']!r}, expected a whole number"
    if not is_number_list(record.get("bbox"), 4):
        return f"bbox is {record.get('bbox')!r}, expected [x, y, width, height]"
    if not is_number_list([record.get("score")]):
        return f"score is {record.get('score')!r}, expected a number"
    if not is_number_list(record.get("align_points", [0, 0, 0, 0]), 4):
        return f"align_points is {record['align_points']!r}, expected [x, y, x, y]"
    return ""


def read_detections(
    path,
    images: Collection[int],
    categories: Collection[int] = (PERSON_CATEGORY_ID,),
    strict: bool = False,
) -> list[PersonBox]:
    """Read the boxes of people of a detector's results file in COCO format.

    As in tf-cpn, detections on other images are skipped. Where all detections have one category
    that is not among the people's, as detectors of people alone number it, it is taken for theirs.
    Boxes without an area are dropped. All of this is counted in the log.

    Args:
        path: The file. Records may have a field `align_points`: x, y of the two alignment points.
        images: Ids of the annotated images.
        categories: Ids of the people's categories.
        strict: Refuse what is only counted otherwise.

    Raises:
        InputError: For a bad record, and if no detection is left.
    """
    records = read_json(path)
    if not isinstance(records, list):
        raise InputError(f"{path}: expected a list of detections in COCO's results format")
    for number, record in enumerate(records):
        problem = _problem(record)
        if problem:
            raise InputError(f"{path}: detection number {number}: {problem}")
    findings, total = Findings(path), len(records)
    category = min(categories, default=PERSON_CATEGORY_ID)
    found = {record.get("category_id", category) for record in records}
    if len(found) == 1 and not found & set(categories):
        findings.add(OTHER_CATEGORY, f"category_id {min(found)}", total)
        categories = found
    boxes = []
    for number, record in enumerate(records):
        if record.get("category_id", category) not in categories:
            continue
        if record["image_id"] not in images:
            findings.add(OTHER_IMAGES, f"number {number}, image_id {record['image_id']}")
        elif min(record["bbox"][2:]) <= 0:
            findings.add(EMPTY_BOX, f"number {number}")
        else:
            points = tuple(map(float, record["align_points"])) if "align_points" in record else None
            box = tuple(map(float, record["bbox"]))
            boxes.append(PersonBox(record["image_id"], box, float(record["score"]), points))
    if not boxes:
        raise InputError(
            f"{path}: holds no detection of a person on the annotated images ("
            + (
                "; ".join(findings.lines())
                or f"{total} detections, categories {', '.join(map(str, sorted(found))) or 'none'}"
            )
            + ")"
        )
    findings.report(strict)
    return boxes


def coco_result(
    box: PersonBox,
    *,
    keypoints: np.ndarray,
    scores: np.ndarray,
    category: int = PERSON_CATEGORY_ID,
    missing_keypoints: tuple[int, ...] = (),
) -> dict:
    """Return an entry of a results file, rounded as in tf-cpn.

    Args:
        box: The box.
        keypoints: (K, 2) x, y in the image; annotated keypoints only.
        scores: (K,).
        category: Id of the people's category.
        missing_keypoints: Indices of keypoints that the network does not have: 0, 0, 0, and no part
            of the score.
    """
    flat = np.concatenate([np.round(keypoints, 3), np.ones((len(keypoints), 1))], axis=1)
    if missing_keypoints:
        flat[list(missing_keypoints)] = 0
        scores = np.delete(scores, list(missing_keypoints))
    return {
        "image_id": box.image_id,
        "category_id": category,
        "keypoints": flat.ravel().tolist(),
        "score": round(float(box.score * np.mean(scores)), 4),
    }
