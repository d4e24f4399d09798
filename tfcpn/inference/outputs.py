"""Outputs of prediction: drawings, results.json in COCO format, and people.csv."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tfcpn.data.categories import PERSON_CATEGORY_ID
from tfcpn.data.coco import coco_categories
from tfcpn.inference.estimator import AREA_RATIO, DRAW_THRESHOLD, FAINT_THRESHOLD, Person
from tfcpn.skeleton import Skeleton
from tfcpn.transforms.regions import crop_to_image
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_text_stream
from tfcpn.visualization import draw_pose

_FAINTLY = 0.4  # opacity of faint lines
# Mean confidence below which a person as a whole is drawn faintly.
_UNSURE = 0.55
# Keypoints that are drawn from this size of a person on, in widths of a line; and those that no tag
# may cover.
_FINE, _FINE_SIZE = ("inner", "outer", "mouth", "pinky", "index", "thumb"), 130
_UNCOVERED = ("nose", "eye", "ear", "mouth", "head", "wrist", "pinky", "index", "thumb")
_REGION = (200, 200, 200)
# Tag colors by track id, BGR.
TAG_COLORS = (
    (60, 60, 220),
    (60, 180, 60),
    (220, 140, 40),
    (200, 60, 200),
    (40, 200, 220),
    (200, 200, 60),
    (90, 90, 160),
)


def draw_people(
    image: np.ndarray, people: Sequence[Person], skeleton: Skeleton, regions: bool = False
) -> None:
    """Draw people into an image, in place: limbs colored by side, faint if uncertain, with track
    ids.

    Args:
        image: (H, W, 3) uint8 BGR.
        people: The people.
        skeleton: Their keypoints.
        regions: Also draw the region of each person.
    """
    fine = np.array([any(word in name for word in _FINE) for name in skeleton.keypoints])
    for person in people:
        width = _line_width(person, image)
        thickness = max(1, round(width))
        if regions:
            _draw_region(image, person.region, thickness)
        keypoints, confidence = np.nan_to_num(person.keypoints), person.confidence
        # Fingers and the parts of a face would be one spot.
        shown = ~fine[: len(keypoints)] | (_size_of(person) >= _FINE_SIZE * max(1, width))
        drawn, faint = (shown & (confidence >= t) for t in (DRAW_THRESHOLD, FAINT_THRESHOLD))
        if is_unsure(person):
            drawn = np.zeros_like(drawn)
        if (faint & ~drawn).any():
            under = image.copy()
            draw_pose(under, keypoints, faint, skeleton, thickness)
            cv2.addWeighted(under, _FAINTLY, image, 1 - _FAINTLY, 0, dst=image)
        draw_pose(image, keypoints, drawn, skeleton, thickness)
    _draw_tags(image, people, skeleton)


def _size_of(person: Person) -> float:
    return float(person.region[2:4].mean())


def is_unsure(person: Person) -> bool:
    """Return whether a person as a whole is to look uncertain."""
    present = np.isfinite(person.keypoints[:, 0])
    return not present.any() or float(person.confidence[present].mean()) < _UNSURE


def _line_width(person: Person, image: np.ndarray) -> float:
    """Return the width of a person's lines: by the person's size, and wide enough in the image."""
    size = _size_of(person)
    return min(max(size / 160, max(image.shape[:2]) / 900), size / 40)


def _draw_region(image: np.ndarray, region: np.ndarray, thickness: int) -> None:
    corners = (
        np.array([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])
        @ crop_to_image(region, (1, 1)).numpy().T
    )
    cv2.polylines(
        image, [np.round(corners * 16).astype(np.int32)], True, _REGION, thickness, cv2.LINE_AA, 4
    )


class _Tag(NamedTuple):
    """The tag of a person, in pixels.

    Attributes:
        size: (2,) width and height of its rectangle.
        text_size: (2,) of the text in it.
        scale: Of the font.
    """

    size: np.ndarray
    text_size: np.ndarray
    scale: float


def _tag_of(person: Person, image: np.ndarray) -> _Tag:
    scale = max(_size_of(person) / 500, max(image.shape[:2]) / 1600)
    scale = float(np.clip(scale, 0.35, max(0.35, min(image.shape[:2]) / 250)))
    text = cv2.getTextSize(str(person.track_id), cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0]
    pad = int(4 * scale) + 2
    return _Tag(np.array(text) + 2 * pad, np.array(text), scale)


def _draw_tags(image: np.ndarray, people: Sequence[Person], skeleton: Skeleton) -> None:
    """Draw the track ids on tags that cover no face, no hand and no other tag, where possible."""
    points, radii = _uncovered_points(people, skeleton)
    limit, placed = np.array(image.shape[1::-1]), np.zeros((0, 2, 2))
    for person in people:
        seen = person.confidence >= DRAW_THRESHOLD
        if not seen.any():
            continue
        tag = _tag_of(person, image)
        best, least = np.zeros(2), np.inf
        for corner in _tag_places(person.keypoints[seen], tag.size):
            low = np.clip(corner, 0, np.maximum(limit - tag.size, 0))
            high = low + tag.size
            away = np.maximum(np.maximum(low - points, points - high), 0)
            hidden = (np.linalg.norm(away, axis=1) < radii).sum()
            both = np.minimum(high, placed[:, 1]) - np.maximum(low, placed[:, 0])
            hidden += 2 * (both > 0).all(axis=1).sum()
            if hidden < least:
                best, least = low, hidden
        placed = np.concatenate([placed, [[best, best + tag.size]]])
        _draw_tag(image, person, best.astype(int), tag)


def _uncovered_points(
    people: Sequence[Person], skeleton: Skeleton
) -> tuple[np.ndarray, np.ndarray]:
    """Return centers (N, 2) and radii (N,) of the faces and hands of people."""
    parts = np.array([any(word in name for word in _UNCOVERED) for name in skeleton.keypoints])
    points, radii = [np.zeros((0, 2))], [np.zeros(0)]
    for person in people:
        chosen = parts[: len(person.keypoints)] & (person.confidence >= DRAW_THRESHOLD)
        points.append(person.keypoints[chosen])
        radii.append(np.full(chosen.sum(), _size_of(person) / 30))
    return np.concatenate(points), np.concatenate(radii)


def _tag_places(keypoints: np.ndarray, size: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the upper left corners of places for a tag, the best first.

    Args:
        keypoints: (K, 2) of the person.
        size: (2,) width and height of the tag.
    """
    low, high = keypoints.min(axis=0), keypoints.max(axis=0)
    top = keypoints[np.argmin(keypoints[:, 1])]
    gap = 0.1 * (high - low).max()
    for distance in (gap, 2 * gap):
        yield np.array([top[0] - size[0] / 2, top[1] - distance - size[1]])
    middle = (low + high) / 2
    for y in (low[1], middle[1] - size[1] / 2, high[1] - size[1]):
        yield np.array([high[0] + gap, y])
        yield np.array([low[0] - gap - size[0], y])
    yield np.array([middle[0] - size[0] / 2, high[1] + gap])


