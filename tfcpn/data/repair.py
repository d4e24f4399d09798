"""Repair annotation files as labeling tools write them, and count what looks wrong.

A field with one obvious meaning is given it and counted. What has no meaning is left as it is, for
`coco` to refuse with file, record and field.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np

from tfcpn.data import findings as kinds
from tfcpn.data.categories import (
    PERSON_CATEGORY_ID,
    ChosenCategories,
    check_same_keypoints,
    choose_categories,
    conversion_order,
)
from tfcpn.data.findings import Findings, listed
from tfcpn.data.image_headers import read_image_size
from tfcpn.skeleton import (
    COCO,
    KNOWN_SKELETONS,
    Skeleton,
    possibly_unpaired_keypoints,
    same_keypoints,
    unpaired_keypoints,
)
from tfcpn.utils.errors import InputError
from tfcpn.utils.json_io import MAX_AREA, is_int, is_number_list

MIN_AREA = 1e-3  # square pixels; below, rounding ruins OKS
# A box about keypoints: margin on each side over its longer side, and the smallest side over the
# image's shorter side, for a single point or points in a row.
BOX_MARGIN, MIN_BOX_SIDE = 0.1, 0.2
_SMALLEST_BOX = 20.0  # pixels, where the image's size is unknown
# A box may end this many pixels beyond its image: COCO's do, by rounding.
_BEYOND = 2.0
# COCO-WholeBody's lists besides `keypoints`, in the order of the 133 keypoints.
_WHOLE_BODY_LISTS = ("foot", "face", "lefthand", "righthand")


class CleanFile(NamedTuple):
    """The content of an annotation file after repair.

    Attributes:
        data: COCO JSON with the people's annotations only.
        skeleton: Their keypoints.
        categories: Ids of their categories; empty if the file has no categories.
        all_categories: Ids of all categories of the file; None if it has none.
        findings: What was repaired and what looks wrong.
    """

    data: dict
    skeleton: Skeleton
    categories: frozenset[int]
    all_categories: frozenset[int] | None
    findings: Findings


def clean_annotations(
    data,
    path,
    *,
    expected: Skeleton | None = None,
    convert: bool = False,
    image_dir=None,
    categories: Sequence[str] = (),
    require_people: bool = True,
) -> CleanFile:
    """Repair the content of an annotation file.

    Args:
        data: The content, as read from JSON.
        path: Name of the file in messages.
        expected: Keypoints to use.
        convert: Whether keypoints may be matched to the expected ones by name.
        image_dir: Folder of the images; None if it is unknown, then sizes and names stay.
        categories: Names or ids of categories to use; empty: all with the same keypoints.
        require_people: Whether `annotations` must be there.

    Raises:
        InputError: For content without images and annotations, and for categories between which
            the user must choose.
    """
    for key in ("images", "annotations"):
        optional = key == "annotations" and not require_people
        if not isinstance(data, dict) or not isinstance(
            data.get(key, [] if optional else None), list
        ):
            raise InputError(f"{path}: has no list {key!r}; expected a COCO person_keypoints file")
    findings = Findings(path)
    annotations = data.get("annotations", [])
    chosen = choose_categories(data, path, expected, categories, findings)
    skeleton, order = chosen.skeleton, None
    if expected is not None:
        # COCO-WholeBody's files name 17 keypoints and have the others in lists of their own.
        whole = _has_whole_body_lists(expected, skeleton, annotations)
        if not same_keypoints(skeleton.keypoints, expected.keypoints) and not whole:
            if not convert:
                check_same_keypoints(path, skeleton, expected)
            order = conversion_order(path, skeleton, expected, findings)
        skeleton = expected
    else:
        if skeleton.keypoints == COCO.keypoints and _has_whole_body_lists(
            KNOWN_SKELETONS["wholebody"], skeleton, annotations
        ):
            findings.notes.append(
                "has feet, face and hands in lists of their own: --skeleton=wholebody joins them"
            )
        if unpaired := unpaired_keypoints(skeleton):
            findings.add(kinds.UNPAIRED, listed(unpaired), len(unpaired))
        if single := possibly_unpaired_keypoints(skeleton):
            findings.notes.append(
                f"no left or right in the names of {listed(single)}: kept in place in mirror "
                "images; if they have a partner, give pairs in a --skeleton file"
            )
    annotated = {a.get("image_id") for a in annotations if isinstance(a, dict) and _hashable(a)}
    images = _clean_images(data["images"], annotated, image_dir, findings)
    people = _select(annotations, chosen)
    if people and not any(isinstance(a, dict) and "id" in a for a in people):
        people = [{**a, "id": n} if isinstance(a, dict) else a for n, a in enumerate(people, 1)]
        findings.add(kinds.NO_IDS, "number 0", len(people))
    sizes = {
        i["id"]: (i.get("height"), i.get("width"))
        for i in images
        if isinstance(i, dict) and is_int(i.get("id"))
    }
    people = [
        _clean_person(a, skeleton, chosen.skeleton.num_keypoints, order, sizes, findings)
        if isinstance(a, dict)
        else a
        for a in people
    ]
    people = _clean_visibility(people, findings)
    clean = {**data, "images": images, "annotations": people}
    if "categories" in data:
        clean["categories"] = [_with_names(c, chosen.ids, skeleton) for c in data["categories"]]
    return CleanFile(clean, skeleton, chosen.ids, chosen.all_ids, findings)


def _has_whole_body_lists(expected: Skeleton, actual: Skeleton, annotations: list) -> bool:
    return (
        expected.keypoints == KNOWN_SKELETONS["wholebody"].keypoints
        and actual.keypoints == COCO.keypoints
        and any(isinstance(a, dict) and "face_kpts" in a for a in annotations)
    )


def _with_names(category: dict, ids: Collection[int], skeleton: Skeleton) -> dict:
    """Return a category with the names of the keypoints that its annotations have now."""
    if category["id"] not in ids or category.get("keypoints") == list(skeleton.keypoints):
        return category
    limbs = [[a + 1, b + 1] for a, b in skeleton.limbs]
    return {**category, "keypoints": list(skeleton.keypoints), "skeleton": limbs}


def _hashable(annotation: dict) -> bool:
    return isinstance(annotation.get("image_id"), (int, str))


# Images


def _clean_images(
    records: list, annotated: Collection, image_dir, findings: Findings
) -> list[dict]:
    """Return the records of images with sizes and with names below the folder."""
    folder = None if image_dir is None else Path(image_dir)
    clean, unsized, seen = [], [], {}
    for record in records:
        if not isinstance(record, dict):
            clean.append(record)
            continue
        record = dict(record)
        name = record.get("file_name")
        if folder is not None and isinstance(name, str):
            record["file_name"] = _name_below(folder, name, findings)
        _read_numbers(record, ("width", "height"), f"image {name!r}", findings)
        if is_int(record.get("id")):
            if seen.get(record["id"]) == record:
                findings.add(kinds.SAME_IMAGE, f"image {name!r}")
                continue
            seen[record["id"]] = dict(record)
        if record.get("width") in (None, 0) or record.get("height") in (None, 0):
            unsized.append(record)
        clean.append(record)
    if unsized:
        _read_sizes(unsized, folder, findings)
        left_out = {
            id(r)
            for r in unsized
            if r["width"] == 0 and is_int(r.get("id")) and r["id"] not in annotated and folder
        }
        for record in unsized:
            if id(record) in left_out:
                findings.add(kinds.NO_SIZE, f"image {record.get('file_name')!r}")
        clean = [record for record in clean if id(record) not in left_out]
    return clean


def _read_sizes(records: list[dict], folder: Path | None, findings: Findings) -> None:
    """Set the sizes of images from their files, in place; 0 if that is impossible."""

    def size(record: dict) -> tuple[int, int]:
        try:
            return read_image_size(folder / record["file_name"])
        except (OSError, InputError, TypeError, ValueError, KeyError):
            return 0, 0

    if folder is None:
        sizes = [(0, 0)] * len(records)
    else:
        with ThreadPoolExecutor(8) as pool:
            sizes = list(pool.map(size, records))
    for record, (height, width) in zip(records, sizes):
        record["height"], record["width"] = height, width
        if height:
            findings.add(kinds.SIZE, f"image {record.get('file_name')!r}")


def _read_numbers(record: dict, fields: Sequence[str], name: str, findings: Findings) -> None:
    """Read numbers that are written as text, and whole ones as integers, in place."""
    for field in fields:
        value = record.get(field)
        if isinstance(value, str) and re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", value):
            value = record[field] = float(value)
            findings.add(kinds.TEXT_NUMBERS, f"{name}, {field}")
        if type(value) is float and value.is_integer() and field != "area":
            record[field] = int(value)


def _flat_keypoints(record: dict, name: str, findings: Findings) -> None:
    """Join keypoints [[x, y, v], ...], and read null in unlabeled ones as 0, in place."""
    values = record["keypoints"]
    if not isinstance(values, list):
        return
    if values and all(isinstance(v, list) and len(v) == 3 for v in values):
        values = record["keypoints"] = [v for triple in values for v in triple]
        findings.add(kinds.TRIPLES, name)
    if None in values and len(values) % 3 == 0:
        triples = [values[i : i + 3] for i in range(0, len(values), 3)]
        if all(None not in t or t[2] in (0, None) for t in triples):
            record["keypoints"] = [v for t in triples for v in ((0, 0, 0) if None in t else t)]
            findings.add(kinds.NULLS, name)


def _name_below(folder: Path, name: str, findings: Findings) -> str:
    """Return the name of a file below the folder, or the name itself if there is no such file."""
    parts = [part for part in re.split(r"[/\\]", name) if part]
    absolute = PurePosixPath(name).is_absolute() or bool(PureWindowsPath(name).anchor)
    doubled = len(parts) > 1 and parts[0] == folder.resolve().name
    unusual = absolute or doubled or "\\" in name or "%" in name
    # One look at most files, and none at usual names.
    if not unusual or ".." in parts or "\0" in name or (not absolute and _exists(folder, name)):
        return name
    for decoded, changes in ((parts, ()), ([unquote(p) for p in parts], (kinds.ENCODED,))):
        if ".." in decoded:
            continue
        # The part below the folder: as long a part of an absolute name as is there.
        starts = range(len(decoded)) if absolute else (0, 1) if doubled else (0,)
        for start in starts:
            candidate = "/".join(decoded[start:])
            if _exists(folder, candidate):
                if start:
                    findings.add(kinds.BELOW, f"image {name!r}")
                if "\\" in name:
                    findings.add(kinds.BACKSLASH, f"image {name!r}")
                for change in changes:
                    findings.add(change, f"image {name!r}")
                return candidate
    return name


def _exists(folder: Path, name: str) -> bool:
    try:
        return (folder / name).is_file()
    except (OSError, ValueError):
        return False


# People


def _select(annotations: list, chosen: ChosenCategories) -> list:
    """Return the annotations of the chosen categories, and those that `coco` will refuse."""
    if chosen.all_ids is None:
        known = {a.get("category_id", PERSON_CATEGORY_ID) for a in annotations if _is_plain(a)}
        other = known - chosen.ids
    else:
        other = chosen.all_ids - chosen.ids
    return [
        a
        for a in annotations
        if not (_is_plain(a) and a.get("category_id", PERSON_CATEGORY_ID) in other)
    ]


def _is_plain(annotation) -> bool:
    return isinstance(annotation, dict) and is_int(
        annotation.get("category_id", PERSON_CATEGORY_ID)
    )


def _clean_person(
    record: dict,
    skeleton: Skeleton,
    in_file: int,
    order: list[int] | None,
    sizes: dict,
    findings: Findings,
) -> dict:
    """Return the annotation of a person with every field that has one obvious meaning."""
    record, name = dict(record), f"annotation id {record.get('id')!r}"
    _read_numbers(record, ("area", "iscrowd", "num_keypoints"), name, findings)
    if record.get("keypoints") in (None, []):
        joined = "face_kpts" in record and skeleton.num_keypoints > in_file
        record["keypoints"] = [0] * 3 * (in_file if joined else skeleton.num_keypoints)
        findings.add(kinds.NO_KEYPOINTS, name)
    else:
        _flat_keypoints(record, name, findings)
    if "face_kpts" in record and skeleton.num_keypoints > in_file:
        _join_whole_body(record, name, findings)
    elif order is not None and is_number_list(record["keypoints"], 3 * in_file):
        flat = record["keypoints"]
        record["keypoints"] = [
            v for i in order for v in (flat[3 * i : 3 * i + 3] if i >= 0 else (0, 0, 0))
        ]
        record.pop("num_keypoints", None)
        record["num_keypoints"] = sum(v > 0 for v in record["keypoints"][2::3])
    if not is_number_list(record["keypoints"], 3 * skeleton.num_keypoints):
        return record  # refused
    labeled = sum(v > 0 for v in record["keypoints"][2::3])
    if record.get("num_keypoints") is None:
        if labeled or "num_keypoints" in record:
            findings.add(kinds.NO_COUNT, name)
        record["num_keypoints"] = labeled
    elif record["num_keypoints"] != labeled:
        findings.add(kinds.WRONG_COUNT, name)
        record["num_keypoints"] = labeled
    if record.get("iscrowd", 0) is None or type(record.get("iscrowd")) is bool:
        findings.add(kinds.CROWD, name)
        record["iscrowd"] = int(bool(record["iscrowd"]))
    size = sizes.get(record.get("image_id")) if is_int(record.get("image_id")) else None
    size = size if size and all(is_int(v) and v > 0 for v in size) else None
    counts = labeled and not record.get("iscrowd")
    _clean_outline(record, name, findings)
    _clean_box(record, bool(counts), size, name, findings)
    _clean_area(record, bool(counts), name, findings)
    if counts and is_number_list(record["bbox"], 4):
        _check_box(record, size, name, findings)
    return record


def _join_whole_body(record: dict, name: str, findings: Findings) -> None:
    """Join COCO-WholeBody's lists to one of 133 keypoints, in place."""
    joined = list(record["keypoints"])
    for part in _WHOLE_BODY_LISTS:
        values = record.get(f"{part}_kpts")
        if not is_number_list(values) or len(values) % 3:
            return  # refused for its length
        if record.get(f"{part}_valid", True) in (False, 0):
            values = [0] * len(values)
        # The visibility of hands and face is a confidence in some files.
        joined += [v if i % 3 < 2 or v in (0, 1, 2) else 2 * (v > 0) for i, v in enumerate(values)]
    record["keypoints"] = joined
    record["num_keypoints"] = sum(v > 0 for v in joined[2::3])
    findings.add(kinds.WHOLE_BODY, name)


