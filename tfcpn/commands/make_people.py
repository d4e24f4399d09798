"""Draw a synthetic COCO dataset, the same on every machine."""

from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from tfcpn.cli import Command, Options, float_, integer, path
from tfcpn.data.coco import coco_categories
from tfcpn.skeleton import COCO
from tfcpn.synthetic.annotate import annotate
from tfcpn.synthetic.body import pose_body
from tfcpn.synthetic.draw import SUPERSAMPLE, Canvas, draw_clothes, draw_person
from tfcpn.synthetic.scenery import background, obstacle
from tfcpn.utils.console import progress_bar
from tfcpn.utils.files import write_atomically

COMMAND = Command(
    "python tools/make_people.py",
    __doc__,
    {
        "What": [
            path("output", None, "Folder for train/, val/ and annotations/.", required=True),
            integer("train", 1800, "Images to train on.", minimum=1),
            integer("val", 160, "Images to validate on.", minimum=1),
            integer("seed", 0, "Another seed draws other people.", minimum=0),
            float_(
                "fallen",
                0.03,
                "Share of people who lie, lean far over or fall.",
                minimum=0,
                maximum=1,
            ),
        ],
        "How": [integer("workers", os.cpu_count() or 1, "Processes.", minimum=1)],
    },
)

VERSION = 1
SPLITS = ("train", "val")
CROWD_EVERY = 60  # every so many images, one has a crowd region


def _run_lengths(mask: np.ndarray) -> dict:
    """Return COCO's uncompressed RLE of a mask: runs down the columns, zeros first."""
    flat = np.concatenate([[0], mask.T.ravel(), [1 - mask.T.ravel()[-1]]])
    edges = np.flatnonzero(np.diff(flat))
    runs = np.diff(np.concatenate([[0], edges]))
    return {"counts": [int(n) for n in runs], "size": list(mask.shape)}


