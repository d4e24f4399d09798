"""Batch norms put back where a file has folded them away: from measured statistics, so that nothing changes."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfcpn.networks.blazepose_layers import NORM_EPSILON
from tfcpn.networks.blazepose_model import convolutions, norm_of


def measure_norms(model: tf.keras.Model, batches) -> None:
    """Set each batch norm's statistics to those of what comes into it, and gain and offset so that they cancel.

    batches: arrays of images (N, 256, 256, 3). The function that the model computes with moving statistics stays what
    it was, to rounding, and training mode, which uses a batch's own, computes nearly the same.
    """
    layers = [layer for layer in convolutions(model) if norm_of(model, layer) is not None]
    probe = tf.keras.Model(model.input, [layer.output for layer in layers])
    count, sums, squares = 0, 0.0, 0.0
    for images in batches:
        outputs = [tf.reshape(o, (-1, o.shape[-1])) for o in probe(images, training=False)]
        means = np.concatenate([tf.reduce_mean(tf.cast(o, tf.float32), axis=0).numpy() for o in outputs])
        moments = np.concatenate([tf.reduce_mean(tf.cast(o, tf.float32) ** 2, axis=0).numpy() for o in outputs])
        count, sums, squares = count + 1, sums + means.astype(np.float64), squares + moments.astype(np.float64)
    means, variances = sums / count, np.maximum(squares / count - (sums / count) ** 2, 0)
    start = 0
    for layer in layers:
        norm = norm_of(model, layer)
        gamma, beta, old_mean, old_variance = norm.get_weights()
        mean, variance = (v[start : start + len(gamma)] for v in (means, variances))
        start += len(gamma)
        gain = gamma / np.sqrt(old_variance + NORM_EPSILON)
        new_gamma = gain * np.sqrt(variance + NORM_EPSILON)
        norm.set_weights([new_gamma, beta + gain * (mean - old_mean), mean, variance])
