"""COCO's annotation files -> images, people and their skeleton. Every field that the program uses is checked."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.base.progress import status
from tfcpn.data.json_input import MAX_AREA, is_int, is_number_list, read_json
from tfcpn.skeleton import COCO, Skeleton, from_category, unpaired_keypoints

PERSON = 1  # COCO's id of the category person
_LONGEST_SIDE = 100_000
_LEAST_AREA = 1e-3  # square pixels; below, rounding alone is a miss in OKS
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CocoImage:
    id: int
    file_name: str
    height: int
    width: int


@dataclass(frozen=True)
class Person:
    """One annotated person. box: x, y, w, h in pixels. keypoints: (K, 3) x, y, visibility (0, 1, 2).

    reach: from the mid-hip to the farthest point of the segmentation, in pixels; 0 if either is not annotated.
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
        """Whether tf-cpn would train on this person: no crowd, and at least one keypoint is labeled."""
        return not self.crowd and self.num_keypoints > 0


class Annotations(NamedTuple):
    """An annotation file: images by id, people in the file's order, their skeleton and its category's id."""

    images: dict[int, CocoImage]
    people: list[Person]
    skeleton: Skeleton
    category: int


def _parse_image(record: dict) -> CocoImage:
    if not is_int(record.get("id")):
        raise ValueError(f"id is {record.get('id')!r}, want a whole number")
    for field in ("width", "height"):
        if not is_int(record.get(field)) or not 0 < record[field] <= _LONGEST_SIDE:
            raise ValueError(
                f"{field} is {record.get(field)!r}, want a positive whole number of pixels"
            )
    name = record.get("file_name")
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(f"file_name is {name!r}, want the name of a file")
    if (
        PurePosixPath(name).is_absolute()
        or PureWindowsPath(name).anchor
        or ".." in re.split(r"[/\\]", name)
    ):
        raise ValueError(f"file_name is {name!r}, which leaves the folder of the images")
    return CocoImage(record["id"], name, record["height"], record["width"])


def _parse_person(record: dict, images: dict[int, CocoImage], skeleton: Skeleton) -> Person:
    if not is_int(record.get("id")):
        raise ValueError(f"id is {record.get('id')!r}, want a whole number")
    if not is_int(record.get("image_id")) or record["image_id"] not in images:
        raise ValueError(f"image_id {record.get('image_id')!r} is not among the file's images")
    if not is_number_list(record.get("bbox"), 4) or min(record["bbox"][2:]) < 0:
        raise ValueError(f"bbox is {record.get('bbox')!r}, want [x, y, width, height]")
    if not is_number_list(record.get("keypoints")):
        raise ValueError("keypoints is missing or holds something that is not a number")
    if len(record["keypoints"]) != 3 * skeleton.count:
        raise ValueError(
            f"keypoints has {len(record['keypoints'])} values, want {skeleton.count} keypoints x 3"
        )
    keypoints = np.array(record["keypoints"], np.float32).reshape(skeleton.count, 3)
    if not np.isin(keypoints[:, 2], (0, 1, 2)).all():
        raise ValueError("keypoints has a visibility other than 0, 1, 2")
    area, crowd = record.get("area"), record.get("iscrowd", 0)
    if not is_number_list([area], most=MAX_AREA) or area < 0:
        raise ValueError(f"area is {area!r}, want a number of pixels")
    if crowd not in (0, 1):
        raise ValueError(f"iscrowd is {crowd!r}, want 0 or 1")
    labeled = int((keypoints[:, 2] > 0).sum())
    count = record.get("num_keypoints", labeled)
    if not is_int(count) or count != labeled:
        raise ValueError(f"num_keypoints is {count!r}, but {labeled} keypoints are labeled")
    if labeled and not crowd and min(record["bbox"][2:]) <= 0:
        raise ValueError(f"bbox is {record['bbox']}: a labeled person needs a box with an area")
    if labeled and not crowd and area < _LEAST_AREA:
        raise ValueError(
            f"area is {area!r}: a labeled person needs one, by which distances are judged"
        )
    box = tuple(float(v) for v in record["bbox"])
    max_radius = _reach(record.get("segmentation"), keypoints, skeleton)
    return Person(
        record["id"],
        record["image_id"],
        box,
        keypoints,
        count,
        float(area),
        bool(crowd),
        max_radius,
    )


