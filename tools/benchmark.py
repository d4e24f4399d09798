"""Measure a part of the program beside the original's way of doing it, in one run: times and their ratio."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

from tfcpn.base.errors import InputError
from tfcpn.base.progress import import_tensorflow
from tfcpn.settings.command import Command, Options
from tfcpn.settings.config import FIELDS
from tfcpn.settings.flag import number, path, whole, words

PARTS = ("input", "step", "profile", "forward", "eval", "records", "video", "gpu")
COMMAND = Command(
    "python tools/benchmark.py",
    __doc__,
    {
        "What": [
            path(
                "train_annotations",
                "data/demo/annotations/person_keypoints_train.json",
                "COCO annotations.",
            ),
            path("train_images", "data/demo/train", "Their images, for input and records."),
            whole("rounds", 5, "Times that each thing is measured, in turn.", least=1),
            whole("people", 2000, "input, eval, gpu: people that ours is measured on.", least=80),
            whole("copies", 2, "records: times that each image is packed.", least=1),
            whole("frames", 100, "video: frames of it.", least=2),
            words(
                "precisions",
                ("float32", "tf32", "bfloat16", "float16"),
                "gpu: those that are tried.",
            ),
            number("minutes", 10.0, "gpu: after so many no larger batch is tried.", least=0),
            path(
                "python",
                ".venv-mediapipe/bin/python",
                "video: one that has mediapipe, which is measured beside.",
            ),
            path("json", "", "File for the same numbers as JSON."),
        ]
    },
    shared=True,
    choices=PARTS,
)


def measure(part: str, options: Options) -> list[dict]:
    from benchmarking import data, network, step_profile

    cfg, own = options.config, options.own
    if part == "step":
        return network.benchmark_step(cfg, own.rounds)
    if part == "profile":
        return step_profile.benchmark_profile(cfg, own.rounds)
    if part == "forward":
        return network.benchmark_forward(cfg, own.rounds)
    if part == "eval":
        people = data.read_people(cfg.val_annotations, cfg.val_images)
        return data.benchmark_eval(cfg, people, own.rounds, own.people)
    if part == "gpu":
        known = FIELDS["mixed_precision"].metadata["choices"]
        if not own.precisions or not set(own.precisions) <= set(known) - {"auto"}:
            raise InputError(
                f"--precisions={','.join(own.precisions)}: want some of {', '.join(known[:-1])}"
            )
        from benchmarking import gpu

        return gpu.benchmark_gpu(cfg, own.precisions, own.people, own.minutes)
    if part == "video":
        from benchmarking.video import benchmark_video

        return benchmark_video(cfg, own.rounds, own.frames, own.python)
    people = data.read_people(own.train_annotations, own.train_images)
    if part == "input":
        return data.benchmark_input(cfg, people, own.rounds, own.people)
    return data.benchmark_records(people, own.train_images, own.copies)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main(options: Options) -> None:
    import_tensorflow()
    import tensorflow as tf

    from benchmarking.measure import peak_memory_mb, table
    from tfcpn.base import device

    (part,) = options.words
    if options.config:
        device.select_device(options.config.device)
    device.configure(deterministic=False)
    rows = measure(part, options)
    gpus = [g.name for g in tf.config.list_physical_devices("GPU")]
    machine = {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "gpus": gpus,
        "tensorflow": tf.__version__,
    }
    memory = round(peak_memory_mb())
    print(table(rows))
    print(
        f"{machine['cpu']}, {machine['cores']} cores, GPUs: {gpus or 'none'}; peak memory {memory} MB"
    )
    if options.own.json:
        try:
            values = {"part": part, "rows": rows, "machine": machine, "peak_mb": memory}
            Path(options.own.json).write_text(json.dumps(values))
        except OSError as error:
            raise InputError(
                f"--json={options.own.json}: cannot be written ({error.strerror})"
            ) from error


if __name__ == "__main__":
    COMMAND.run(main)
