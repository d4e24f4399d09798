"""Outputs of prediction: drawings, results.json in COCO format, and people.csv."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

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
_REGION = (200, 200, 200)
# Tag colors by track id, BGR.
_TAG_COLORS = (
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
    for person in people:
        thickness = int(np.clip(round(person.region[2:4].mean() / 160), 1, 8))
        if regions:
            _draw_region(image, person.region, thickness)
        keypoints = np.nan_to_num(person.keypoints)
        confident, faint = person.confidence >= DRAW_THRESHOLD, person.confidence >= FAINT_THRESHOLD
        if (faint & ~confident).any():
            under = image.copy()
            draw_pose(under, keypoints, faint, skeleton, thickness)
            cv2.addWeighted(under, _FAINTLY, image, 1 - _FAINTLY, 0, dst=image)
        draw_pose(image, keypoints, confident, skeleton, thickness)
    for person in people:
        _draw_tag(image, person)


def _draw_region(image: np.ndarray, region: np.ndarray, thickness: int) -> None:
    corners = (
        np.array([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])
        @ crop_to_image(region, (1, 1)).numpy().T
    )
    cv2.polylines(
        image, [np.round(corners * 16).astype(np.int32)], True, _REGION, thickness, cv2.LINE_AA, 4
    )


def _draw_tag(image: np.ndarray, person: Person) -> None:
    """Draw the track id on a tag above the person's highest confident keypoint."""
    seen = person.confidence >= DRAW_THRESHOLD
    if not seen.any():
        return
    size = float(np.clip(person.region[2:4].mean() / 500, 0.4, 2))
    text, color = str(person.track_id), _TAG_COLORS[(person.track_id - 1) % len(_TAG_COLORS)]
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    x, y = person.keypoints[seen][np.argmin(person.keypoints[seen, 1])]
    pad = int(4 * size) + 2
    left = int(np.clip(x - width / 2, pad, max(pad, image.shape[1] - width - pad)))
    base = int(np.clip(y - 14 * size - pad, height + pad, max(height + pad, image.shape[0] - pad)))
    cv2.rectangle(
        image,
        (left - pad, base - height - pad),
        (left + width + pad, base + pad),
        color,
        -1,
        cv2.LINE_AA,
    )
    stroke = max(1, round(1.6 * size))
    cv2.putText(
        image,
        text,
        (left, base),
        cv2.FONT_HERSHEY_SIMPLEX,
        size,
        (255, 255, 255),
        stroke,
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
