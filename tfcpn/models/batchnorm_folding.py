"""Fold batch norms into convolutions, and calibrate batch norms: the function stays the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

CONVOLUTIONS = (tf.keras.layers.Conv2D, tf.keras.layers.DepthwiseConv2D)


def folded_weights(
    layer, norm: tf.keras.layers.BatchNormalization | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of a convolution with the batch norm after it folded in.

    gain = gamma / sqrt(variance + epsilon); kernel * gain, and beta + (bias - mean) * gain.

    Args:
        layer: The convolution.
        norm: The batch norm; None for none.

    Returns:
        Kernel and bias, float64.
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
    mean, variance = (
        w.numpy().astype(np.float64) for w in (norm.moving_mean, norm.moving_variance)
    )
    gain = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        gain = gain * norm.gamma.numpy()
    beta = norm.beta.numpy() if norm.center else 0.0
    return kernel * (gain.reshape(kernel.shape[2:]) if depthwise else gain), beta + (
        bias - mean
    ) * gain


def norms_of_convolutions(model: tf.keras.Model) -> dict[str, str]:
    """Return the name of the batch norm after each convolution that has one of its own."""
    norms = {}
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            before = layer.inbound_nodes[0].inbound_layers
            if isinstance(before, CONVOLUTIONS) and len(before.outbound_nodes) == 1:
                # By name: a layer would keep its model and weights alive.
                norms[before.name] = layer.name
    return norms


class FoldedModel:
    """A copy of a model for prediction, with batch norms folded into convolutions.

    It is equal up to rounding and cannot be trained. Create it under the strategy and precision of
    the source.

    Attributes:
        source: The source, which is unchanged.
        model: The folded model, with the source's weights of the last `sync_weights`.
    """

    def __init__(
        self,
        source: tf.keras.Model,
        build_for_inference: Callable[[], tf.keras.Model] | None = None,
    ):
        """Fold a model.

        Args:
            source: The model.
            build_for_inference: See `Network`; the architecture to use instead of the source's.
        """
        template = build_for_inference() if build_for_inference else source
        self.source, self._norms = source, norms_of_convolutions(template)
        self._folded_bn_names = set(self._norms.values())
        self.model = tf.keras.models.clone_model(template, clone_function=self._clone_layer)
        self.model.trainable = False
        self.sync_weights()

    def _clone_layer(self, layer):
        config = layer.get_config()
        if layer.name in self._folded_bn_names:
            return tf.keras.layers.Activation("linear", name=layer.name, dtype=config["dtype"])
        if not isinstance(layer, CONVOLUTIONS):
            return type(layer).from_config(config)
        kind = type(layer)
        if hasattr(layer, "kernel_unit"):
            kind = next(base for base in CONVOLUTIONS if isinstance(layer, base))
        # Weights in the precision they are used in: rounded once, not in every batch.
        changes = {
            "use_bias": config["use_bias"] or layer.name in self._norms,
            "dtype": layer.compute_dtype,
        }
        return kind.from_config({**config, **changes})

    def sync_weights(self) -> None:
        """Copy the source's current weights.

        All processes must call it, as reading may need them.
        """
        for layer in self.model.layers:
            old = self.source.get_layer(layer.name) if layer.weights else None
            if isinstance(layer, CONVOLUTIONS):
                norm = self._norms.get(layer.name)
                kernel, bias = folded_weights(old, self.source.get_layer(norm) if norm else None)
                layer.set_weights([kernel, bias] if layer.use_bias else [kernel])
            elif layer.weights:
                layer.set_weights(old.get_weights())


def calibrate_norms(model: tf.keras.Model, batches) -> None:
    """Set the statistics of batch norms, or the scales of biases, to those of given images.

    Gain and offset compensate, so that the model's function stays the same up to rounding.

    Args:
        model: The model.
        batches: Arrays of images (N, H, W, 3).
    """
    norms = norms_of_convolutions(model)
    layers = [
        layer
        for layer in model.layers
        if layer.name in norms or (isinstance(layer, CONVOLUTIONS) and hasattr(layer, "bias_unit"))
    ]
    probe = tf.keras.Model(model.input, [layer.output for layer in layers])

    @tf.function
    def moments(images):
        outputs = [
            tf.cast(tf.reshape(o, (-1, o.shape[-1])), tf.float32)
            for o in probe(images, training=False)
        ]
        return [
            tf.concat([tf.reduce_mean(o**power, axis=0) for o in outputs], axis=0)
            for power in (1, 2)
        ]

    measured = np.mean(
        [[m.numpy().astype(np.float64) for m in moments(images)] for images in batches], axis=0
    )
    means, variances = measured[0], np.maximum(measured[1] - measured[0] ** 2, 0)
    start = 0
    for layer in layers:
        channels = layer.output_shape[-1]
        mean, variance = (v[start : start + channels] for v in (means, variances))
        start += channels
        if layer.name not in norms:
            kernel, bias, kernel_unit, old = layer.get_weights()
            unit = np.sqrt(variance)
            unit = np.where(unit > 0, unit, old)
            layer.set_weights([kernel, bias * old / unit, kernel_unit, unit])
            continue
        norm = model.get_layer(norms[layer.name])
        gamma, beta, old_mean, old_variance = norm.get_weights()
        gain = gamma / np.sqrt(old_variance + norm.epsilon)
        norm.set_weights(
            [
                gain * np.sqrt(variance + norm.epsilon),
                beta + gain * (mean - old_mean),
                mean,
                variance,
            ]
        )
