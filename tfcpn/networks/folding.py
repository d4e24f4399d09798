"""Batch norms folded into the convolutions before them: the same function with fewer operations, for prediction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

_CONVOLUTIONS = (tf.keras.layers.Conv2D, tf.keras.layers.DepthwiseConv2D)


def folded_weights(
    layer, norm: tf.keras.layers.BatchNormalization | None
) -> tuple[np.ndarray, np.ndarray]:
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


class FoldedModel:
    """A model of its own that predicts what another one predicts, to rounding, with every batch norm behind a
    convolution folded into it. It cannot be trained on.

    source: that other model, which stays as it is. model: this one, with the weights that the other one had when
    `take_weights` was last called, as it is at first. To be made under the source's strategy and precision.
    build_lean: a network's, if it has one: what it makes gives the operations, and the source its weights alone.
    """

    def __init__(
        self,
        source: tf.keras.Model,
        build_for_inference: Callable[[], tf.keras.Model] | None = None,
    ):
        like = build_for_inference() if build_for_inference else source
        self.source, self._norms = source, {}
        for layer in like.layers:
            if isinstance(layer, tf.keras.layers.BatchNormalization):
                before = layer.inbound_nodes[0].inbound_layers
                if isinstance(before, _CONVOLUTIONS) and len(before.outbound_nodes) == 1:
                    # By name: a layer would keep its model, whose weights nobody needs.
                    self._norms[before.name] = layer.name
        self._gone = set(self._norms.values())
        self.model = tf.keras.models.clone_model(like, clone_function=self._made)
        self.model.trainable = False
        self.sync_weights()

    def _made(self, layer):
        config = layer.get_config()
        if layer.name in self._gone:
            return tf.keras.layers.Activation("linear", name=layer.name, dtype=config["dtype"])
        if not isinstance(layer, _CONVOLUTIONS):
            return type(layer).from_config(config)
        kind = type(layer)
        if hasattr(layer, "kernel_unit"):
            kind = next(base for base in _CONVOLUTIONS if isinstance(layer, base))
        # Weights in the precision that they are used in: rounded once, and not in every batch.
        own = {
            "use_bias": config["use_bias"] or layer.name in self._norms,
            "dtype": layer.compute_dtype,
        }
        return kind.from_config({**config, **own})

    def sync_weights(self) -> None:
        """The source's weights of now. Of several processes all must call it, since reading may need the others."""
        for layer in self.model.layers:
            old = self.source.get_layer(layer.name) if layer.weights else None
            if isinstance(layer, _CONVOLUTIONS):
                norm = self._norms.get(layer.name)
                kernel, bias = folded_weights(old, self.source.get_layer(norm) if norm else None)
                layer.set_weights([kernel, bias] if layer.use_bias else [kernel])
            elif layer.weights:
                layer.set_weights(old.get_weights())
