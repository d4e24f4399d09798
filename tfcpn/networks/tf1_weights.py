"""TensorFlow 1 checkpoints: slim's, that start a backbone; tf-cpn's own, read whole and written back."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.networks.resnet_table import SCOPES
from tfcpn.networks.variables import variables_by_name

# What the original saves besides the network: Adam's slots and counters, and an unnamed variable for the rate.
_OPTIMIZER = re.compile(
    r".*/Adam(_\d+)?|.*(beta[12]_power|global_step)(_\d+)?|Variable(_\d+)?|learning_rate|lr"
)


def exists(checkpoint: str) -> bool:
    """Whether there is a TensorFlow checkpoint of format V1 (one file) or V2 (an index) under this name."""
    return Path(checkpoint).is_file() or Path(f"{checkpoint}.index").is_file()


def open_tf1_checkpoint(path):
    """A reader of a TensorFlow 1 checkpoint, format V1 or V2. Raises InputError."""
    try:
        return tf.compat.v1.train.NewCheckpointReader(str(path))
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a TensorFlow checkpoint") from error


def init_backbone(model, checkpoint: str) -> tuple[list[str], list[str]]:
    """Start the model from a TensorFlow 1 checkpoint, such as slim's resnet_v1_50.ckpt, as tf-cpn does.

    Every variable whose name and shape match is restored, whether the file is of format V1 or V2. Returns the
    names that matched and the model's backbone variables that did not. Raises InputError if nothing matches.
    """
    reader = open_tf1_checkpoint(checkpoint)
    shapes = reader.get_variable_to_shape_map()
    matched, missing = [], []
    for name, variable in variables_by_name(model).items():
        if shapes.get(name) == variable.shape.as_list():
            variable.assign(reader.get_tensor(name))
            matched.append(name)
        elif name.startswith("resnet_v1"):
            missing.append(name)
    if not matched:
        raise InputError(
            f"{checkpoint}: none of its {len(shapes)} variables belongs to this network"
        )
    return matched, missing


def backbone_of(reader, path) -> str:
    """Which of the backbones the checkpoint holds. Raises InputError if it is none."""
    names = reader.get_variable_to_shape_map()
    for backbone, scope in SCOPES.items():
        if f"{scope}/conv1/weights" in names:
            return backbone
    raise InputError(
        f"{path}: has none of the variables of {', '.join(SCOPES.values())}; is it a tf-cpn checkpoint?"
    )


def compare(model, reader) -> list[str]:
    """What keeps a checkpoint from being this network's: missing, left over and misshapen variables, a line each."""
    theirs = {
        n: tuple(s)
        for n, s in reader.get_variable_to_shape_map().items()
        if not _OPTIMIZER.fullmatch(n)
    }
    ours = {n: tuple(v.shape) for n, v in variables_by_name(model).items()}
    problems = [f"missing: {n} {ours[n]}" for n in ours if n not in theirs]
    problems += [f"left over: {n} {theirs[n]}" for n in sorted(theirs) if n not in ours]
    problems += [
        f"shape: {n} is {theirs[n]}, want {ours[n]}"
        for n in ours
        if n in theirs and theirs[n] != ours[n]
    ]
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
            tf.compat.v1.get_variable(
                name, value.shape, initializer=tf.compat.v1.zeros_initializer()
            )
            for name, value in values.items()
        ]
        saver = tf.compat.v1.train.Saver(variables)
        # All in one run: a session takes longer for each operation that the graph has gained since the last.
        feed = {v.initializer.inputs[1]: value for v, value in zip(variables, values.values())}
        session.run([v.initializer for v in variables], feed)
        saver.save(session, str(path), write_state=False)
