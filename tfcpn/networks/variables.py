"""A model's variables under TensorFlow 1's names, and those that weight decay acts on."""

from __future__ import annotations

import tensorflow as tf

_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


def variables_by_name(model: tf.keras.Model) -> dict[str, tf.Variable]:
    """The model's variables under the names they have in tf-cpn's checkpoints, in the order of the graph."""
    return {
        v.name.split(":")[0].replace("/kernel", "/weights").replace("/bias", "/biases"): v
        for v in model.weights
    }


def conv_kernels(model: tf.keras.Model) -> list[tf.Variable]:
    """Every convolution's kernel, depthwise ones too: what weight decay acts on (no biases, no batch norm)."""
    return [v for v in model.weights if v.name.split(":")[0].rsplit("/", 1)[-1] in _KERNELS]
