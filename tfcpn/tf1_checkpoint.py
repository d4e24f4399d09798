"""tf-cpn's own checkpoints: read with every name and shape checked, and written back."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.cpn import variables_by_name
from tfcpn.errors import InputError
from tfcpn.resnet import SCOPES

# What the original saves besides the network: Adam's slots and counters, and an unnamed variable for the rate.
_OPTIMISER = re.compile(r".*/Adam(_\d+)?|.*(beta[12]_power|global_step)(_\d+)?|Variable(_\d+)?|learning_rate|lr")


def open_checkpoint(path):
    """A reader of a TensorFlow 1 checkpoint, format V1 or V2. Raises InputError."""
    try:
        return tf.compat.v1.train.NewCheckpointReader(str(path))
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a TensorFlow checkpoint") from error


def backbone_of(reader, path) -> str:
    """Which of the backbones the checkpoint holds. Raises InputError if it is none."""
    names = reader.get_variable_to_shape_map()
    for backbone, scope in SCOPES.items():
        if f"{scope}/conv1/weights" in names:
            return backbone
    raise InputError(f"{path}: has none of the variables of {', '.join(SCOPES.values())}; is it a tf-cpn checkpoint?")


def compare(model, reader) -> list[str]:
    """What keeps a checkpoint from being this network's: missing, left over and misshapen variables, a line each."""
    theirs = {n: tuple(s) for n, s in reader.get_variable_to_shape_map().items() if not _OPTIMISER.fullmatch(n)}
    ours = {n: tuple(v.shape) for n, v in variables_by_name(model).items()}
    problems = [f"missing: {n} {ours[n]}" for n in ours if n not in theirs]
    problems += [f"left over: {n} {theirs[n]}" for n in sorted(theirs) if n not in ours]
    problems += [f"shape: {n} is {theirs[n]}, want {ours[n]}" for n in ours if n in theirs and theirs[n] != ours[n]]
    return problems


def read(model, reader) -> None:
    """Assign every variable of the model. The checkpoint must have passed `compare`."""
    for name, variable in variables_by_name(model).items():
        variable.assign(reader.get_tensor(name))


def write(model, path) -> None:
    """Write the model's variables as a TensorFlow 1 checkpoint that tf-cpn's Saver restores.

    With its meta graph: tf-cpn takes a checkpoint without a .meta file for no checkpoint at all.
    """
    values = {name: np.asarray(v) for name, v in variables_by_name(model).items()}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = [
            tf.compat.v1.get_variable(name, value.shape, initializer=tf.compat.v1.zeros_initializer())
            for name, value in values.items()
        ]
        saver = tf.compat.v1.train.Saver(variables)
        for variable, value in zip(variables, values.values()):
            variable.load(value, session)
        saver.save(session, str(path), write_state=False)
