"""A run of a few seconds on the drawn people, and its files."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from support.commands import ROOT, run_here
from support.tiny import in_the_cpns_place


def flags(people, model_dir, *more) -> list[str]:
    """The flags of a run of two epochs of two steps."""
    return [
        f"--flagfile={ROOT}/flags/smoke.cfg",
        f"--train_records={people.records}",
        f"--val_images={people.val}",
        f"--val_annotations={people.val_annotations}",
        f"--model_dir={model_dir}",
        *more,
    ]


@pytest.fixture(scope="module")
def tiny_run(people, tmp_path_factory):
    """The folder of a one-epoch run of the tiny network on the drawn people; the network stays
    registered.
    """
    folder = tmp_path_factory.mktemp("run") / "run"
    with in_the_cpns_place():
        run_here(
            "-m",
            "tfcpn.train",
            *flags(people, folder, "--epochs=1", "--eval_every=0", "--noflip_test"),
        )
        yield folder


def weights(model_dir, epoch: int) -> dict[str, np.ndarray]:
    """All tensors of a checkpoint, including those of the optimizer."""
    prefix = str(Path(model_dir) / "checkpoints" / f"epoch_{epoch:04d}" / "variables")
    names = [name for name, shape in tf.train.list_variables(prefix) if shape or "iter" in name]
    return {name: tf.train.load_variable(prefix, name) for name in names}


def logged(model_dir) -> list[dict]:
    """The rows of metrics.csv."""
    with (Path(model_dir) / "metrics.csv").open() as file:
        return list(csv.DictReader(file))
