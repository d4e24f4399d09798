"""What a folded network gets back from measured statistics and computes the same with: batch norms, or units."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfcpn.networks.blazepose_layers import NORM_EPSILON
from tfcpn.networks.blazepose_model import convolutions, norm_of


def calibrate_norms(model: tf.keras.Model, batches) -> None:
    """Set each batch norm's statistics to those of what comes into it, and gain and offset so that they cancel; or
    each scaled convolution's unit of its bias to the deviation of what it puts out.

    batches: arrays of images (N, 256, 256, 3). The function that the model computes outside training mode stays what
    it was, to rounding.
    """
    layers = [
        layer
        for layer in convolutions(model)
        if norm_of(model, layer) or hasattr(layer, "bias_unit")
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
        norm = norm_of(model, layer)
        if norm is None:
            kernel, bias, kernel_unit, old = layer.get_weights()
            unit = np.sqrt(variance)
            unit = np.where(unit > 0, unit, old)
            layer.set_weights([kernel, bias * old / unit, kernel_unit, unit])
            continue
        gamma, beta, old_mean, old_variance = norm.get_weights()
        gain = gamma / np.sqrt(old_variance + NORM_EPSILON)
        norm.set_weights(
            [
                gain * np.sqrt(variance + NORM_EPSILON),
                beta + gain * (mean - old_mean),
                mean,
                variance,
            ]
        )
