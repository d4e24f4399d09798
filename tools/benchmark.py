"""Measure a part of the program beside the original's way of doing it, in one run: times and their ratio."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

from absl import flags

from benchmarking import data, network, step_profile
from benchmarking.measure import peak_memory_mb, table
from tfcpn import command_line, config, device
from tfcpn.errors import InputError

import tensorflow as tf  # isort: skip  (after tfcpn, which quietens its start)

FLAGS = flags.FLAGS
PARTS = ("input", "step", "profile", "forward", "eval", "records")
flags.DEFINE_string("train_annotations", "data/demo/annotations/person_keypoints_train.json", "COCO annotations.")
flags.DEFINE_string("train_images", "data/demo/train", "Their images, for input and records.")
flags.DEFINE_integer("rounds", 5, "Times that each thing is measured, in turn.", lower_bound=1)
flags.DEFINE_integer("people", 2000, "input, eval: people that ours is measured on.", lower_bound=80)
flags.DEFINE_integer("copies", 2, "records: times that each image is packed.", lower_bound=1)
flags.DEFINE_string("json", "", "File for the same numbers as JSON.")
GROUPS = {"What": ["train_annotations", "train_images", "rounds", "people", "copies", "json"], **config.GROUPS}


def measure(part: str) -> list[dict]:
    cfg = config.from_flags()
    if part == "step":
        return network.benchmark_step(cfg, FLAGS.rounds)
    if part == "profile":
        return step_profile.benchmark_profile(cfg, FLAGS.rounds)
    if part == "forward":
        return network.benchmark_forward(cfg, FLAGS.rounds)
    if part == "eval":
        return data.benchmark_eval(
            cfg, data.read_people(cfg.val_annotations, cfg.val_images), FLAGS.rounds, FLAGS.people
        )
    people = data.read_people(FLAGS.train_annotations, FLAGS.train_images)
    if part == "input":
        return data.benchmark_input(cfg, people, FLAGS.rounds, FLAGS.people)
    return data.benchmark_records(people, FLAGS.train_images, FLAGS.copies)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main(part: str) -> None:
    device.set_up(deterministic=False)
    rows = measure(part)
    gpus = [g.name for g in tf.config.list_physical_devices("GPU")]
    machine = {"cpu": _processor(), "cores": os.cpu_count(), "gpus": gpus, "tensorflow": tf.__version__}
    memory = round(peak_memory_mb())
    print(table(rows))
    print(f"{machine['cpu']}, {machine['cores']} cores, GPUs: {gpus or 'none'}; peak memory {memory} MB")
    if FLAGS.json:
        try:
            Path(FLAGS.json).write_text(
                json.dumps({"part": part, "rows": rows, "machine": machine, "peak_mb": memory})
            )
        except OSError as error:
            raise InputError(f"--json={FLAGS.json}: cannot be written ({error.strerror})") from error


if __name__ == "__main__":
    command_line.run(main, "python tools/benchmark.py", __doc__, GROUPS, choices=PARTS)
