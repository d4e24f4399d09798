"""What prediction leaves behind besides pictures: results.json in COCO's form, people.csv, and how far it is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.base.files import stamp, write_atomically
from tfcpn.data.coco import PERSON, categories
from tfcpn.prediction.person import FILLED, SURE, Person
from tfcpn.skeleton import Skeleton

RESULTS, TABLE, JOURNAL = "results.json", "people.csv", ".journal.jsonl"
_GREATEST_ID = 2**53  # that JSON's readers keep


def entry(person: Person) -> dict:
    """A person as results.json has it, but for the ids. Joints are x, y and 2 where they are certain, else 1; 0, 0, 0
    for those that the network does not have.
    """
    there = np.isfinite(person.joints[:, 0])
    seen = np.where(there, np.where(person.certain >= SURE, 2, 1), 0)
    joints = np.round(np.nan_to_num(person.joints), 3)
    x, y, width, height = person.box
    # Of a single joint it would have no sides, which no annotation has.
    box = [round(value, 2) for value in (x, y, max(width, 1.0), max(height, 1.0))]
    return {
        "keypoints": [v for (x, y), flag in zip(joints.tolist(), seen.tolist()) for v in (x, y, flag)],
        "keypoint_scores": np.round(person.scores.astype(float), 4).tolist(),
        "num_keypoints": int(there.sum()),
        "score": round(float(person.score), 4),
        "bbox": box,
        "area": round(max(FILLED * box[2] * box[3], 1.0), 2),
        "region": np.round(person.region, 4).tolist(),
        "person": person.number,
        "iscrowd": 0,
    }


class Journal:
    """What is done, a line for each file, so that an interrupted command goes on.

    settings: of the prediction; with others everything is done again. Lines are added when their file is whole.
    """

    def __init__(self, folder: Path, settings: dict, again: bool = False):
        self.path, self.done = Path(folder) / JOURNAL, {}
        lines = [] if again or not self.path.exists() else self.path.read_text().splitlines()
        first, *rest = [_line(line) for line in lines] or [None]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = rest if first == settings else []
        # The last line may be half of one.
        self.done = {record["name"]: record for record in kept if isinstance(record, dict) and "name" in record}
        write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in (settings, *self.done.values())))

    def has(self, name: str, path: str) -> bool:
        """Whether a file is done, as it is now. What is known of an older one is forgotten; a camera never is."""
        record = self.done.get(name)
        if record and record["stamp"] and record["stamp"] == stamp_of(path):
            return True
        self.done.pop(name, None)
        return False

    def add(self, name: str, was: list[int], video: bool, frames: list[dict]) -> None:
        """was: the file's `stamp_of` before it was read. frames: of a picture one, of a video all: height, width,
        people as from `entry`; of a video's each frame's number and seconds, too.
        """
        record = {"name": name, "video": video, "stamp": was, "frames": frames}
        self.done[name] = record
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")


def _line(line: str):
    try:
        return json.loads(line)
    except ValueError:
        return None


def stamp_of(path: str) -> list[int]:
    """That of a file, or of a camera, which has none."""
    return stamp(path) if Path(path).exists() else []


def image_ids(names: Sequence[str]) -> dict[str, int] | None:
    """COCO's way to name pictures, by their number: the ids of pictures whose names are numbers, each another; None
    if they are not.
    """
    stems = [Path(name).stem for name in names]
    if not all(stem.isascii() and stem.isdecimal() and int(stem) <= _GREATEST_ID for stem in stems):
        return None
    if len({int(stem) for stem in stems}) < len(stems):
        return None
    return {name: int(stem) for name, stem in zip(names, stems)}


def results(records: Sequence[dict], skeleton: Skeleton) -> dict:
    """An annotation file in COCO's form of everything that was found; its annotations are pycocotools' results, too.

    records: as the journal has them, in order. A frame of a video is an image of its own, named FILE#FRAME.
    """
    known = None if any(record["video"] for record in records) else image_ids([r["name"] for r in records])
    images, annotations = [], []
    for record in records:
        for frame in record["frames"]:
            image = known[record["name"]] if known else len(images) + 1
            title = f"{record['name']}#{frame['frame']}" if record["video"] else record["name"]
            place = {name: frame[name] for name in ("height", "width", "frame", "seconds") if name in frame}
            images.append({"id": image, "file_name": title, **place})
            for person in frame["people"]:
                ids = {"id": len(annotations) + 1, "image_id": image, "category_id": PERSON}
                annotations.append({**ids, **person})
    info = {"description": "people found by tfcpn.predict; what is labelled here are predictions"}
    return {"info": info, "images": images, "annotations": annotations, "categories": categories(skeleton)}


def write_results(folder: Path, records: Sequence[dict], skeleton: Skeleton, table: bool) -> None:
    """results.json, and people.csv if asked: a line for each person, with x, y and score of each joint."""
    data = results(records, skeleton)
    write_atomically(Path(folder) / RESULTS, json.dumps(data))
    if not table:
        return
    text, images = io.StringIO(), {image["id"]: image for image in data["images"]}
    rows = csv.writer(text, lineterminator="\n")
    columns = [f"{joint}_{what}" for joint in skeleton.joints for what in ("x", "y", "score")]
    rows.writerow(["file", "frame", "seconds", "person", "score", *columns])
    for one in data["annotations"]:
        image = images[one["image_id"]]
        joints = zip(one["keypoints"][::3], one["keypoints"][1::3], one["keypoints"][2::3], one["keypoint_scores"])
        values = [v for x, y, seen, score in joints for v in ((x, y, score) if seen else ("", "", ""))]
        name = image["file_name"].rsplit("#", 1)[0] if "frame" in image else image["file_name"]
        place = [name, image.get("frame", ""), image.get("seconds", "")]
        rows.writerow([*place, one["person"], one["score"], *values])
    # Names of files may be no text at all.
    write_atomically(Path(folder) / TABLE, text.getvalue().encode(errors="backslashreplace"))


def check_output(folder: str) -> None:
    """Raises InputError if the output's folder is a file."""
    if Path(folder).exists() and not Path(folder).is_dir():
        raise InputError(f"--output={folder} is a file, want a folder")