def _draw_crowd(rng, canvas: Canvas, first_person: int, light) -> dict:
    """Draw a dense row of small people, annotated as one crowd region without keypoints."""
    height, width = canvas.owner.shape
    before = canvas.owner.copy()
    for i in range(12):
        x = width * (0.1 + 0.8 * i / 11) + rng.normal(0, 6)
        scale = height * rng.uniform(0.16, 0.2)
        draw_person(
            canvas,
            pose_body(rng, 0),
            (x, height * 0.14),
            scale,
            draw_clothes(rng),
            first_person + i,
            light,
        )
    size = (width // SUPERSAMPLE, height // SUPERSAMPLE)
    mask = cv2.resize(
        (canvas.owner != before).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST
    )
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
    ys, xs = np.nonzero(mask)
    return {
        "bbox": [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1],
        "area": int(mask.sum()),
        "segmentation": _run_lengths(mask),
        "keypoints": [0] * (3 * COCO.num_keypoints),
        "num_keypoints": 0,
        "iscrowd": 1,
    }


def draw_scene(seed: int, split: str, number: int, fallen: float) -> tuple[np.ndarray, list[dict]]:
    """Return image `number` of a split, (H, W, 3) uint8 BGR, and its annotations."""
    rng = np.random.default_rng([seed, SPLITS.index(split), number])
    height, width = (int(rng.integers(lo, hi)) for lo, hi in ((260, 380), (260, 440)))
    canvas = Canvas(background(rng, height, width))
    light = rng.normal(0, 1, 2)
    light /= np.linalg.norm(light) + 1e-6
    crowd = _draw_crowd(rng, canvas, 10, light) if number % CROWD_EVERY == 0 else None

    count = int(rng.choice([1, 2, 3], p=[0.74, 0.19, 0.07]))
    tallest = {1: 0.9, 2: 0.7, 3: 0.6}[count]
    drawn = []
    for person in range(count):
        body = pose_body(rng, fallen)
        xy = np.stack([p[:2] for p in body.points.values()]) * [1, -1]
        low, high = xy.min(axis=0) - 0.05, xy.max(axis=0) + 0.05
        scale = height * SUPERSAMPLE * rng.uniform(0.46, tallest)
        scale = min(
            scale,
            0.95 * width * SUPERSAMPLE / (high - low)[0],
            0.97 * height * SUPERSAMPLE / (high - low)[1],
        )
        room = np.array([width, height]) * SUPERSAMPLE - scale * (high - low)
        place = rng.random(2)
        # People stand side by side, so that they overlap now and then but not as a rule.
        place[0] = (person + place[0]) / count
        origin = place * room - scale * low
        if rng.random() < 0.07:
            origin[rng.integers(0, 2)] += rng.choice([-1, 1]) * scale * rng.uniform(0.15, 0.4)
        points = draw_person(canvas, body, origin, scale, draw_clothes(rng), person, light)
        drawn.append((points, scale))
    if rng.random() < 0.14:
        points, scale = drawn[rng.integers(0, count)]
        x, y = points[rng.choice(["left_knee", "right_hip", "left_elbow", "right_wrist"])][:2]
        obstacle(rng, canvas, x, y, scale * rng.uniform(0.12, 0.32))

    annotations = [annotate(canvas, points, person) for person, (points, _) in enumerate(drawn)]
    pixels = cv2.resize(canvas.pixels, (width, height), interpolation=cv2.INTER_AREA).astype(
        np.float32
    )
    pixels = (pixels - 128) * rng.uniform(0.75, 1.1) + 128 + rng.uniform(-25, 25)
    pixels += rng.normal(0, rng.uniform(1, 4), pixels.shape)
    return np.clip(pixels, 0, 255).astype(np.uint8), [a for a in [*annotations, crowd] if a]


def _write_image(
    number: int, folder: Path, split: str, seed: int, fallen: float
) -> tuple[dict, list[dict]]:
    pixels, annotations = draw_scene(seed, split, number, fallen)
    name = f"{number + 1:012d}.jpg"
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])
    write_atomically(folder / name, encoded.tobytes(), durable=False)
    return {
        "id": number + 1,
        "file_name": name,
        "height": pixels.shape[0],
        "width": pixels.shape[1],
    }, annotations


def main(options: Options) -> None:
    args = options.args
    output = Path(args.output)
    cv2.setNumThreads(1)
    pool = ProcessPoolExecutor(args.workers, multiprocessing.get_context("spawn"))
    with pool:
        for split in SPLITS:
            count = vars(args)[split]
            settings = {
                "seed": args.seed,
                "images": count,
                "fallen": args.fallen,
                "version": VERSION,
            }
            path = output / "annotations" / f"person_keypoints_{split}.json"
            if (
                path.exists()
                and json.loads(path.read_text()).get("info", {}).get("settings") == settings
            ):
                print(f"{path}: already there, nothing to do")
                continue
            work = partial(
                _write_image, folder=output / split, split=split, seed=args.seed, fallen=args.fallen
            )
            images, annotations = [], []
            with progress_bar(count, f"drawing {split}", "image") as bar:
                for image, people in pool.map(work, range(count), chunksize=8):
                    images.append(image)
                    for person in people:
                        ids = {
                            "id": len(annotations) + 1,
                            "image_id": image["id"],
                            "category_id": 1,
                        }
                        annotations.append({**ids, **person})
                    bar.update()
            info = {"description": "synthetic people drawn by tfcpn", "settings": settings}
            data = {
                "info": info,
                "images": images,
                "annotations": annotations,
                "categories": coco_categories(),
            }
            write_atomically(path, json.dumps(data))
            keypoints = sum(a["num_keypoints"] for a in annotations)
            print(
                f"{path}: {len(images)} images, {len(annotations)} people, {keypoints} labeled "
                "keypoints"
            )


if __name__ == "__main__":
    COMMAND.run(main)
