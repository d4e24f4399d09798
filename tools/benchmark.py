"""Measure parts of the program and the original's method in one run: times and their ratio."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

from tfcpn.cli import Command, Options, float_, integer, path, string_list
from tfcpn.config import FIELDS
from tfcpn.utils.console import import_tensorflow
from tfcpn.utils.errors import InputError

OF_KEYPOINTS = ("profile", "forward", "eval", "video", "gpu")
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
            integer("rounds", 5, "Times that each thing is measured, in turn.", minimum=1),
            integer(
                "people", 2000, "input, eval, gpu: people that tfcpn is measured on.", minimum=80
            ),
            integer("copies", 2, "records: times that each image is packed.", minimum=1),
            integer("frames", 100, "video: frames of it.", minimum=2),
            string_list(
                "precisions",
                ("float32", "tf32", "bfloat16", "float16"),
                "gpu: those that are tried.",
            ),
            float_("minutes", 10.0, "gpu: after so many no larger batch is tried.", minimum=0),
            path(
                "python",
                ".venv-mediapipe/bin/python",
                "video: a Python with mediapipe, which is measured as well.",
            ),
            path("json", "", "File for the same numbers as JSON."),
        ]
    },
    uses_config=True,
    choices=PARTS,
)


def measure(part: str, options: Options) -> list[dict]:
    from benchmarking import data, network, step_profile

    cfg, args = options.config, options.args
    if part in OF_KEYPOINTS and cfg.network == "blazepose_detector":
        raise InputError(f"{part}: is for networks of keypoints, not --network={cfg.network}")
    if part == "step":
        return network.benchmark_step(cfg, args.rounds)
    if part == "profile":
        return step_profile.benchmark_profile(cfg, args.rounds)
    if part == "forward":
        return network.benchmark_forward(cfg, args.rounds)
    if part == "eval":
        people = data.validation_set_of(cfg.val_annotations, cfg.val_images)
        return data.benchmark_eval(cfg, people, args.rounds, args.people)
    if part == "gpu":
        known = FIELDS["mixed_precision"].metadata["choices"]
        if not args.precisions or not set(args.precisions) <= set(known) - {"auto"}:
            raise InputError(
                f"--precisions={','.join(args.precisions)}: expected some of "
                f"{', '.join(known[:-1])}"
            )
        from benchmarking import gpu

        return gpu.benchmark_gpu(cfg, args.precisions, args.people, args.minutes)
    if part == "video":
        from benchmarking.video import benchmark_video

        return benchmark_video(cfg, args.rounds, args.frames, args.python)
    people = data.validation_set_of(args.train_annotations, args.train_images)
    if part == "input":
        return data.benchmark_input(cfg, people, args.rounds, args.people)
    return data.benchmark_records(people, args.train_images, args.copies)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main(options: Options) -> None:
    import_tensorflow()
    import tensorflow as tf

    from benchmarking.measure import peak_memory_mb, table
    from tfcpn.utils import device

    (part,) = options.positional
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
        f"{machine['cpu']}, {machine['cores']} cores, GPUs: {gpus or 'none'}; peak memory {memory} "
        "MB"
    )
    if options.args.json:
        try:
            values = {"part": part, "rows": rows, "machine": machine, "peak_mb": memory}
            Path(options.args.json).write_text(json.dumps(values))
        except OSError as error:
            raise InputError(
                f"--json={options.args.json}: cannot be written ({error.strerror})"
            ) from error


if __name__ == "__main__":
    COMMAND.run(main)
