"""Train MediaPipe's pose detector on records of people."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tfcpn.cli import Command, Options, float_, integer, path
from tfcpn.models.specs import DEFAULT_DETECTION_MODEL
from tfcpn.utils.console import import_tensorflow, progress_bar
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

COMMAND = Command(
    "tfcpn models detector",
    __doc__,
    {
        "Data": [
            path("train_records", None, "Folders of records, comma-separated.", required=True),
            path("background", "", "Folder of images without people, a fifth of each batch."),
            path("detector", DEFAULT_DETECTION_MODEL, "The detector to start from."),
        ],
        "Training": [
            integer("steps", 500, "Number of steps.", minimum=1),
            integer("batch_size", 16, "Images in a step.", minimum=1),
            float_("learning_rate", 1e-3, "Highest learning rate of Adam.", minimum=0),
            integer("warmup_steps", 50, "Steps until that rate.", minimum=1),
            float_(
                "ema", 0.98, "Decay of the average of the weights, which is written.", minimum=0
            ),
            integer("seed", 0, "Seed of order and views.", minimum=0),
        ],
        "Output": [
            path(
                "output",
                None,
                "Folder for pose_detection.tflite, and for what the same command resumes from.",
                required=True,
            ),
        ],
    },
)
FILE, SETTINGS, LOG = "pose_detection.tflite", "detector.json", "losses.csv"
_SAVE_EVERY = 100  # steps
# All convolutions down to the 14 x 14 maps are frozen.
_FROZEN_ABOVE = 14


def main(options: Options) -> None:
    args = options.args
    import_tensorflow()
    from tfcpn.data.record_sets import read_records
    from tfcpn.models.blazepose.detector_model import (
        build_detector,
        export_detector,
        read_detector,
    )
    from tfcpn.training import detector as training
    from tfcpn.transforms.regions import alignment_keypoints

    output, graph = Path(args.output), read_detector(args.detector)
    records = read_records(args.train_records)
    alignment_keypoints(records.skeleton, "body")
    settings = {n: v for n, v in vars(args).items() if n != "output"}
    settings["records"] = records.identity
    described = output / SETTINGS
    if described.exists() and json.loads(described.read_text()) != settings:
        raise InputError(f"{output} has a training with other settings or records; use another")
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(described, json.dumps(settings, indent=1) + "\n")
    step = training.DetectorStep(
        build_detector(graph, _FROZEN_ABOVE),
        build_detector(graph),
        learning_rate=args.learning_rate,
        steps=args.steps,
        warmup=args.warmup_steps,
        ema=args.ema,
    )
    checkpoint = step.checkpoint()
    import tensorflow as tf

    manager = tf.train.CheckpointManager(checkpoint, str(output / "checkpoints"), max_to_keep=1)
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).assert_consumed()
        print(f"resuming from step {int(step.number)}")
    start, began = int(step.number), time.monotonic()
    views = training.DetectorViews()
    background = training.background_images(args.background) if args.background else ()
    batches = training.batches(records, views, args.batch_size, args.seed, start, background)
    with (
        progress_bar(args.steps, "detector", "step") as bar,
        (output / LOG).open("a") as log,
    ):
        bar.update(start)
        while int(step.number) < args.steps:
            losses = step(*next(batches))
            bar.update()
            bar.set_postfix({name: f"{value:.3g}" for name, value in losses.items()})
            if int(step.number) % 20 == 0:
                values = ",".join(f"{name}={value:.4f}" for name, value in losses.items())
                log.write(f"{int(step.number)},{values}\n")
                log.flush()
            if int(step.number) % _SAVE_EVERY == 0:
                manager.save(int(step.number))
    manager.save(int(step.number))
    step.use_mean()
    write_atomically(output / FILE, export_detector(step.model, args.detector))
    print(
        f"written: {output / FILE}, after {args.steps} steps, {time.monotonic() - began:.0f} s of "
        f"them now; tfcpn predict --detector={output / FILE} uses it, tfcpn export "
        f"--detector={output / FILE} --task=FILE.task puts it into a bundle"
    )


if __name__ == "__main__":
    COMMAND.run(main)
