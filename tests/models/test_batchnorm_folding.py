"""Batch norms folded into convolutions: equal predictions up to rounding."""

import gc
import weakref
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from tfcpn.codecs.heatmap import HeatmapCodec
from tfcpn.evaluation.predictor import Predictor
from tfcpn.models.batchnorm_folding import FoldedModel
from tfcpn.models.blazepose.model import build_blazepose
from tfcpn.models.cpn import build_cpn, cpn_network
from tfcpn.models.specs import FULL
from tfcpn.skeleton import COCO
from tfcpn.transforms.cropping import CropSpec
from tfcpn.transforms.normalize import MEAN_BGR
from tfcpn.utils.device import set_precision

SIZE = (64, 64)


def some_weights(model, seed):
    """Set values as after some training, so that no norm is the identity."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "kernel" not in variable.name:
            low = 0.5 if "gamma" in variable.name or "variance" in variable.name else -0.3
            variable.assign(rng.uniform(low, low + 1, variable.shape).astype(np.float32))


@pytest.fixture(scope="module")
def networks():
    return {
        "cpn": lambda: build_cpn(SIZE, "resnet50", 17),
        "blazepose": lambda: build_blazepose(FULL, "batch"),
    }


def images_for(model):
    return (
        np.random.default_rng(0).uniform(-0.5, 0.5, (2, *model.input_shape[1:])).astype(np.float32)
    )


@pytest.mark.parametrize("name", ["cpn", "blazepose"])
def test_a_folded_network_has_no_norms_predicts_the_same_and_syncs_weights(networks, name):
    model = networks[name]()
    folded, images = FoldedModel(model), images_for(model)
    assert not [x for x in folded.model.layers if isinstance(x, tf.keras.layers.BatchNormalization)]
    for seed in (1, 2):
        some_weights(model, seed)
        folded.sync_weights()
        expected = tf.nest.flatten(model(images, training=False))
        for a, b in zip(expected, tf.nest.flatten(folded.model(images, training=False))):
            assert np.abs(a).max() > 0 and np.abs(a - b).max() <= 3e-5 * np.abs(a).max()


def multiplications(function, images) -> int:
    """Count multiplications of the convolutions that the output of a function needs."""
    graph = tf.function(function).get_concrete_function(tf.TensorSpec(images.shape)).graph
    needed, waiting = set(), [t.op for t in graph.outputs]
    while waiting:
        op = waiting.pop()
        if op not in needed:
            needed.add(op)
            waiting += [t.op for t in op.inputs]
    convolutions = [op for op in needed if op.type == "Conv2D"]
    return sum(
        int(np.prod(op.outputs[0].shape[1:3]) * np.prod(op.inputs[1].shape)) for op in convolutions
    )


@pytest.mark.slow
def test_the_folded_inference_cpn_predicts_the_same_with_a_seventh_fewer_multiplications():
    network = cpn_network(SIZE, "resnet50", 17)
    model = network.build()
    some_weights(model, 1)
    images, folded = images_for(model), FoldedModel(model, network.build_for_inference)
    plain, lean = (
        partial(lambda m, x: m(x, training=False).refine, m) for m in (model, folded.model)
    )
    expected = plain(images)
    assert np.abs(lean(images) - expected).max() <= 3e-5 * np.abs(expected).max()
    assert multiplications(lean, images) < 0.86 * multiplications(plain, images)


@pytest.mark.slow
def test_the_inference_model_is_released():
    network, made = cpn_network(SIZE, "resnet50", 17), []

    def build():
        made.append(weakref.ref(model := network.build_for_inference()))
        return model

    folded = FoldedModel(network.build(), build)
    gc.collect()
    assert folded.model and made[0]() is None


@pytest.mark.slow
def test_a_folding_predictor_finds_the_same_keypoints_and_gets_new_weights_by_refresh():
    model, codec = (
        build_cpn(SIZE, "resnet50", 17),
        HeatmapCodec(SIZE, (16, 16), (15, 11, 9, 7), 255, COCO.flip_indices),
    )
    how = model, cpn_network(SIZE, "resnet50", 17), codec, CropSpec(SIZE, False, MEAN_BGR)
    plain, folding = Predictor(*how), Predictor(*how, fold=True)
    crops = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3)).astype(np.uint8)
    before = folding(crops)[0].numpy()
    some_weights(model, 1)
    np.testing.assert_array_equal(folding(crops)[0], before)
    for a, b in zip(plain(crops), folding.refresh_weights()(crops)):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-3)
    assert np.abs(folding(crops)[0] - before).max() > 1


def test_folded_statistics_are_the_mean_over_replicas(two_replicas):
    strategy = two_replicas
    with strategy.scope():
        inputs = tf.keras.Input((8, 8, 3))
        model = tf.keras.Model(
            inputs, tf.keras.layers.BatchNormalization()(tf.keras.layers.Conv2D(4, 3)(inputs))
        )
        for replica, value in enumerate((1.0, 3.0)):
            strategy.experimental_local_results(model.layers[-1].moving_mean)[replica].assign(
                [value] * 4
            )
        folded = FoldedModel(model)
    np.testing.assert_allclose(
        folded.model.layers[1].bias.numpy(), [-2.0 / np.sqrt(1.001)] * 4, rtol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_folding_in_half_precision_is_as_accurate_as_not_folding(precision):
    network = cpn_network(SIZE, "resnet50", 17)
    model = network.build()
    images = images_for(model)
    expected = model(images, training=False).refine
    try:
        set_precision(precision)
        half = build_cpn(SIZE, "resnet50", 17)
        half.set_weights(model.get_weights())
        folding = FoldedModel(half, network.build_for_inference).model
        plain, folded = (each(images, training=False).refine for each in (half, folding))
    finally:
        set_precision("float32")
    kernels = {
        layer.kernel.dtype for layer in folding.layers if isinstance(layer, tf.keras.layers.Conv2D)
    }
    assert kernels == {tf.float32, tf.as_dtype(precision)}  # the output layers are in float32
    away, folded_away = (np.abs(maps - expected).mean() for maps in (plain, folded))
    assert 0 < folded_away < 1.5 * away
