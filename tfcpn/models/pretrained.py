"""Pretrained weights: TensorFlow 1 checkpoints and tf.keras.applications."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.models.model import variables_by_name
from tfcpn.models.specs import SCOPES, UNITS
from tfcpn.transforms.normalize import MEAN_BGR
from tfcpn.utils.errors import InputError

# Variables besides the network's: Adam's slots and counters, and the learning rate.
_OPTIMIZER = re.compile(
    r".*/Adam(_\d+)?|.*(beta[12]_power|global_step)(_\d+)?|Variable(_\d+)?|learning_rate|lr"
)


def checkpoint_exists(checkpoint: str) -> bool:
    """Return whether a TensorFlow checkpoint of format V1 or V2 exists."""
    return Path(checkpoint).is_file() or Path(f"{checkpoint}.index").is_file()


def open_tf1_checkpoint(path):
    """Return a reader of a TensorFlow 1 checkpoint; InputError if it cannot be read."""
    try:
        return tf.compat.v1.train.NewCheckpointReader(str(path))
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a TensorFlow checkpoint") from error


def init_from_tf1(model, checkpoint: str) -> tuple[list[str], list[str]]:
    """Initialize a model from a TensorFlow 1 checkpoint, such as slim's, as tf-cpn does.

    Every variable with a matching name and shape is restored.

    Returns:
        Names of the restored variables, and of the backbone variables that are not in the
        checkpoint.

    Raises:
        InputError: If nothing matches.
    """
    reader = open_tf1_checkpoint(checkpoint)
    shapes = reader.get_variable_to_shape_map()
    restored, missing = [], []
    for name, variable in variables_by_name(model).items():
        if shapes.get(name) == variable.shape.as_list():
            variable.assign(reader.get_tensor(name))
            restored.append(name)
        elif name.startswith("resnet_v1"):
            missing.append(name)
    if not restored:
        raise InputError(
            f"{checkpoint}: none of its {len(shapes)} variables belongs to this network"
        )
    return restored, missing


def detect_backbone(reader, path) -> str:
    """Return the backbone of a checkpoint; InputError if it has none."""
    names = reader.get_variable_to_shape_map()
    for backbone, scope in SCOPES.items():
        if f"{scope}/conv1/weights" in names:
            return backbone
    raise InputError(
        f"{path}: has none of the variables of {', '.join(SCOPES.values())}; is it a tf-cpn "
        "checkpoint?"
    )


def compare_tf1_variables(model, reader) -> list[str]:
    """Return a line for each missing, unexpected and misshapen variable of a checkpoint."""
    theirs = {
        n: tuple(s)
        for n, s in reader.get_variable_to_shape_map().items()
        if not _OPTIMIZER.fullmatch(n)
    }
    ours = {n: tuple(v.shape) for n, v in variables_by_name(model).items()}
    problems = [f"missing: {n} {ours[n]}" for n in ours if n not in theirs]
    problems += [f"left over: {n} {theirs[n]}" for n in sorted(theirs) if n not in ours]
    problems += [
        f"shape: {n} is {theirs[n]}, expected {ours[n]}"
        for n in ours
        if n in theirs and theirs[n] != ours[n]
    ]
    return problems


def read_tf1_variables(model, reader) -> None:
    """Assign all variables of a model; the checkpoint must have passed the comparison."""
    for name, variable in variables_by_name(model).items():
        variable.assign(reader.get_tensor(name))


def write_tf1_checkpoint(model, path) -> None:
    """Write a TensorFlow 1 checkpoint that tf-cpn's Saver restores.

    With its meta graph: tf-cpn ignores a checkpoint without a .meta file.
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
        # All in one run: a session takes longer for each operation that the graph has gained since
        # the last.
        feed = {v.initializer.inputs[1]: value for v, value in zip(variables, values.values())}
        session.run([v.initializer for v in variables], feed)
        saver.save(session, str(path), write_state=False)


# What tf.keras.applications.resnet.preprocess_input subtracts, BGR.
KERAS_MEAN_BGR = (103.939, 116.779, 123.68)
_PARTS = {"shortcut": 0, "conv1": 1, "conv2": 2, "conv3": 3}


