"""Where a ResNet backbone's first weights come from, as --init_weights says."""

from __future__ import annotations

import logging

import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.networks import keras_weights, tf1_weights
from tfcpn.networks.resnet_table import SCOPES

_log = logging.getLogger(__name__)


def find(init_weights: str, backbone: str) -> str:
    """--init_weights with "auto" decided: a checkpoint's path, "keras" or "none".

    Raises InputError if a checkpoint that was asked for is not there.
    """
    if init_weights == "auto":
        path = f"data/imagenet/{SCOPES[backbone]}.ckpt"
        if tf1_weights.exists(path):
            return path
        _log.warning(
            "%s not found: the backbone starts from RANDOM weights, which costs AP; the README tells where slim's "
            "ImageNet weights are",
            path,
        )
        return "none"
    if init_weights not in ("none", "keras") and not tf1_weights.exists(init_weights):
        raise InputError(
            f"--init_weights={init_weights} not found; none starts from random weights"
        )
    return init_weights


def load(model: tf.keras.Model, found: str, backbone: str) -> None:
    """Give the backbone of a model its first weights. found: as from `find`."""
    if found == "keras":
        done = keras_weights.init_from_keras(
            model, backbone, keras_weights.load_keras_resnet(backbone)
        )
        _log.info("tf.keras.applications: %d variables set", len(done))
    elif found != "none":
        matched, missing = tf1_weights.init_backbone(model, found)
        _log.info("%s: %d variables restored", found, len(matched))
        if missing:
            _log.warning("%d of the backbone are not in it: %s", len(missing), ", ".join(missing))
