"""MediaPipe's detector as a network: equal to its file, and written back into it."""

import numpy as np
import pytest
import tensorflow as tf

from support.models import run_tflite
from tfcpn.models.blazepose.detector import anchors
from tfcpn.models.blazepose.detector_model import (
    build_detector,
    convolutions_of,
    export_detector,
    read_detector,
)
from tfcpn.utils.errors import InputError


@pytest.fixture(scope="module")
def detector(mediapipe):
    """Return the file and the network with its last stage to be trained."""
    return mediapipe.detector, build_detector(read_detector(mediapipe.detector), 38)


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32)


def test_the_network_equals_the_interpreter(detector, images):
    file, model = detector
    raw, logits = (t.numpy() for t in model(images, training=False))
    expected = run_tflite(file, images)
    assert raw.shape == (2, len(anchors()), 12) and logits.shape == (2, len(anchors()), 1)
    assert np.abs(raw - expected["Identity"]).max() < 5e-3
    assert np.abs(logits - expected["Identity_1"]).max() < 5e-3


def test_only_the_last_stage_is_trained_and_zeros_stay(detector, images):
    _, model = detector
    layers = [layer for layer in convolutions_of(model) if layer.trainable]
    assert len(layers) == 73 - 38
    masks = [layer.mask for layer in layers if layer.mask is not None]
    assert masks and all(0.2 < mask.mean() < 0.6 for mask in masks)
    with tf.GradientTape() as tape:
        raw, logits = model(images)
        loss = tf.reduce_mean(raw**2) + tf.reduce_mean(logits**2)
    variables = model.trainable_variables
    gradients = dict(zip((v.name for v in variables), tape.gradient(loss, variables)))
    for layer in layers:
        if layer.mask is not None:
            assert not np.any(layer.kernel.numpy()[~layer.mask])
            slope = gradients[layer.kernel.name].numpy()
            assert slope[layer.mask].any() and not slope[~layer.mask].any()
        assert (gradients[layer.bias.name] is None) == layer.shares_bias


def test_the_untrained_network_is_exported_to_the_same_function(detector, images):
    file, model = detector
    content = export_detector(model, file)
    before, after = run_tflite(file, images), run_tflite(content, images)
    assert list(before) == list(after)
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name])


def test_trained_weights_come_back_in_the_graph_of_the_file(mediapipe, images):
    file = mediapipe.detector
    model = build_detector(read_detector(file), 38)
    random = np.random.default_rng(1)
    fixed = {layer.bias.name for layer in convolutions_of(model) if layer.shares_bias}
    for variable in model.trainable_variables:
        if variable.name not in fixed:
            variable.assign(variable * (1 + 0.01 * random.normal(size=variable.shape)))
    content = export_detector(model, file)
    raw, logits = (t.numpy() for t in model(images, training=False))
    found = run_tflite(content, images)
    # The file's weights are float16.
    assert np.abs(raw - found["Identity"]).max() < 0.01 * np.abs(raw).max()
    assert np.abs(logits - found["Identity_1"]).max() < 0.01 * np.abs(logits).max()
    (old,) = [read_detector(file)]
    from tfcpn.models.tflite import TfliteGraph

    assert TfliteGraph(content, "a").tensors() == old.tensors()


def test_values_in_place_of_zeros_are_refused(mediapipe):
    graph = read_detector(mediapipe.detector)
    weights = [(c.kernel.copy(), c.bias) for c in graph.convolutions]
    number = next(n for n, c in enumerate(graph.convolutions) if c.mask is not None)
    weights[number][0][~graph.convolutions[number].mask] = 1
    with pytest.raises(InputError, match="values where the file's sparse kernel has none"):
        graph.with_weights(weights)


def test_other_files_are_refused(mediapipe):
    with pytest.raises(InputError, match="is not MediaPipe's pose detector"):
        read_detector(mediapipe.landmarks)
