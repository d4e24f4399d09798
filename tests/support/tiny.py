"""A convolution and a batch norm instead of the CPN, for tests of any network."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import tensorflow as tf

from tfcpn import builders
from tfcpn.codecs.heatmap import HeatmapCodec
from tfcpn.models.model import Network, conv_kernels, variables_by_name
from tfcpn.transforms.normalize import TF_CPN_PREPROCESSING


def build(input_size, keypoints: int) -> tf.keras.Model:
    images = tf.keras.Input((*input_size, 3))
    init = tf.keras.initializers.GlorotUniform(1)
    x = tf.keras.layers.Conv2D(keypoints, 4, 4, kernel_initializer=init, name="only")(images)
    x = tf.keras.layers.BatchNormalization(name="norm")(x)
    dtype = (
        tf.keras.mixed_precision.global_policy().variable_dtype
    )  # float32 under a mixed precision policy
    return tf.keras.Model(images, tf.keras.layers.Activation("linear", dtype=dtype)(x))


def hill(outputs) -> tf.Tensor:
    """Lower the maps (N, h, w, K) with the distance from a point, so that the peak is never decided
    by rounding among many equal values, for example at crops beyond the image.
    """
    y, x = (np.arange(n)[:, None] for n in outputs.shape[1:3])
    away = np.hypot(y - 0.41 * len(y), x.T - 0.57 * len(x))
    return outputs - tf.constant(0.05 * away[None, :, :, None], outputs.dtype)


def losses(outputs, targets, teacher=None) -> dict[str, tf.Tensor]:
    """Two losses of different size, so that they are not confused."""
    error = tf.reduce_mean(tf.square(outputs - targets.maps[-1]))
    return {"global": error, "refine": 3 * error}


def tiny(cfg, skeleton) -> tuple[Network, HeatmapCodec]:
    """The network and codec of a Config, as `builders` returns them."""
    network = Network(
        name="tiny",
        preprocessing=TF_CPN_PREPROCESSING,
        build=lambda: build(cfg.input_size, skeleton.num_keypoints),
        prediction=hill,
        losses=losses,
        loss_names=("global", "refine"),
        variables=variables_by_name,
        kernels=conv_kernels,
        keypoint_variables=("only/", "norm/"),
        find_weights=lambda init_weights: init_weights,
        load_weights=lambda model, found: None,
    )
    kernels, scale = cfg.label_kernels, cfg.heatmap_scale
    return network, HeatmapCodec(
        cfg.input_size, cfg.heatmap_size, kernels, scale, skeleton.flip_indices
    )


@contextmanager
def in_the_cpns_place():
    """Train and evaluate the tiny network instead of the CPN, in fixtures of a module."""
    usual, builders.NETWORK_BUILDERS["cpn"] = builders.NETWORK_BUILDERS["cpn"], tiny
    try:
        yield
    finally:
        builders.NETWORK_BUILDERS["cpn"] = usual


# For a separate process, `python -c TINY module arguments`: run a module with the tiny network.
TINY = (
    "import runpy, sys; sys.path.insert(0, 'tests'); from support.tiny import tiny; "
    "from tfcpn import builders; "
    "builders.NETWORK_BUILDERS['cpn'] = tiny; runpy.run_module(sys.argv.pop(1), "
    "run_name='__main__', alter_sys=True)"
)


@pytest.fixture
def tolerate_ties(monkeypatch):
    """Allow exported files to differ where maps are flat."""
    monkeypatch.setattr("tfcpn.export.comparison.NEAR", 4.0)


@pytest.fixture
def tiny_network(monkeypatch):
    """Commands train and evaluate the tiny network as cpn."""
    monkeypatch.setitem(builders.NETWORK_BUILDERS, "cpn", tiny)
