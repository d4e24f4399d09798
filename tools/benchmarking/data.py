"""What the host does: training input, evaluation without the network, and making records."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf

from benchmarking.measure import cpu_seconds, in_turn, peak_memory_mb
from oracle import tf_cpn as reference
from tfcpn.builders import build_components
from tfcpn.config import Config
from tfcpn.config_rules import VIEWS
from tfcpn.data.coco import CocoImage, PersonAnnotation, coco_categories, read_annotations
from tfcpn.data.detections import PersonBox, coco_result
from tfcpn.data.pipeline import build_crop_fn, training_batches
from tfcpn.data.record_sets import read_records
from tfcpn.data.record_writer import write_shards
from tfcpn.data.sampling import open_training_set
from tfcpn.evaluation.evaluator import predict
from tfcpn.evaluation.evaluator import validation_set_of as read_validation
from tfcpn.evaluation.metrics import coco_metrics
from tfcpn.evaluation.predictor import Predictor
from tfcpn.skeleton import COCO
from tfcpn.utils import device

HOSTS, SHUFFLED = 4, 32
ONE_HOST = f"tfcpn, each of {HOSTS} hosts"


class People(NamedTuple):
    """Annotated people with their encoded images."""

    images: dict[int, CocoImage]
    people: list[PersonAnnotation]
    encoded: dict[int, bytes]


def validation_set_of(annotations: str, image_dir: str) -> People:
    images, people, *_ = read_annotations(annotations)
    people = [p for p in people if p.trainable]
    encoded = {
        p.image_id: (Path(image_dir) / images[p.image_id].file_name).read_bytes() for p in people
    }
    return People(images, people, encoded)


def _reference_input(data: People, cfg: Config, count: int) -> None:
    """Process one person as the original does: decode, crop, four views and sixteen label maps."""
    rng = np.random.default_rng(0)
    for person in (data.people * (1 + count // len(data.people)))[:count]:
        image = cv2.imdecode(
            np.frombuffer(data.encoded[person.image_id], np.uint8), cv2.IMREAD_COLOR
        )
        pixels, corners = reference.crop(image, person.box, cfg.input_size, True)
        scale = np.array(cfg.input_size[::-1]) / (corners[2:] - corners[:2])
        keypoints = np.where(
            person.keypoints[:, 2:] > 0, (person.keypoints[:, :2] - corners[:2]) * scale, -1e6
        )
        angles = rng.uniform(-cfg.rotation, cfg.rotation, 2)
        rescale = rng.uniform(cfg.rescale_min, cfg.rescale_max)
        _, keypoints, _ = reference.four_views(
            pixels, keypoints, person.keypoints[:, 2], rescale, angles
        )
        for view in keypoints:
            for kernel in cfg.label_kernels:
                for x, y in view:
                    reference.label_map(
                        x, y, cfg.input_size, cfg.heatmap_size, kernel, cfg.heatmap_scale
                    )


def our_batches(
    cfg: Config, people_in_batch: int, context: tf.distribute.InputContext | None = None
):
    packed = read_records(cfg.train_records)
    # A small buffer: what a large one holds when the clock starts would count as if it had cost
    # nothing.
    source = open_training_set(packed, shuffle_buffer=SHUFFLED)
    components = build_components(cfg, packed.skeleton)
    work = build_crop_fn(
        alignment=components.alignment,
        skeleton=components.skeleton,
        crop_spec=components.training_spec,
        margin=components.training_margin,
    )
    return iter(training_batches(source, 0, work, people_in_batch, context))


def _one_host(cfg: Config, number: int, count: int) -> float:
    """Return core seconds for `count` batches of one of several hosts, in a separate process."""
    device.hide_gpus()
    batches = our_batches(cfg, 8, tf.distribute.InputContext(HOSTS, number, HOSTS))
    for _ in range(8):
        next(batches)
    before = cpu_seconds()
    for _ in range(count):
        next(batches)
    return cpu_seconds() - before


def benchmark_input(cfg: Config, data: People, rounds: int, epoch: int) -> list[dict]:
    """Return table rows: core seconds per training crop, and memory over `epoch` people."""
    cv2.setNumThreads(1)
    original = in_turn(
        {"original's way": lambda: _reference_input(data, cfg, 32)}, rounds, cpu_seconds
    )
    batches, count, memory = our_batches(cfg, 8), epoch // 8, []
    for _ in range(8):
        next(batches)  # what is made ahead is there now
    # All rounds of tfcpn at once: batches are prefetched, so that a short round would count the
    # work of the next one.
    cpu, began = cpu_seconds(), time.perf_counter()
    for i in range(count):
        next(batches)
        if i % max(1, count // 80) == 0:
            memory.append(_memory_mb())
    seconds = {
        "original's way": sum(original["original's way"]) / rounds / 32 / VIEWS,
        "tfcpn": (cpu_seconds() - cpu) / count / 8 / cfg.views,
    }
    elapsed, half = time.perf_counter() - began, len(memory) // 2
    # One after the other: side by side they would wait for each other's cores, as hosts do not.
    shares = []
    for number in range(HOSTS):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as host:
            shares.append(host.submit(_one_host, cfg, number, epoch // HOSTS // 8).result())
    seconds[ONE_HOST] = sum(shares) / HOSTS / (epoch // HOSTS // 8) / 8 / cfg.views
    rows = []
    for name, each in seconds.items():
        row = {"input": name, "ms of a core a crop": 1000 * each, "crops/s and core": 1 / each}
        row["times the original's"] = seconds["original's way"] / each
        args = name == "tfcpn"
        row["crops/s, all cores"] = count * 8 * cfg.views / elapsed if args else ""
        row["MB, first and second half"] = (
            f"{max(memory[:half]):.0f}, {max(memory[half:]):.0f}" if args else ""
        )
        rows.append(row)
    return rows


def _memory_mb() -> float:
    """The memory that this process holds now."""
    pages = (
        int(Path("/proc/self/statm").read_text().split()[1])
        if Path("/proc/self/statm").exists()
        else 0
    )
    return pages * 4096 / 2**20 or peak_memory_mb()


class _NoNetwork:
    """Stands for the network at no cost: returns the same maps for every batch."""

    def __init__(self, cfg: Config, keypoints: int):
        self.maps = tf.random.stateless_uniform(
            (cfg.eval_batch_size, *cfg.heatmap_size, keypoints), (1, 2)
        )

    def __call__(self, images, training):
        return self.maps[: tf.shape(images)[0]]


def _reference_eval(data: People, cfg: Config, maps: np.ndarray, count: int) -> list[dict]:
    """Evaluate as the original does, without the network."""
    results = []
    for person in (data.people * (1 + count // len(data.people)))[:count]:
        image = cv2.imdecode(
            np.frombuffer(data.encoded[person.image_id], np.uint8), cv2.IMREAD_COLOR
        )
        pixels, corners = reference.crop(image, person.box, cfg.input_size, False)
        crop = (pixels.astype(np.float32) - reference.MEAN) / 255
        np.stack([crop, crop[:, ::-1]])
        mirrored = maps[:, ::-1].copy()
        for left, right in reference.PAIRS:
            mirrored[..., [left, right]] = mirrored[..., [right, left]]
        keypoints, scores = reference.decode((maps + mirrored) / 2, cfg.heatmap_scale)
        keypoints = keypoints / cfg.input_size[::-1] * (corners[2:] - corners[:2]) + corners[:2]
        results.append(
            coco_result(
                PersonBox(person.image_id, person.box, 1.0), keypoints=keypoints, scores=scores
            )
        )
    return results


def benchmark_eval(cfg: Config, data: People, rounds: int, people: int) -> list[dict]:
    """Return table rows: the parts of an evaluation besides the network."""
    cv2.setNumThreads(1)
    components = build_components(cfg, COCO)
    validation, model = (
        read_validation(cfg, components, COCO),
        _NoNetwork(cfg, components.skeleton.num_keypoints),
    )
    # The same boxes several times, so that starting a pass does not weigh.
    copies = max(1, people // len(validation.boxes))
    again = {"boxes": validation.boxes * copies, "image_files": validation.image_files * copies}
    validation = dataclasses.replace(validation, **again)
    network = components.network._replace(prediction=lambda maps: maps)
    predictor = Predictor(model, network, components.codec, components.crop_spec)
    maps = model.maps[0].numpy()
    count = min(64, len(validation.boxes))
    functions = {
        "original's way": lambda: _reference_eval(data, cfg, maps, count),
        "tfcpn": lambda: predict(cfg, components, validation, predictor, "without network"),
    }
    times = in_turn(functions, rounds, cpu_seconds)
    each = {"original's way": count, "tfcpn": len(validation.boxes)}
    mean = {name: sum(values) / len(values) / each[name] for name, values in times.items()}
    rows = []
    for name, seconds in mean.items():
        row = {"evaluation": f"{name}, without network", "ms of a core a person": 1000 * seconds}
        rows.append({**row, "times the original's": mean["original's way"] / seconds})
    seconds = _summary_seconds(10_000)
    rows.append(
        {
            "evaluation": "COCO summary, 10,000 people",
            "ms of a core a person": seconds / 10,
            "times the original's": "",
        }
    )
    return rows


def _summary_seconds(count: int) -> float:
    """Seconds of pycocotools' evaluation of made-up people, three in an image."""
    rng = np.random.default_rng(0)
    images = [
        {"id": i, "file_name": f"{i}.jpg", "height": 480, "width": 640}
        for i in range(1, count // 3 + 2)
    ]
    annotations, results = [], []
    for number in range(count):
        keypoints = np.concatenate([rng.uniform(0, 400, (17, 2)), np.full((17, 1), 2)], axis=1)
        record = {
            "id": number + 1,
            "image_id": number // 3 + 1,
            "category_id": 1,
            "iscrowd": 0,
            "area": 9000.0,
        }
        annotations.append(
            {
                **record,
                "bbox": [0, 0, 400, 400],
                "keypoints": keypoints.ravel().tolist(),
                "num_keypoints": 17,
            }
        )
        box = PersonBox(record["image_id"], (0, 0, 400, 400), float(rng.random()))
        results.append(
            coco_result(
                box, keypoints=keypoints[:, :2] + rng.normal(0, 5, (17, 2)), scores=np.ones(17)
            )
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "annotations.json"
        path.write_text(
            json.dumps(
                {"images": images, "annotations": annotations, "categories": coco_categories()}
            )
        )
        began = time.perf_counter()
        coco_metrics(read_annotations(path), results)
        return time.perf_counter() - began


def benchmark_records(data: People, image_dir: str, copies: int) -> list[dict]:
    """Return table rows: images per second that one and two workers pack."""
    by_image: dict[int, list[PersonAnnotation]] = {}
    for person in data.people:
        by_image.setdefault(person.image_id, []).append(person)
    items = [(data.images[i], people) for i, people in by_image.items()] * copies
    rows = []
    for workers in (1, 2):
        seen: list[tuple[float, int]] = []

        def on_progress(done: int, seen=seen) -> None:
            seen.append((time.perf_counter(), done))

        with tempfile.TemporaryDirectory() as folder:
            shards = {Path(folder) / f"{n}.tfrecord": items[n::8] for n in range(8)}
            write_shards(shards, Path(image_dir), workers, False, on_progress=on_progress)
        # Without the start of the processes, which is seconds whatever their number.
        (began, before), (ended, after) = next(s for s in seen if s[1] > 0), seen[-1]
        speed = (after - before) / (ended - began)
        row = {"records": f"{workers} worker(s)", "images/s": speed}
        row["times one worker"] = speed / (rows[0]["images/s"] if rows else speed)
        rows.append({**row, "minutes for 120,000 images": 120_000 / speed / 60})
    return rows
