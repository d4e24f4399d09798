"""Read COCO annotation files: images, people and skeleton, with every used field checked."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

import numpy as np

from tfcpn.skeleton import COCO, Skeleton, from_category, unpaired_keypoints
from tfcpn.utils.console import status
from tfcpn.utils.errors import InputError
from tfcpn.utils.json_io import MAX_AREA, is_int, is_number_list, read_json

PERSON_CATEGORY_ID = 1  # COCO's id of the category person
_MAX_SIDE = 100_000
_MIN_AREA = 1e-3  # square pixels; below, rounding unpaired ruins OKS
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CocoImage:
    """An image of an annotation file; height and width in pixels."""

    id: int
    file_name: str
    height: int
    width: int


@dataclass(frozen=True)
class PersonAnnotation:
    """An annotated person.

    Attributes:
        box: x, y, width, height in pixels.
        keypoints: (K, 3) x, y, visibility (0, 1 or 2).
        area: Area of the segmentation in square pixels.
        crowd: COCO's iscrowd.
        max_radius: Distance in pixels from the mid-hip to the farthest point of the segmentation; 0
            if either is not annotated.
    """

    id: int
    image_id: int
    box: tuple[float, float, float, float]
    keypoints: np.ndarray
    num_keypoints: int
    area: float
    crowd: bool
    max_radius: float = 0.0

    @property
    def trainable(self) -> bool:
        """Whether tf-cpn trains on this person: not a crowd, and a keypoint is labeled."""
        return not self.crowd and self.num_keypoints > 0


class Annotations(NamedTuple):
    """The content of an annotation file.

    Attributes:
        images: Images by id.
        people: People in the order of the file.
        skeleton: Their keypoints.
        category: Id of their category.
    """

    images: dict[int, CocoImage]
    people: list[PersonAnnotation]
    skeleton: Skeleton
    category: int


def _parse_image(record: dict) -> CocoImage:
    if not is_int(record.get("id")):
        raise ValueError(f"id is {record.get('id')!r}, expected a whole number")
    for field in ("width", "height"):
        if not is_int(record.get(field)) or not 0 < record[field] <= _MAX_SIDE:
            raise ValueError(
                f"{field} is {record.get(field)!r}, expected a positive whole number of pixels"
            )
    name = record.get("file_name")
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(f"file_name is {name!r}, expected the name of a file")
    if (
        PurePosixPath(name).is_absolute()
        or PureWindowsPath(name).anchor
        or ".." in re.split(r"[/\\]", name)
    ):
        raise ValueError(f"file_name is {name!r}, which leaves the folder of the images")
    return CocoImage(record["id"], name, record["height"], record["width"])


def _parse_person(
    record: dict, images: dict[int, CocoImage], skeleton: Skeleton
) -> PersonAnnotation:
    if not is_int(record.get("id")):
        raise ValueError(f"id is {record.get('id')!r}, expected a whole number")
    if not is_int(record.get("image_id")) or record["image_id"] not in images:
        raise ValueError(f"image_id {record.get('image_id')!r} is not among the file's images")
    if not is_number_list(record.get("bbox"), 4) or min(record["bbox"][2:]) < 0:
        raise ValueError(f"bbox is {record.get('bbox')!r}, expected [x, y, width, height]")
    if not is_number_list(record.get("keypoints")):
        raise ValueError("keypoints is missing or holds something that is not a number")
    if len(record["keypoints"]) != 3 * skeleton.num_keypoints:
        raise ValueError(
            f"keypoints has {len(record['keypoints'])} values, expected {skeleton.num_keypoints} "
            "keypoints x 3"
        )
    keypoints = np.array(record["keypoints"], np.float32).reshape(skeleton.num_keypoints, 3)
    if not np.isin(keypoints[:, 2], (0, 1, 2)).all():
        raise ValueError("keypoints has a visibility other than 0, 1, 2")
    area, crowd = record.get("area"), record.get("iscrowd", 0)
    if not is_number_list([area], maximum=MAX_AREA) or area < 0:
        raise ValueError(f"area is {area!r}, expected a number of pixels")
    if crowd not in (0, 1):
        raise ValueError(f"iscrowd is {crowd!r}, expected 0 or 1")
    labeled = int((keypoints[:, 2] > 0).sum())
    count = record.get("num_keypoints", labeled)
    if not is_int(count) or count != labeled:
        raise ValueError(f"num_keypoints is {count!r}, but {labeled} keypoints are labeled")
    if labeled and not crowd and min(record["bbox"][2:]) <= 0:
        raise ValueError(f"bbox is {record['bbox']}: a labeled person needs a box with an area")
    if labeled and not crowd and area < _MIN_AREA:
        raise ValueError(
            f"area is {area!r}: a labeled person needs one, by which distances are judged"
        )
    box = tuple(float(v) for v in record["bbox"])
    max_radius = _outline_radius(record.get("segmentation"), keypoints, skeleton)
    return PersonAnnotation(
        record["id"],
        record["image_id"],
        box,
        keypoints,
        count,
        float(area),
        bool(crowd),
        max_radius,
    )


def _outline_radius(segmentation, keypoints: np.ndarray, skeleton: Skeleton) -> float:
    """Return `PersonAnnotation.max_radius`; 0 for crowds and without both hips."""
    if segmentation is None or isinstance(segmentation, dict):
        return 0.0
    if not isinstance(segmentation, list) or not all(
        is_number_list(p) and len(p) % 2 == 0 for p in segmentation
    ):
        raise ValueError("segmentation is no list of polygons, each a list of x, y, x, y, ...")
    hips = keypoints[list(skeleton.hips)]
    if not segmentation or not len(hips) or not (hips[:, 2] > 0).all():
        return 0.0
    outline = np.concatenate([np.reshape(p, (-1, 2)) for p in segmentation])
    return float(np.linalg.norm(outline - hips[:, :2].mean(axis=0), axis=1).max(initial=0))


def _category(data: dict, path, expected: Skeleton | None) -> tuple[int, Skeleton, set[int] | None]:
    """Return id and skeleton of the category with keypoints, and the ids of all categories.

    A file without categories is taken for COCO's.
    """
    listed = data.get("categories")
    if "categories" not in data:
        return PERSON_CATEGORY_ID, expected or COCO, None
    if not isinstance(listed, list) or not all(
        isinstance(c, dict) and is_int(c.get("id")) for c in listed
    ):
        raise InputError(f"{path}: categories is no list of objects, each with an id")
    ids = {c["id"] for c in listed}
    with_keypoints = [c for c in listed if "keypoints" in c]
    with_keypoints = [c for c in with_keypoints if c["id"] == PERSON_CATEGORY_ID] or with_keypoints
    if not with_keypoints:
        # COCO's lists of test images have the categories of its detection task.
        if data.get("annotations"):
            raise InputError(
                f"{path}: none of its categories has keypoints; expected a COCO person_keypoints "
                "file"
            )
        return PERSON_CATEGORY_ID, expected or COCO, ids
    if len(with_keypoints) > 1:
        raise InputError(
            f"{path}: {len(with_keypoints)} categories have keypoints, expected one of them, or "
            "one "
            "with id 1"
        )
    try:
        return with_keypoints[0]["id"], from_category(with_keypoints[0]), ids
    except ValueError as error:
        raise InputError(f"{path}: category id {with_keypoints[0]['id']}: {error}") from error


def _parse_records(path, kind: str, records: list, parse):
    """Yield the parsed records of a list; InputError names file, record and field."""
    for number, record in enumerate(records):
        try:
            if not isinstance(record, dict):
                raise ValueError("is not an object")
            yield parse(record)
        except ValueError as error:
            name = (
                f"id {record['id']!r}"
                if isinstance(record, dict) and "id" in record
                else f"number {number}"
            )
            raise InputError(f"{path}: {kind} {name}: {error}") from error


def _add_unique(values: dict, value, path, kind: str) -> None:
    if value.id in values:
        raise InputError(f"{path}: {kind} id {value.id} appears twice")
    values[value.id] = value


def read_annotations(
    path, require_people: bool = True, expected: Skeleton | None = None
) -> Annotations:
    """Read a COCO keypoint annotation file.

    Annotations of other categories are skipped. If no keypoint in the file has visibility 2, then 1
    means labeled and is converted to COCO's 2.

    Args:
        path: The file.
        require_people: Refuse a file without labeled people. If False, `annotations` may be
            missing, as in COCO's test sets.
        expected: Skeleton to use; the file must have its keypoints, if it lists any.

    Raises:
        InputError: Naming file, record and field.
    """
    large = Path(path).exists() and Path(path).stat().st_size > 10_000_000
    with status(f"reading {path}", immediate=large):
        return _annotations_of(read_json(path), path, require_people, expected)


def _annotations_of(data, path, require_people: bool, expected: Skeleton | None) -> Annotations:
    for key in ("images", "annotations"):
        optional = key == "annotations" and not require_people
        if not isinstance(data, dict) or not isinstance(
            data.get(key, [] if optional else None), list
        ):
            raise InputError(f"{path}: has no list {key!r}; expected a COCO person_keypoints file")
    category, skeleton, ids = _category(data, path, expected)
    if expected is not None:
        check_same_keypoints(path, skeleton, expected)
        skeleton = expected
    elif unpaired_keypoints(skeleton):
        unpaired = ", ".join(unpaired_keypoints(skeleton))
        _log.warning(
            "%s: %s: no keypoint on the other side; kept in place in mirror images", path, unpaired
        )
    images: dict[int, CocoImage] = {}
    for image in _parse_records(path, "image", data["images"], _parse_image):
        _add_unique(images, image, path, "image")

    def parse(record: dict) -> PersonAnnotation | None:
        category_id = record.get("category_id", category)
        if not is_int(category_id) or (ids is not None and category_id not in ids):
            raise ValueError(
                f"category_id is {category_id!r}, which is not among the file's categories"
            )
        return _parse_person(record, images, skeleton) if category_id == category else None

    people: dict[int, PersonAnnotation] = {}
    for person in _parse_records(path, "annotation", data.get("annotations", []), parse):
        if person is not None:
            _add_unique(people, person, path, "annotation")
    if require_people and not any(p.trainable for p in people.values()):
        raise InputError(f"{path}: no person in it has a labeled keypoint")
    return Annotations(
        images, _normalize_visibility(list(people.values()), path), skeleton, category
    )


def check_same_keypoints(path, actual: Skeleton, expected: Skeleton) -> None:
    """Check that a file has the expected keypoints in the expected order.

    Args:
        path: Name of the file in errors.
        actual: The keypoints of the file.
        expected: The expected keypoints.

    Raises:
        InputError: If they differ.
    """
    if actual.keypoints != expected.keypoints:
        raise InputError(
            f"{path}: its keypoints are {', '.join(actual.keypoints)}; expected those of "
            f"{expected.name!r}, "
            f"{', '.join(expected.keypoints)}"
        )


def _normalize_visibility(people: list[PersonAnnotation], path) -> list[PersonAnnotation]:
    """Convert visibilities of a file that only uses 0 and 1 to COCO's."""
    maximum = max((float(p.keypoints[:, 2].max(initial=0)) for p in people), default=0.0)
    if maximum != 1:
        return people
    _log.warning("%s: no keypoint has visibility 2, so 1 is taken to say labeled and visible", path)
    return [replace(p, keypoints=p.keypoints * np.array([1, 1, 2], np.float32)) for p in people]


def coco_categories(skeleton: Skeleton = COCO) -> list[dict]:
    """Return the `categories` list of a COCO keypoint annotation file."""
    limbs = [[a + 1, b + 1] for a, b in skeleton.limbs]
    return [
        {
            "id": PERSON_CATEGORY_ID,
            "name": "person",
            "supercategory": "person",
            "keypoints": list(skeleton.keypoints),
            "skeleton": limbs,
        }
    ]


def without_keypoints(record: dict) -> dict:
    """Return the annotation of a person who shall not count, as COCO marks one: unlabeled."""
    return {**record, "keypoints": [0] * len(record["keypoints"]), "num_keypoints": 0}