def _reach(segmentation, keypoints: np.ndarray, skeleton: Skeleton) -> float:
    """`Person.reach`. A crowd's run lengths tell nothing of a person; both hips must be labeled."""
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
    """Id and skeleton of the category that has keypoints, and the ids of all; a file that lists none is COCO's."""
    listed = data.get("categories")
    if "categories" not in data:
        return PERSON, expected or COCO, None
    if not isinstance(listed, list) or not all(
        isinstance(c, dict) and is_int(c.get("id")) for c in listed
    ):
        raise InputError(f"{path}: categories is no list of objects, each with an id")
    ids = {c["id"] for c in listed}
    keypointed = [c for c in listed if "keypoints" in c]
    keypointed = [c for c in keypointed if c["id"] == PERSON] or keypointed
    if not keypointed:
        # Such are COCO's lists of test images, whose categories are those of its detection task.
        if data.get("annotations"):
            raise InputError(
                f"{path}: none of its categories has keypoints; want a COCO person_keypoints file"
            )
        return PERSON, expected or COCO, ids
    if len(keypointed) > 1:
        raise InputError(
            f"{path}: {len(keypointed)} categories have keypoints, want one of them, or one with id 1"
        )
    try:
        return keypointed[0]["id"], from_category(keypointed[0]), ids
    except ValueError as error:
        raise InputError(f"{path}: category id {keypointed[0]['id']}: {error}") from error


def _records(path, kind: str, records: list, parse):
    """The parsed records of a list, one by one. Raises InputError that names file, record and field."""
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


def _add(values: dict, value, path, kind: str) -> None:
    if value.id in values:
        raise InputError(f"{path}: {kind} id {value.id} appears twice")
    values[value.id] = value


def read_annotations(
    path, require_people: bool = True, expected: Skeleton | None = None
) -> Annotations:
    """A COCO keypoint annotation file; annotations of other categories than the one with keypoints are passed over.

    In a file where no keypoint has visibility 2, 1 says that a keypoint is labeled, and becomes COCO's 2. need_people:
    refuse a file in which nobody has a labeled keypoint; without, `annotations` may be missing, as in COCO's test sets.
    expected: the skeleton that the people get; the file must have its keypoints, if it tells them. Raises InputError
    that names file, record and field.
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
            raise InputError(f"{path}: has no list {key!r}; want a COCO person_keypoints file")
    category, skeleton, ids = _category(data, path, expected)
    if expected is not None:
        check_same_keypoints(path, skeleton, expected)
        skeleton = expected
    elif unpaired_keypoints(skeleton):
        alone = ", ".join(unpaired_keypoints(skeleton))
        _log.warning(
            "%s: %s: no keypoint of the other side; kept in place in mirror images", path, alone
        )
    images: dict[int, CocoImage] = {}
    for image in _records(path, "image", data["images"], _parse_image):
        _add(images, image, path, "image")

    def parse(record: dict) -> Person | None:
        own = record.get("category_id", category)
        if not is_int(own) or (ids is not None and own not in ids):
            raise ValueError(f"category_id is {own!r}, which is not among the file's categories")
        return _parse_person(record, images, skeleton) if own == category else None

    people: dict[int, Person] = {}
    for person in _records(path, "annotation", data.get("annotations", []), parse):
        if person is not None:
            _add(people, person, path, "annotation")
    if require_people and not any(p.trainable for p in people.values()):
        raise InputError(f"{path}: no person in it has a labeled keypoint")
    return Annotations(images, _as_coco_labels(list(people.values()), path), skeleton, category)


def check_same_keypoints(path, told: Skeleton, expected: Skeleton) -> None:
    """See that a file's keypoints are those that are expected, in their order. Raises InputError."""
    if told.keypoints != expected.keypoints:
        raise InputError(
            f"{path}: its keypoints are {', '.join(told.keypoints)}; want those of {expected.name!r}, "
            f"{', '.join(expected.keypoints)}"
        )


def _as_coco_labels(people: list[Person], path) -> list[Person]:
    """People of a file that knows only 0 and 1 with COCO's visibilities, on which losses and reports depend."""
    greatest = max((float(p.keypoints[:, 2].max(initial=0)) for p in people), default=0.0)
    if greatest != 1:
        return people
    _log.warning("%s: no keypoint has visibility 2, so 1 is taken to say labeled and visible", path)
    return [replace(p, keypoints=p.keypoints * np.array([1, 1, 2], np.float32)) for p in people]


def categories(skeleton: Skeleton = COCO) -> list[dict]:
    """The `categories` list of a COCO keypoint annotation file."""
    limbs = [[a + 1, b + 1] for a, b in skeleton.limbs]
    return [
        {
            "id": PERSON,
            "name": "person",
            "supercategory": "person",
            "keypoints": list(skeleton.keypoints),
            "skeleton": limbs,
        }
    ]


def without_keypoints(record: dict) -> dict:
    """The annotation of a person who shall not count: as COCO marks one, without labeled keypoints."""
    return {**record, "keypoints": [0] * len(record["keypoints"]), "num_keypoints": 0}
