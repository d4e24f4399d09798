"""Read COCO annotation files: images, people and skeleton, with every used field checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

import numpy as np

from tfcpn.data.categories import PERSON_CATEGORY_ID
from tfcpn.data.repair import MIN_AREA, CleanFile, clean_annotations
from tfcpn.skeleton import COCO, Skeleton
from tfcpn.utils.console import status
from tfcpn.utils.errors import InputError
from tfcpn.utils.json_io import MAX_AREA, is_int, is_number_list, read_json

_MAX_SIDE = 100_000


@dataclass(frozen=True)
class CocoImage:
    """An image of an annotation file; height and width in pixels, 0 if unknown."""

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
        category: Id of their category, the first one if several count together.
        categories: Ids of all of these.
    """

    images: dict[int, CocoImage]
    people: list[PersonAnnotation]
    skeleton: Skeleton
    category: int
    categories: frozenset[int]

    def to_coco(self) -> dict:
        """Return the images and people as COCO JSON of one category, without outlines."""
        images = [
            {"id": i.id, "file_name": i.file_name, "height": i.height, "width": i.width}
            for i in self.images.values()
        ]
        people = [
            {
                "id": p.id,
                "image_id": p.image_id,
                "category_id": self.category,
                "bbox": list(p.box),
                "area": p.area,
                "iscrowd": int(p.crowd),
                "keypoints": p.keypoints.ravel().tolist(),
                "num_keypoints": p.num_keypoints,
            }
            for p in self.people
        ]
        categories = [{**c, "id": self.category} for c in coco_categories(self.skeleton)]
        return {"info": {}, "images": images, "annotations": people, "categories": categories}


def _parse_image(record: dict) -> CocoImage:
    if not is_int(record.get("id")):
        raise ValueError(f"id is {record.get('id')!r}, expected a whole number")
    for field in ("width", "height"):
        if not is_int(record.get(field)) or not 0 <= record[field] <= _MAX_SIDE:
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
        raise ValueError(
            f"file_name is {name!r}, which leaves the folder of the images; give names "
            "below --images"
        )
    return CocoImage(record["id"], name, record["height"], record["width"])


def _parse_person(record: dict, images: Collection[int], skeleton: Skeleton) -> PersonAnnotation:
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
    if labeled and not crowd and area < MIN_AREA:
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
        labeled,
        float(area),
        bool(crowd),
        max_radius,
    )


def _outline_radius(segmentation, keypoints: np.ndarray, skeleton: Skeleton) -> float:
    """Return `PersonAnnotation.max_radius`; 0 for crowds and without both hips."""
    if segmentation is None or isinstance(segmentation, dict):
        return 0.0
    hips = keypoints[list(skeleton.hips)]
    if not segmentation or not len(hips) or not (hips[:, 2] > 0).all():
        return 0.0
    outline = np.concatenate([np.reshape(p, (-1, 2)) for p in segmentation])
    return float(np.linalg.norm(outline - hips[:, :2].mean(axis=0), axis=1).max(initial=0))


def _parse_records(path, kind: str, records: list, parse, problems: list[str] | None):
    """Yield the parsed records of a list.

    Args:
        path: Name of the file in errors.
        kind: Name of the records in errors.
        records: The records.
        parse: Function from a record to its value; ValueError says what is wrong.
        problems: List for all errors; None to raise the first as InputError.
    """
    ids = set()
    for number, record in enumerate(records):
        try:
            if not isinstance(record, dict):
                raise ValueError("is not an object")
            value = parse(record)
            if value.id in ids:
                raise ValueError("appears twice")
            ids.add(value.id)
        except ValueError as error:
            name = (
                f"id {record['id']!r}"
                if isinstance(record, dict) and "id" in record
                else f"number {number}"
            )
            message = f"{kind} {name}{' ' if str(error) == 'appears twice' else ': '}{error}"
            if problems is None:
                raise InputError(f"{path}: {message}") from error
            problems.append(message)
            continue
        yield value


def read_clean_file(
    path,
    *,
    expected: Skeleton | None = None,
    convert: bool = False,
    image_dir=None,
    categories: Sequence[str] = (),
    require_people: bool = True,
) -> CleanFile:
    """Read and repair an annotation file, without a report; see `repair.clean_annotations`."""
    large = Path(path).exists() and Path(path).stat().st_size > 10_000_000
    with status(f"reading {path}", immediate=large):
        return clean_annotations(
            read_json(path),
            path,
            expected=expected,
            convert=convert,
            image_dir=image_dir,
            categories=categories,
            require_people=require_people,
        )


def parse_annotations(
    clean: CleanFile, path, require_people: bool = True, problems: list[str] | None = None
) -> Annotations:
    """Return the images and people of a repaired file.

    Args:
        clean: The file.
        path: Its name in errors.
        require_people: Refuse a file without labeled people.
        problems: List for all errors; None to raise the first.

    Raises:
        InputError: Naming file, record and field.
    """
    found = _parse_records(path, "image", clean.data["images"], _parse_image, problems)
    images = {image.id: image for image in found}
    # An image that is refused is refused once, and not again with each of its people.
    image_ids: Collection[int] = images
    if problems:
        records = [record for record in clean.data["images"] if isinstance(record, dict)]
        image_ids = {record["id"] for record in records if is_int(record.get("id"))}

    def parse(record: dict) -> PersonAnnotation:
        category_id = record.get("category_id", PERSON_CATEGORY_ID)
        if not is_int(category_id) or (
            clean.all_categories is not None
            and "category_id" in record
            and category_id not in clean.all_categories
        ):
            raise ValueError(
                f"category_id is {category_id!r}, which is not among the file's categories"
            )
        return _parse_person(record, image_ids, clean.skeleton)

    records = clean.data.get("annotations", [])
    people = list(_parse_records(path, "annotation", records, parse, problems))
    if require_people and not problems and not any(p.trainable for p in people):
        message = "no person in it has a labeled keypoint"
        if problems is None:
            raise InputError(f"{path}: {message}")
        problems.append(message)
    first = min(clean.categories, default=PERSON_CATEGORY_ID)
    return Annotations(images, people, clean.skeleton, first, clean.categories)


def read_annotations(
    path,
    require_people: bool = True,
    expected: Skeleton | None = None,
    *,
    convert: bool = False,
    image_dir=None,
    categories: Sequence[str] = (),
    strict: bool = False,
) -> Annotations:
    """Read a COCO keypoint annotation file.

    What has one obvious meaning is repaired and counted in the log, see `repair`. Annotations of
    other categories are skipped.

    Args:
        path: The file.
        require_people: Refuse a file without labeled people. If False, `annotations` may be
            missing, as in COCO's test sets.
        expected: Skeleton to use; the file must have its keypoints, if it lists any.
        convert: Whether its keypoints may be matched to those of the file by name.
        image_dir: Folder of the images, for sizes that are missing and unusual names.
        categories: Names or ids of categories to use; empty: all with the same keypoints.
        strict: Refuse what would be repaired or looks wrong.

    Raises:
        InputError: Naming file, record and field.
    """
    clean = read_clean_file(
        path,
        expected=expected,
        convert=convert,
        image_dir=image_dir,
        categories=categories,
        require_people=require_people,
    )
    annotations = parse_annotations(clean, path, require_people)
    clean.findings.report(strict)
    return annotations


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
