"""What prediction leaves behind besides images: results.json in COCO's form, and people.csv."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.base.files import write_text_stream
from tfcpn.data.coco import PERSON, categories
from tfcpn.prediction.person import AREA_RATIO, DRAW_THRESHOLD, Person
from tfcpn.skeleton import Skeleton

RESULTS, TABLE = "results.json", "people.csv"
Frames = Callable[[dict], Iterable[dict]]
_GREATEST_ID = 2**53  # that JSON's readers keep


def entry(person: Person) -> dict:
    """A person as results.json has it, but for the ids. Keypoints are x, y and 2 where they are certain, else 1; 0, 0, 0
    for those that the network does not have.
    """
    there = np.isfinite(person.keypoints[:, 0])
    seen = np.where(there, np.where(person.confidence >= DRAW_THRESHOLD, 2, 1), 0)
    keypoints = np.round(np.nan_to_num(person.keypoints), 3)
    x, y, width, height = person.box
    # Of a single keypoint it would have no sides, which no annotation has.
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
    }


def image_ids_from_names(names: Sequence[str]) -> dict[str, int] | None:
    """COCO's way to name images, by their number: the ids of images whose names are numbers, each another; None
    if they are not.
    """
    stems = [Path(name).stem for name in names]
    if not all(stem.isascii() and stem.isdecimal() and int(stem) <= _GREATEST_ID for stem in stems):
        return None
    if len({int(stem) for stem in stems}) < len(stems):
        return None
    return {name: int(stem) for name, stem in zip(names, stems)}


def _numbered(records: Sequence[dict], frames_of: Frames) -> Iterator[tuple[dict, list[dict]]]:
    """The images of results.json, each with its people as from `entry`."""
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
    """An annotation file in COCO's form of everything that was found, in parts, so that hours of a video need no
    memory; its annotations are pycocotools' results, too.

    records: what is known of files, in order. frames_of: theirs. A frame of a video is an image of its own, named
    FILE#FRAME.
    """
    info = {"description": "people found by tfcpn.predict; what is labeled here are predictions"}
    yield json.dumps({"info": info, "categories": categories(skeleton)})[:-1] + ', "images": ['
    for number, (image, _) in enumerate(_numbered(records, frames_of)):
        yield (", " if number else "") + json.dumps(image)
    yield '], "annotations": ['
    number = 0
    for image, people in _numbered(records, frames_of):
        for person in people:
            number += 1
            ids = {"id": number, "image_id": image["id"], "category_id": PERSON}
            yield (", " if number > 1 else "") + json.dumps({**ids, **person})
    yield "]}"


def _cell(name: str) -> str:
    """Return a file's name as a cell that no spreadsheet takes for a formula: ./ in front names the same file."""
    return f"./{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def _table(records: Sequence[dict], frames_of: Frames, skeleton: Skeleton) -> Iterator[str]:
    """A line for each person, with x, y and score of each keypoint; empty for keypoints that there are not."""
    line = io.StringIO()
    row = csv.writer(line, lineterminator="\n")
    columns = [
        f"{keypoint}_{what}" for keypoint in skeleton.keypoints for what in ("x", "y", "score")
    ]
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
            values = [
                v
                for x, y, seen, score in keypoints
                for v in ((x, y, score) if seen else ("", "", ""))
            ]
            place = [_cell(name), image.get("frame", ""), image.get("seconds", "")]
            row.writerow([*place, one["person"], one["score"], *values])
    yield line.getvalue()


def write_results(
    folder: Path,
    records: Sequence[dict],
    frames_of: Frames,
    skeleton: Skeleton,
    table: bool = False,
) -> None:
    """results.json, and people.csv if asked."""
    write_text_stream(Path(folder) / RESULTS, results(records, frames_of, skeleton))
    if table:
        write_text_stream(Path(folder) / TABLE, _table(records, frames_of, skeleton))


def check_output(folder: str) -> None:
    """Raises InputError if the output's folder is a file."""
    if Path(folder).exists() and not Path(folder).is_dir():
        raise InputError(f"--output={folder} is a file, want a folder")