def load_keras_resnet(backbone: str) -> tf.keras.Model:
    """Return Keras's ResNet with ImageNet weights, downloaded once; InputError if it cannot."""
    make = {
        "resnet50": tf.keras.applications.ResNet50,
        "resnet101": tf.keras.applications.ResNet101,
    }[backbone]
    try:
        return make(include_top=False, weights="imagenet", input_shape=(224, 224, 3))
    except Exception as error:  # Keras raises a bare Exception when it cannot download
        raise InputError(
            f"--init_weights=keras: {error}; is there a way to the internet?"
        ) from error


def _layers(backbone: str) -> dict[str, str]:
    """Return the scope of each of our convolutions -> the stem of Keras's layer names."""
    scope = SCOPES[backbone]
    names = {f"{scope}/conv1": "conv1"}
    for block, units in enumerate(UNITS[backbone], start=1):
        for unit in range(1, units + 1):
            for part, number in _PARTS.items():
                if part == "shortcut" and unit > 1:
                    continue
                ours = f"{scope}/block{block}/unit_{unit}/bottleneck_v1/{part}"
                names[ours] = f"conv{block + 1}_block{unit}_{number}"
    return names


def init_from_keras(model: tf.keras.Model, backbone: str, source: tf.keras.Model) -> list[str]:
    """Initialize the backbone of a model from Keras's ResNet.

    Keras's ResNet differs in three ways. Its convolutions have biases, which move into the batch
    norm's mean, and its input is not divided by 255, which moves into conv1's kernel. The third
    difference
    remains: it strides on the first 1x1 of a block, tf-cpn on the 3x3, so the function is not the
    same.

    Args:
        model: The model.
        backbone: Its backbone.
        source: Keras's ResNet.

    Returns:
        Names of the variables that were set.
    """
    ours = variables_by_name(model)
    done = []
    for scope, stem in _layers(backbone).items():
        kernel, bias = (v.numpy() for v in source.get_layer(f"{stem}_conv").weights)
        gamma, beta, mean, variance = (v.numpy() for v in source.get_layer(f"{stem}_bn").weights)
        mean = mean - bias
        if stem == "conv1":
            # Keras's network sees x - its mean; ours sees (x - our mean) / 255.
            shift = [a - b for a, b in zip(MEAN_BGR, KERAS_MEAN_BGR)]
            mean = mean - (kernel.sum(axis=(0, 1)) * tf.constant(shift)[:, None]).numpy().sum(
                axis=0
            )
            kernel = kernel * 255
        values = {"weights": kernel, "BatchNorm/gamma": gamma, "BatchNorm/beta": beta}
        values |= {"BatchNorm/moving_mean": mean, "BatchNorm/moving_variance": variance}
        for name, value in values.items():
            ours[f"{scope}/{name}"].assign(value)
            done.append(f"{scope}/{name}")
    return done


_log = logging.getLogger(__name__)


def find_backbone_weights(init_weights: str, backbone: str) -> str:
    """Resolve --init_weights to a checkpoint, "keras" or "none".

    Raises:
        InputError: For a checkpoint that does not exist.
    """
    if init_weights == "auto":
        path = f"data/imagenet/{SCOPES[backbone]}.ckpt"
        if checkpoint_exists(path):
            return path
        _log.warning(
            "%s not found: the backbone starts from RANDOM weights, which costs AP; "
            "docs/getting_started.md has the address of slim's ImageNet weights",
            path,
        )
        return "none"
    if init_weights not in ("none", "keras") and not checkpoint_exists(init_weights):
        raise InputError(
            f"--init_weights={init_weights} not found; none starts from random weights"
        )
    return init_weights


def load_backbone_weights(model: tf.keras.Model, init_weights: str, backbone: str) -> None:
    """Load initial weights as returned by `find_backbone_weights`."""
    if init_weights == "keras":
        done = init_from_keras(model, backbone, load_keras_resnet(backbone))
        _log.info("tf.keras.applications: %d variables set", len(done))
    elif init_weights != "none":
        restored, missing = init_from_tf1(model, init_weights)
        _log.info("%s: %d variables restored", init_weights, len(restored))
        if missing:
            _log.warning("%d of the backbone are not in it: %s", len(missing), ", ".join(missing))
