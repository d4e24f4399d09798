"""--scale_free for heatmap scale 1.0: the first step equals that of scale 255."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from support.parsing import parse
from tfcpn.builders import build_components
from tfcpn.codecs.heatmap import HeatmapTargets
from tfcpn.models.cpn import build_cpn
from tfcpn.models.model import variables_by_name
from tfcpn.skeleton import COCO
from tfcpn.training.step import losses_and_gradients

SIZE, DECAY = (64, 64), 1e-5


@functools.lru_cache
def first_step(*arguments):
    """Losses and gradients by name at the first step of a run with these flags."""
    cfg, _ = parse("--input_size=64x64", *arguments)
    network = build_components(cfg, COCO).network
    model = network.build()
    rng = np.random.default_rng(0)
    images = tf.constant(rng.uniform(-0.5, 0.5, (2, *SIZE, 3)))
    labels = [tf.constant(rng.random((2, 16, 16, 17)) ** 8 * cfg.heatmap_scale) for _ in range(4)]
    visibility = tf.constant(rng.choice([0.0, 1, 2], (2, 17)))
    weight = cfg.data_loss_weight
    targets = HeatmapTargets(labels, visibility)
    losses, gradients = losses_and_gradients(
        model, network, images, targets, weight_decay=DECAY, data_loss_weight=weight
    )
    names = {id(v): name for name, v in variables_by_name(model).items()}
    return losses, {names[id(v)]: g.numpy() for v, g in zip(model.trainable_variables, gradients)}


def is_output(name):
    """Whether a variable is the gain or offset of one of the five output batch norms."""
    return "BatchNorm" in name and ("pyramid/" in name or "refine_out" in name)


@pytest.fixture(autouse=True)
def in_float64(float64):
    pass


@pytest.fixture
def at_255():
    return first_step()


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_a_scale_free_run_starts_with_the_step_of_scale_255(at_255, scale):
    losses, gradients = first_step(f"--heatmap_scale={scale}", "--scale_free")
    np.testing.assert_allclose(list(losses.values()), list(at_255[0].values()), rtol=1e-6)
    for name, expected in at_255[1].items():
        # Gain and offset of the output layers are in the unit of the labels.
        unit = 255 / scale if is_output(name) else 1
        error = np.linalg.norm(gradients[name] - unit * expected)
        assert error <= 1e-5 * np.linalg.norm(unit * expected) + 1e-8, name


def test_without_scale_free_the_outputs_are_as_large_as_the_labels(at_255):
    losses, _ = first_step("--heatmap_scale=1")
    assert losses["refine"] > 0.5 and losses["decay"] > 0.3
    # The same noise is negligible against labels of 255, and so is the decay.
    silent = at_255[0]["refine"] / 255**2
    assert silent < 0.1 and at_255[0]["decay"] < 1e-2 * at_255[0]["refine"]


def test_the_gain_of_the_output_layers_alone_is_changed():
    model = build_cpn(SIZE, "resnet50", 17, output_gain=0.25)
    gains = {n: v.numpy() for n, v in variables_by_name(model).items() if n.endswith("gamma")}
    assert sum(map(is_output, gains)) == 5
    for name, value in gains.items():
        assert (value == (0.25 if is_output(name) else 1.0)).all(), name
