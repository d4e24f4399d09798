"""Draw people, train a network on them for some minutes, evaluate it, and show what it has learned
in an image.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import NamedTuple

from tfcpn import eval as evaluation
from tfcpn import train
from tfcpn.cli import Command, Options, float_, integer, path
from tfcpn.commands import draw_poses, make_people, make_records
from tfcpn.config import Config
from tfcpn.utils.console import import_tensorflow, status
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

MINUTES = 6
COMMAND = Command(
    "python tools/demo.py",
    __doc__,
    {
        "What": [
            float_("minutes", MINUTES, "How long the demo may take.", minimum=2),
            integer("seed", 0, "Another seed trains another network.", minimum=0),
            path("data", "data/demo", "Folder for the people."),
            path("runs", "runs", "Folder for the run; the image is poses.png in it."),
        ]
    },
)
TRAINING_IMAGES = 1200
EPOCHS = 5
# The larger recipe is the better one from so many steps on.
LARGE, LARGE_STEPS = "flags/demo_128x96.cfg", 300
SMALL = "flags/demo.cfg"
# What comes after the speed is measured, in units of the time that building the network takes,
# which like most of it is Python's and TensorFlow's own work: compiling the training step,
# starting, compiling the prediction, the image.
OVERHEAD = 12.0
# The time is a limit: a machine has other things to do, and a step reads, warps and saves besides.
SAFETY = 0.85


PLAN = "demo.json"


class Plan(NamedTuple):
    """What to train: the recipe, the steps of all epochs, and their FLOPs."""

    flagfile: str
    steps: int
    teraflop: float


class Speed(NamedTuple):
    """Seconds that building the network took, and that a step takes for each crop and once for all
    crops; the floating-point operations of training a crop.
    """

    building: float
    crop: float
    update: float
    flop: float


def config_of(flagfile: str) -> Config:
    return train.COMMAND.parse([f"--flagfile={flagfile}"]).config


def measure(cfg: Config) -> Speed:
    """Time losses and gradients of a recipe on noise, without compiling them.

    A few crops and many take the same time besides that of the crops, which is what differs.
    """
    import numpy as np
    import tensorflow as tf

    from benchmarking.network import forward_flops
    from tfcpn.builders import build_components
    from tfcpn.skeleton import COCO
    from tfcpn.training.step import losses_and_gradients, make_optimizer
    from tfcpn.utils import device

    device.set_precision(device.resolve_precision(cfg.mixed_precision))
    components, rng = build_components(cfg, COCO), np.random.default_rng(0)
    start = time.monotonic()
    model = components.network.build()
    building = time.monotonic() - start

    optimizer = make_optimizer(cfg.learning_rate, "float32", model.trainable_variables)

    def seconds(crops: int) -> tuple[float, float]:
        images = tf.constant(rng.normal(0, 1, (crops, *cfg.input_size, 3)), tf.float32)
        keypoints = tf.constant(
            rng.uniform(0, cfg.input_size[1], (crops, COCO.num_keypoints, 2)), tf.float32
        )
        targets = components.codec.encode(keypoints, tf.fill((crops, COCO.num_keypoints), 2.0))
        start = time.monotonic()
        losses, gradients = losses_and_gradients(
            model, components.network, images, targets, weight_decay=cfg.weight_decay
        )
        (
            losses["total"].numpy(),
            gradients[0].numpy(),
        )  # on a GPU they are there later than the call returns
        between = time.monotonic()
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        model.trainable_variables[-1].numpy()
        return between - start, time.monotonic() - between

    few, many = 4, 28
    seconds(few), seconds(many)  # the first ones make kernels
    measured = {crops: [seconds(crops), seconds(crops)] for crops in (few, many)}
    crop = (min(measured[many])[0] - min(measured[few])[0]) / (many - few)
    update = min(of_update for both in measured.values() for _, of_update in both)
    return Speed(building, max(crop, 1e-4), update, 3 * forward_flops(model))


def choose(speed: Speed, seconds: float) -> Plan:
    """Choose the recipe and the number of steps that fit into the time.

    Args:
        speed: Of the small recipe.
        seconds: What is left of the demo's time.

    Returns:
        The plan, of at least one step an epoch.
    """
    training = max(SAFETY * (seconds - OVERHEAD * speed.building), 0.25 * seconds)
    small = config_of(SMALL)
    for flagfile, fewest in ((LARGE, LARGE_STEPS), (SMALL, EPOCHS)):
        cfg = config_of(flagfile)
        # The network is convolutional: its work goes with the pixels.
        crops = cfg.batch_size * math.prod(cfg.input_size) / math.prod(small.input_size)
        steps = int(training / (speed.crop * crops + speed.update)) // EPOCHS * EPOCHS
        if steps >= fewest:
            break
    steps, flop = max(steps, EPOCHS), speed.flop * crops
    return Plan(flagfile, steps, steps * flop / 1e12)


def planned(run: Path, seed: int) -> Plan | None:
    """Return the plan of a demo that was interrupted, or is done; None if there is none."""
    file = run / PLAN
    if not file.exists():
        if (run / "checkpoints").exists():
            raise InputError(
                f"{run} holds another run, of an older demo perhaps: delete it, or give another "
                "--runs"
            )
        return None
    try:
        kept = json.loads(file.read_text())
        kept_seed, plan = kept.pop("seed"), Plan(**kept)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{file}: is damaged ({error}); delete {run} and start again") from error
    if kept_seed != seed:
        raise InputError(f"{run} is a demo of another --seed: delete it, or give another --runs")
    return plan


def usable_device() -> str:
    """Return what to train on: a card that TensorFlow cannot use is reported only."""
    from tfcpn.utils import device

    try:
        device.select_device("auto")
        return "auto"
    except InputError as error:
        print(f"training on the CPU; {error}")
        device.select_device("cpu")
        return "cpu"


def minutes(seconds: float) -> str:
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def main(options: Options) -> None:
    args, start = options.args, time.monotonic()
    name = "demo" if args.minutes == MINUTES else f"demo_{args.minutes:g}_minutes"
    data, run = Path(args.data), Path(args.runs) / name
    plan = planned(run, args.seed)
    annotations = {
        split: data / "annotations" / f"person_keypoints_{split}.json" for split in ("train", "val")
    }
    make_people.COMMAND.run(make_people.main, [f"--output={data}", f"--train={TRAINING_IMAGES}"])
    images = [f"--annotations={annotations['train']}", f"--images={data / 'train'}"]
    make_records.COMMAND.run(
        make_records.main, [*images, f"--output={data / 'records'}", "--shards=16"]
    )

    import_tensorflow()
    device = usable_device()
    if plan is None:
        with status("measuring how fast this machine trains"):
            speed = measure(config_of(SMALL))
        plan = choose(speed, 60 * args.minutes - (time.monotonic() - start))
        write_atomically(run / PLAN, json.dumps({**plan._asdict(), "seed": args.seed}))
    cfg = config_of(plan.flagfile)
    what = f"{plan.steps} steps of {cfg.batch_size} people at {{}}x{{}}".format(*cfg.input_size)
    print(f"training {what}, {plan.teraflop:.1f} TFLOP, from random weights", flush=True)
    flags = [
        f"--flagfile={plan.flagfile}",
        f"--experiment={name}",
        f"--model_dir={run}",
        f"--seed={args.seed}",
    ]
    flags += [
        f"--device={device}",
        f"--epochs={EPOCHS}",
        f"--epoch_size={plan.steps // EPOCHS * cfg.batch_size}",
    ]
    flags += [f"--train_records={data / 'records'}", f"--val_images={data / 'val'}"]
    flags += [f"--val_annotations={annotations['val']}"]
    train.COMMAND.run(train.main, flags)
    evaluation.COMMAND.run(evaluation.main, [*flags, "--epoch=latest"])
    evaluated = run / "eval" / f"epoch_{EPOCHS:04d}_{cfg.decoder}"
    image = [f"--annotations={annotations['val']}", f"--images={data / 'val'}"]
    image += [f"--results={evaluated / 'results.json'}", f"--output={run / 'poses.png'}"]
    draw_poses.COMMAND.run(draw_poses.main, image)

    metrics = json.loads((evaluated / "metrics.json").read_text())
    print(
        f"\nAP {metrics['AP']:.3f} on {metrics['people']} drawn people that the network has not "
        f"seen, after {what} "
        f"({plan.teraflop:.1f} TFLOP); the demo took {minutes(time.monotonic() - start)}.\n"
        f"Look at {run / 'poses.png'}; make demo MINUTES={4 * args.minutes:g} goes further."
    )


if __name__ == "__main__":
    COMMAND.run(main)
