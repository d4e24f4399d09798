"""Batch norms folded into the convolutions before them: the same function with fewer operations, for prediction."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

_CONVOLUTIONS = (tf.keras.layers.Conv2D, tf.keras.layers.DepthwiseConv2D)


def folded_weights(layer, norm: tf.keras.layers.BatchNormalization | None) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias, float64, of a convolution that does what it and the batch norm behind it do in prediction.

    gain = gamma / sqrt(variance + epsilon); kernel * gain, and beta + (bias - mean) * gain. norm: None for a
    convolution without one.
    """
    depthwise = isinstance(layer, tf.keras.layers.DepthwiseConv2D)
    if hasattr(layer, "kernel_unit"):
        kernel, bias = (tensor.numpy().astype(np.float64) for tensor in layer.scaled())
    else:
        kernel = (layer.depthwise_kernel if depthwise else layer.kernel).numpy().astype(np.float64)
        channels = kernel.shape[2] * kernel.shape[3] if depthwise else kernel.shape[3]
        bias = np.zeros(channels) if layer.bias is None else layer.bias.numpy().astype(np.float64)
    if norm is None:
        return kernel, bias
    mean, variance = (w.numpy().astype(np.float64) for w in (norm.moving_mean, norm.moving_variance))
    gain = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        gain = gain * norm.gamma.numpy()
    beta = norm.beta.numpy() if norm.center else 0.0
    return kernel * (gain.reshape(kernel.shape[2:]) if depthwise else gain), beta + (bias - mean) * gain


def folded_model(model: tf.keras.Model) -> tf.keras.Model:
    """A model of its own that predicts what `model` predicts, to rounding, with every batch norm behind a convolution
    folded into it. It cannot be trained on: its weights are those of now. `model` stays as it is.
    """
    norms = {}
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            before = layer.inbound_nodes[0].inbound_layers
            if isinstance(before, _CONVOLUTIONS) and len(before.outbound_nodes) == 1:
                norms[before.name] = layer
    gone = {norm.name for norm in norms.values()}

    def made(layer):
        config = layer.get_config()
        if layer.name in gone:
            return tf.keras.layers.Activation("linear", name=layer.name, dtype=config["dtype"])
        if not isinstance(layer, _CONVOLUTIONS):
            return type(layer).from_config(config)
        kind = type(layer)
        if hasattr(layer, "kernel_unit"):
            kind = next(base for base in _CONVOLUTIONS if isinstance(layer, base))
        biased = config["use_bias"] or layer.name in norms
        return kind.from_config({**config, "use_bias": biased})

    folded = tf.keras.models.clone_model(model, clone_function=made)
    for layer in folded.layers:
        old = model.get_layer(layer.name)
        if isinstance(layer, _CONVOLUTIONS):
            kernel, bias = folded_weights(old, norms.get(layer.name))
            layer.set_weights([kernel, bias] if layer.use_bias else [kernel])
        elif layer.weights:
            layer.set_weights(old.get_weights())
    folded.trainable = False
    return folded