def _labeled_points(record: dict) -> np.ndarray:
    keypoints = np.reshape(np.asarray(record["keypoints"], np.float64), (-1, 3))
    return keypoints[keypoints[:, 2] > 0, :2]


def box_about(points: np.ndarray, size: tuple[int, int] | None) -> list[float]:
    """Return x, y, width, height of a box about points (N, 2), of a usable size.

    Args:
        points: x, y in pixels.
        size: (height, width) of the image, if known.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    smallest = MIN_BOX_SIDE * min(size) if size else _SMALLEST_BOX
    sides = np.maximum(high - low + 2 * BOX_MARGIN * (high - low).max(), smallest)
    corner = (low + high - sides) / 2
    return [round(float(v), 2) for v in (*corner, *sides)]


def _clean_box(record: dict, counts: bool, size, name: str, findings: Findings) -> None:
    box = record.get("bbox")
    missing = box in (None, [])
    if missing and not counts:
        record["bbox"] = [0, 0, 0, 0]
    elif counts and (missing or (is_number_list(box, 4) and min(box[2:]) == 0)):
        record["bbox"] = box_about(_labeled_points(record), size)
        findings.add(kinds.NO_BOX, name)


def _clean_outline(record: dict, name: str, findings: Findings) -> None:
    outline = record.get("segmentation")
    if outline is None or isinstance(outline, dict):
        return
    if is_number_list(outline) and len(outline) >= 6 and len(outline) % 2 == 0:
        outline = record["segmentation"] = [outline]  # one polygon without a list about it
    if not isinstance(outline, list) or not all(
        is_number_list(p) and len(p) % 2 == 0 for p in outline
    ):
        record["segmentation"] = []
        findings.add(kinds.OUTLINE, name)


def _polygon_area(outline) -> float:
    """Return the area of polygons in square pixels, by the shoelace formula; 0 without one."""
    area = 0.0
    for polygon in outline if isinstance(outline, list) else []:
        x, y = np.reshape(np.asarray(polygon, np.float64), (-1, 2)).T
        area += abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
    return area


def _clean_area(record: dict, counts: bool, name: str, findings: Findings) -> None:
    area, box = record.get("area"), record["bbox"]
    if area is not None and not is_number_list([area], maximum=MAX_AREA):
        return  # refused
    if area is not None and (area < 0 or area >= MIN_AREA or not counts):
        return
    if not is_number_list(box, 4):
        return
    outline = _polygon_area(record.get("segmentation"))
    if outline >= MIN_AREA:
        record["area"] = round(outline, 2)
        findings.add(kinds.OUTLINE_AREA, name)
    else:
        record["area"] = round(box[2] * box[3], 2)
        if counts or record["area"]:
            findings.add(kinds.BOX_AREA, name)


def _check_box(record: dict, size, name: str, findings: Findings) -> None:
    x, y, width, height = record["bbox"]
    if size and (x + width > size[1] + _BEYOND or y + height > size[0] + _BEYOND):
        findings.add(kinds.BEYOND_IMAGE, name)
    points = _labeled_points(record)
    inside = (points >= (x - 1, y - 1)) & (points <= (x + width + 1, y + height + 1))
    if not inside.all(axis=1).any():
        findings.add(kinds.OUTSIDE_BOX, name)


def _clean_visibility(people: list, findings: Findings) -> list:
    """Make COCO's visibilities of 0 and 1 alone, which are 0 and 2."""
    flat = [
        a["keypoints"] for a in people if isinstance(a, dict) and is_number_list(a["keypoints"])
    ]
    maximum = max((max(values[2::3], default=0) for values in flat), default=0)
    if maximum != 1:
        return people
    for record in people:
        if isinstance(record, dict) and is_number_list(record["keypoints"]):
            values = record["keypoints"]
            record["keypoints"] = [v * 2 if i % 3 == 2 else v for i, v in enumerate(values)]
            if record.get("num_keypoints"):
                findings.add(kinds.VISIBILITY, f"annotation id {record.get('id')!r}")
    return people
