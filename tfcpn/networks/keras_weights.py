"""A backbone's first weights from tf.keras.applications, for those who cannot get slim's checkpoint.

Keras's ResNet differs in three ways, of which two fold away exactly: its convolutions have biases (they move into
the batch norm's mean) and its input is not divided by 255 (that moves into conv1's kernel). The third stays: it
strides on the first 1x1 of a block, tf-cpn on the 3x3, so the weights are a start and not the same function.
"""

from __future__ import annotations

import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.networks.resnet_table import SCOPES, UNITS
from tfcpn.networks.variables import variables_by_name
from tfcpn.picture.look import MEAN_BGR

# What tf.keras.applications.resnet.preprocess_input subtracts, BGR.
KERAS_MEAN_BGR = (103.939, 116.779, 123.68)
_PARTS = {"shortcut": 0, "conv1": 1, "conv2": 2, "conv3": 3}


def load_keras_resnet(backbone: str) -> tf.keras.Model:
    """Keras's ResNet with ImageNet weights, which Keras downloads once and keeps. Raises InputError if it cannot."""
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
    """The scope of each of our convolutions -> the stem of Keras's layer names."""
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
    """Set the backbone of `model` from Keras's ResNet `source`; returns the names of the variables that were set."""
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