def _draw_tag(image: np.ndarray, person: Person, corner: np.ndarray, tag: _Tag) -> None:
    """Draw a tag; that of an uncertain person is hollow."""
    color = TAG_COLORS[(person.track_id - 1) % len(TAG_COLORS)]
    unsure = is_unsure(person)
    far = tuple(map(int, corner + tag.size - 1))
    fill = max(1, round(2 * tag.scale)) if unsure else -1
    cv2.rectangle(image, tuple(map(int, corner)), far, color, fill, cv2.LINE_AA)
    pad = (tag.size - tag.text_size) // 2
    cv2.putText(
        image,
        str(person.track_id),
        (int(corner[0] + pad[0]), int(corner[1] + pad[1] + tag.text_size[1])),
        cv2.FONT_HERSHEY_SIMPLEX,
        tag.scale,
        color if unsure else (255, 255, 255),
        max(1, round(1.6 * tag.scale)),
        cv2.LINE_AA,
    )


RESULTS, TABLE = "results.json", "people.csv"
Frames = Callable[[dict], Iterable[dict]]
_MAX_ID = 2**53  # the largest integer that JSON readers keep


def to_coco(person: Person, full: bool = False) -> dict:
    """Return a person as an entry of results.json, without ids.

    Visibility is 2 for confident keypoints, else 1; keypoints that the network does not have are 0,
    0, 0.

    Args:
        person: The person.
        full: Also depth, presence and world landmarks, null for keypoints that the network does not
            have.
    """
    there = np.isfinite(person.keypoints[:, 0])
    seen = np.where(there, np.where(person.confidence >= DRAW_THRESHOLD, 2, 1), 0)
    keypoints = np.round(np.nan_to_num(person.keypoints), 3)
    x, y, width, height = person.box
    # The box of a single keypoint would have no area.
    box = [round(value, 2) for value in (x, y, max(width, 1.0), max(height, 1.0))]
    return {
        "keypoints": [
            v for (x, y), flag in zip(keypoints.tolist(), seen.tolist()) for v in (x, y, flag)
        ],
        "keypoint_scores": np.round(person.scores.astype(float), 4).tolist(),
        "num_keypoints": int(there.sum()),
        "score": round(float(person.score), 4),
        "bbox": box,
        "area": round(max(AREA_RATIO * box[2] * box[3], 1.0), 2),
        "region": np.round(person.region, 4).tolist(),
        "person": person.track_id,
        "iscrowd": 0,
        **(_depth(person) if full else {}),
    }


