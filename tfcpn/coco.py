"""COCO's JSON files -> images, people and boxes; joints -> a results file -> the AP table."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfcpn.errors import InputError
from tfcpn.skeleton import JOINTS, NUM_JOINTS

PERSON = 1
METRICS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")


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
    reach: float = 0.0

    @property
    def trainable(self) -> bool:
        """Whether tf-cpn would train on this person: no crowd, and at least one joint is labelled."""
        return not self.crowd and self.num_keypoints > 0 and bool((self.keypoints[:, 2] > 0).any())


@dataclass(frozen=True)
class Box:
    """A person to estimate the pose of. box: x, y, w, h in pixels.

    points: the alignment points (x, y of mid-hip, x, y on the body's circle), if they are known.
    """

    image_id: int
    box: tuple[float, float, float, float]
    score: float
    points: tuple[float, float, float, float] | None = None


def _read_json(path: Path):
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); was it downloaded completely?") from error


def _numbers(values, count: int | None = None) -> bool:
    return (
        isinstance(values, list)
        and (count is None or len(values) == count)
        and all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values)
    )


def _parse_image(record: dict) -> CocoImage:
    for field in ("id", "width", "height"):
        if not isinstance(record.get(field), int) or (field != "id" and record[field] <= 0):
            raise ValueError(f"{field} is {record.get(field)!r}, want a positive whole number")
    if not isinstance(record.get("file_name"), str) or not record["file_name"]:
        raise ValueError("file_name is missing")
    return CocoImage(record["id"], record["file_name"], record["height"], record["width"])


def _parse_person(record: dict, images: dict[int, CocoImage]) -> Person:
    if not isinstance(record.get("id"), int):
        raise ValueError(f"id is {record.get('id')!r}, want a whole number")
    if not isinstance(record.get("image_id"), int) or record["image_id"] not in images:
        raise ValueError(f"image_id {record.get('image_id')!r} is not among the file's images")
    if not _numbers(record.get("bbox"), 4) or min(record["bbox"][2:]) < 0:
        raise ValueError(f"bbox is {record.get('bbox')!r}, want [x, y, width, height]")
    if not _numbers(record.get("keypoints")):
        raise ValueError("keypoints is missing or holds something that is not a number")
    if len(record["keypoints"]) != 3 * NUM_JOINTS:
        raise ValueError(f"keypoints has {len(record['keypoints'])} values, want {NUM_JOINTS} joints x 3")
    keypoints = np.array(record["keypoints"], np.float32).reshape(NUM_JOINTS, 3)
    if not np.isin(keypoints[:, 2], (0, 1, 2)).all():
        raise ValueError("keypoints has a visibility other than 0, 1, 2")
    area, crowd = record.get("area"), record.get("iscrowd", 0)
    if not _numbers([area]) or area < 0:
        raise ValueError(f"area is {area!r}, want a number of pixels")
    if crowd not in (0, 1):
        raise ValueError(f"iscrowd is {crowd!r}, want 0 or 1")
    labelled = int((keypoints[:, 2] > 0).sum())
    count = record.get("num_keypoints", labelled)
    if not isinstance(count, int) or count != labelled:
        raise ValueError(f"num_keypoints is {count!r}, but {labelled} joints are labelled")
    if labelled and not crowd and min(record["bbox"][2:]) <= 0:
        raise ValueError(f"bbox is {record['bbox']}: a labelled person needs a box with an area")
    box = tuple(float(v) for v in record["bbox"])
    reach = _reach(record.get("segmentation"), keypoints)
    return Person(record["id"], record["image_id"], box, keypoints, count, float(area), bool(crowd), reach)


def _reach(segmentation, keypoints: np.ndarray) -> float:
    """`Person.reach`. A crowd's run lengths tell nothing of a person; both hips must be labelled."""
    if segmentation is None or isinstance(segmentation, dict):
        return 0.0
    if not isinstance(segmentation, list) or not all(_numbers(p) and len(p) % 2 == 0 for p in segmentation):
        raise ValueError("segmentation is no list of polygons, each a list of x, y, x, y, ...")
    hips = keypoints[[JOINTS.index("left_hip"), JOINTS.index("right_hip")]]
    if not segmentation or not (hips[:, 2] > 0).all():
        return 0.0
    outline = np.concatenate([np.reshape(p, (-1, 2)) for p in segmentation])
    return float(np.linalg.norm(outline - hips[:, :2].mean(axis=0), axis=1).max(initial=0))


def read_annotations(path) -> tuple[dict[int, CocoImage], list[Person]]:
    """Images by id, and people in the file's order, of a COCO keypoint annotation file.

    Every field that the program uses is checked. Raises InputError that names the file, record and field.
    """
    data = _read_json(path)
    for key in ("images", "annotations"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise InputError(f"{path}: has no list {key!r}; want a COCO person_keypoints file")
    images: dict[int, CocoImage] = {}
    people = []
    for kind, parse, records in (
        ("image", _parse_image, data["images"]),
        ("annotation", lambda r: _parse_person(r, images), data["annotations"]),
    ):
        for number, record in enumerate(records):
            if isinstance(record, dict) and kind == "annotation" and record.get("category_id", PERSON) != PERSON:
                continue
            try:
                if not isinstance(record, dict):
                    raise ValueError("is not an object")
                parsed = parse(record)
            except ValueError as error:
                name = f"id {record['id']}" if isinstance(record, dict) and "id" in record else f"number {number}"
                raise InputError(f"{path}: {kind} {name}: {error}") from error
            if kind == "annotation":
                people.append(parsed)
            elif parsed.id in images:
                raise InputError(f"{path}: image id {parsed.id} appears twice")
            else:
                images[parsed.id] = parsed
    if not any(p.trainable for p in people):
        raise InputError(f"{path}: no person in it has a labelled joint")
    return images, people


def read_detections(path, images: dict[int, CocoImage]) -> list[Box]:
    """The people (category 1) that a detector found on these images, from results in COCO's format.

    A record may have the field `align_points`, x and y of the two alignment points.
    As in tf-cpn, detections on other images are passed over. Raises InputError for a bad record, or if none is left.
    """
    records = _read_json(path)
    if not isinstance(records, list):
        raise InputError(f"{path}: want a list of detections in COCO's results format")
    boxes = []
    for number, record in enumerate(records):
        problem = None
        if not isinstance(record, dict):
            problem = "is not an object"
        elif record.get("category_id", PERSON) != PERSON:
            continue
        elif not isinstance(record.get("image_id"), int):
            problem = f"image_id is {record.get('image_id')!r}, want a whole number"
        elif record["image_id"] not in images:
            continue
        elif not _numbers(record.get("bbox"), 4) or min(record["bbox"][2:]) <= 0:
            problem = f"bbox is {record.get('bbox')!r}, want [x, y, width, height]"
        elif not _numbers([record.get("score")]):
            problem = f"score is {record.get('score')!r}, want a number"
        elif not _numbers(record.get("align_points", [0, 0, 0, 0]), 4):
            problem = f"align_points is {record['align_points']!r}, want [x, y, x, y]"
        if problem:
            raise InputError(f"{path}: detection number {number}: {problem}")
        points = tuple(map(float, record["align_points"])) if "align_points" in record else None
        boxes.append(Box(record["image_id"], tuple(map(float, record["bbox"])), float(record["score"]), points))
    if not boxes:
        raise InputError(f"{path}: holds no detection of a person on the annotated images")
    return boxes


def result(box: Box, joints: np.ndarray, scores: np.ndarray) -> dict:
    """One entry of a results file, rounded as tf-cpn rounds. joints: (K, 2) in the image. scores: (K,).

    Alignment points behind COCO's joints are left out, of the score too.
    """
    joints, scores = joints[:NUM_JOINTS], scores[:NUM_JOINTS]
    keypoints = np.concatenate([np.round(joints, 3), np.ones((len(joints), 1))], axis=1)
    return {
        "image_id": box.image_id,
        "category_id": PERSON,
        "keypoints": keypoints.ravel().tolist(),
        "score": round(float(box.score * np.mean(scores)), 4),
    }


def _completed(data: dict) -> dict:
    """An annotation file's content with the fields that pycocotools insists on and `read_annotations` does not."""
    people = [a for a in data["annotations"] if a.get("category_id", PERSON) == PERSON]
    data = {"info": {}, "categories": categories(), **data, "annotations": people}
    for record in people:
        record.setdefault("category_id", PERSON)
        record.setdefault("iscrowd", 0)
        record.setdefault("num_keypoints", sum(v > 0 for v in record["keypoints"][2::3]))
    return data


def without_joints(record: dict) -> dict:
    """The annotation of a person who shall not count: as COCO marks one, without labelled joints."""
    return {**record, "keypoints": [0] * len(record["keypoints"]), "num_keypoints": 0}


def evaluate(annotations: str, results: list[dict], counted: set[int] | None = None) -> dict[str, float]:
    """The ten numbers of COCO's keypoint evaluation, of all images of the annotation file.

    counted: ids of the annotations that count; None: all. A result on one of the others is neither right nor wrong.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        data = _completed(_read_json(annotations))
        if counted is not None:
            data["annotations"] = [a if a["id"] in counted else without_joints(a) for a in data["annotations"]]
        truth.dataset = data
        truth.createIndex()
        # loadRes writes into what it is given.
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(METRICS, (float(v) for v in evaluation.stats)))


def cell(value: float) -> str:
    """.702 as the log writes it; COCO's -1 means that there is nobody of that size."""
    return "n/a" if value < 0 else f"{value:.3f}".replace("0.", ".", 1) if value < 0.9995 else "1.000"


def table(rows: list[tuple[str, dict[str, float]]]) -> str:
    """Rows of (label, metrics) as a Markdown table in the experiment log's form."""
    names = METRICS[:5]
    width = max([len("epoch"), *(len(label) for label, _ in rows)])
    lines = [f"| {'epoch':<{width}} | " + " | ".join(f"{n:>5}" for n in names) + " |"]
    lines.append(f"|{'-' * (width + 2)}|" + "|".join("-" * 7 for _ in names) + "|")
    for label, metrics in rows:
        lines.append(f"| {label:<{width}} | " + " | ".join(f"{cell(metrics[n]):>5}" for n in names) + " |")
    return "\n".join(lines)


def categories() -> list[dict]:
    """The `categories` list of a COCO keypoint annotation file."""
    return [{"id": PERSON, "name": "person", "supercategory": "person", "keypoints": list(JOINTS)}]