def _depth(person: Person) -> dict:
    def listed(values: np.ndarray, digits: int) -> list:
        return [None if np.isnan(v) else v for v in np.round(values.astype(float), digits).ravel()]

    return {
        "z": listed(person.z, 6),
        "presence": listed(person.presence, 4),
        "world_landmarks": listed(person.world, 5),
    }


def image_ids_from_names(names: Sequence[str]) -> dict[str, int] | None:
    """Return ids by name if all names are distinct numbers, as in COCO; else None."""
    stems = [Path(name).stem for name in names]
    if not all(stem.isascii() and stem.isdecimal() and int(stem) <= _MAX_ID for stem in stems):
        return None
    if len({int(stem) for stem in stems}) < len(stems):
        return None
    return {name: int(stem) for name, stem in zip(names, stems)}


def _numbered(records: Sequence[dict], frames_of: Frames) -> Iterator[tuple[dict, list[dict]]]:
    """Yield the images of results.json, each with its people as returned by `to_coco`."""
    known = (
        None
        if any(record["video"] for record in records)
        else image_ids_from_names([r["name"] for r in records])
    )
    count = 0
    for record in records:
        for frame in frames_of(record):
            count += 1
            title = f"{record['name']}#{frame['frame']}" if record["video"] else record["name"]
            place = {
                name: frame[name]
                for name in ("height", "width", "frame", "seconds")
                if name in frame
            }
            yield (
                {"id": known[record["name"]] if known else count, "file_name": title, **place},
                frame["people"],
            )


def results(records: Sequence[dict], frames_of: Frames, skeleton: Skeleton) -> Iterator[str]:
    """Yield the text of a COCO annotation file with all people, in parts.

    It streams, so hours of video need no memory. Its annotations are valid results for pycocotools,
    too. A frame of a video is an image of its own, named FILE#FRAME.

    Args:
        records: Records of the journal.
        frames_of: Their frames.
        skeleton: Keypoints of the people.
    """
    info = {"description": "people found by tfcpn.predict; what is labeled here are predictions"}
    yield json.dumps({"info": info, "categories": coco_categories(skeleton)})[:-1] + ', "images": ['
    for number, (image, _) in enumerate(_numbered(records, frames_of)):
        yield (", " if number else "") + json.dumps(image)
    yield '], "annotations": ['
    number = 0
    for image, people in _numbered(records, frames_of):
        for person in people:
            number += 1
            ids = {"id": number, "image_id": image["id"], "category_id": PERSON_CATEGORY_ID}
            yield (", " if number > 1 else "") + json.dumps({**ids, **person})
    yield "]}"


def _cell(name: str) -> str:
    """Return a file name as a cell that no spreadsheet takes for a formula."""
    return f"./{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def _table(
    records: Sequence[dict], frames_of: Frames, skeleton: Skeleton, full: bool
) -> Iterator[str]:
    """Yield people.csv: a row per person with x, y and score of each keypoint; empty if missing.

    If full, also z, presence and world x, y, z.
    """
    line = io.StringIO()
    row = csv.writer(line, lineterminator="\n")
    depth = ("z", "presence", "world_x", "world_y", "world_z") if full else ()
    names = ("x", "y", "score", *depth)
    columns = [f"{keypoint}_{what}" for keypoint in skeleton.keypoints for what in names]
    row.writerow(["file", "frame", "seconds", "person", "score", *columns])
    for image, people in _numbered(records, frames_of):
        name = image["file_name"].rsplit("#", 1)[0] if "frame" in image else image["file_name"]
        for one in people:
            yield line.getvalue()
            line.seek(0)
            line.truncate()
            keypoints = zip(
                one["keypoints"][::3],
                one["keypoints"][1::3],
                one["keypoints"][2::3],
                one["keypoint_scores"],
            )
            values = []
            for number, (x, y, seen, score) in enumerate(keypoints):
                row_of_keypoint = [x, y, score]
                if full:
                    world = one["world_landmarks"][3 * number : 3 * number + 3]
                    row_of_keypoint += [one["z"][number], one["presence"][number], *world]
                values += row_of_keypoint if seen else [""] * len(names)
            place = [_cell(name), image.get("frame", ""), image.get("seconds", "")]
            row.writerow([*place, one["person"], one["score"], *values])
    yield line.getvalue()


def write_results(
    folder: Path,
    records: Sequence[dict],
    frames_of: Frames,
    skeleton: Skeleton,
    table: bool = False,
    full: bool = False,
) -> None:
    """Write results.json, and people.csv if asked; full: as in `to_coco`."""
    write_text_stream(Path(folder) / RESULTS, results(records, frames_of, skeleton))
    if table:
        write_text_stream(Path(folder) / TABLE, _table(records, frames_of, skeleton, full))


def check_output(folder: str) -> None:
    """Raise InputError if the output folder is a file."""
    if Path(folder).exists() and not Path(folder).is_dir():
        raise InputError(f"--output={folder} is a file, expected a folder")
