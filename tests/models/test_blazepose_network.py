"""MediaPipe's landmark network as a Keras model: equal outputs, all weights, and export back."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from support.commands import ROOT
from support.models import run_tflite
from support.photos import photo
from tfcpn.models.batchnorm_folding import calibrate_norms
from tfcpn.models.blazepose.blazepose import blazepose_network
from tfcpn.models.blazepose.model import build_blazepose, convolutions
from tfcpn.models.blazepose.weights import (
    export_landmark_model,
    folded_convolutions,
    load_landmark_weights,
    read_landmark_model,
)
from tfcpn.models.specs import FULL, LITE
from tfcpn.models.tflite import TfliteGraph
from tfcpn.utils import device
from tfcpn.utils.errors import InputError

# Names of the outputs in the file, in the order of the Keras model.
NAMES = ("Identity", "Identity_1", "Identity_2", "Identity_3", "Identity_4")


def sample_images(count=4):
    """Smooth images, and noise."""
    smooth = [photo(256, 256, seed).astype(np.float32) / 255 for seed in range(count)]
    noise = np.random.default_rng(0).uniform(0, 1, (2, 256, 256, 3)).astype(np.float32)
    return np.concatenate([np.stack(smooth), noise])


def outputs_of(model, images) -> dict[str, np.ndarray]:
    """The outputs of the Keras model by the names of the file."""
    found = model(images, training=False)
    person = tf.sigmoid(found.person)
    arrays = (found.landmarks, person, found.mask, found.heatmaps, found.world)
    count = len(images)
    flat = {"Identity": (count, -1), "Identity_4": (count, -1)}
    return {name: np.reshape(a.numpy(), flat.get(name, a.shape)) for name, a in zip(NAMES, arrays)}


@pytest.fixture(scope="module")
def reference(mediapipe):
    """Images, and the outputs of the original file in tf.lite.Interpreter."""
    images = sample_images()
    return images, run_tflite(mediapipe.landmarks, images)


def assert_same(actual, expected, landmarks=0.1, maps=1e-3):
    """Compare landmarks to a number of crop pixels, and maps relative to the greatest value.

    The last layers of the mask multiply by hundreds, which amplifies the rounding of float16
    weights in the interpreter.
    """
    assert np.abs(actual["Identity"] - expected["Identity"]).max() < landmarks
    assert np.abs(actual["Identity_1"] - expected["Identity_1"]).max() < 1e-3
    for name, least in (("Identity_2", 1e-2), ("Identity_3", maps), ("Identity_4", maps)):
        assert (
            np.abs(actual[name] - expected[name]).max()
            < max(least, maps) * np.abs(expected[name]).max()
        ), name


SCALED_FIRST = [
    "scaled",
    *(pytest.param(norm, marks=pytest.mark.slow) for norm in ("none", "batch")),
]


@pytest.mark.parametrize("norm", SCALED_FIRST)
def test_the_model_equals_mediapipes_file(mediapipe, reference, norm):
    model = build_blazepose(FULL, norm)
    load_landmark_weights(model, mediapipe.landmarks)
    assert_same(outputs_of(model, reference[0]), reference[1])


@pytest.mark.slow
def test_the_model_equals_the_file_on_photographs(mediapipe):
    folder = ROOT.parent / "shared" / "coco_sample" / "val2017"
    if not folder.exists():
        pytest.skip("COCO's sample is not here")
    import cv2

    files = sorted(folder.glob("*.jpg"))[:20]
    images = np.stack(
        [cv2.resize(cv2.imread(str(f)), (256, 256))[..., ::-1] / np.float32(255) for f in files]
    )
    model = build_blazepose(FULL, "scaled")
    load_landmark_weights(model, mediapipe.landmarks)
    assert_same(outputs_of(model, images), run_tflite(mediapipe.landmarks, images))


def test_each_value_of_the_file_is_used_once(mediapipe):
    graph, table = read_landmark_model(mediapipe.landmarks)
    assert table is FULL and len(graph.convolutions) == 96
    assert graph.constants == 3_169_489
    model = build_blazepose(FULL, "none")
    assert sum(int(tf.size(w)) for w in model.weights) == graph.constants
    load_landmark_weights(model, mediapipe.landmarks)
    for layer, read in zip(convolutions(model), graph.convolutions):
        np.testing.assert_array_equal(layer.weights[0].numpy(), read.kernel)
        np.testing.assert_array_equal(layer.weights[1].numpy(), read.bias)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["scaled", "batch"])
def test_calibrating_norms_does_not_change_outputs(mediapipe, reference, norm):
    model = build_blazepose(FULL, norm)
    load_landmark_weights(model, mediapipe.landmarks)
    before = [w.numpy().copy() for w in model.weights]
    calibrate_norms(model, [sample_images(8)])
    assert sum(not np.array_equal(a, b.numpy()) for a, b in zip(before, model.weights)) > 90
    assert_same(outputs_of(model, reference[0]), reference[1])


@pytest.mark.parametrize("norm", SCALED_FIRST)
def test_exporting_unchanged_weights_keeps_the_outputs(mediapipe, reference, norm):
    model = build_blazepose(FULL, norm)
    load_landmark_weights(model, mediapipe.landmarks)
    found = run_tflite(export_landmark_model(model, mediapipe.landmarks), reference[0])
    assert_same(found, reference[1], landmarks=1e-3)


def test_changed_weights_are_exported_into_a_copy_of_the_file(mediapipe):
    """With weights exact in float16, Keras and the interpreter agree, and only weights differ."""
    model = build_blazepose(FULL, "scaled")
    load_landmark_weights(model, mediapipe.landmarks)
    rng = np.random.default_rng(1)
    plain = build_blazepose(FULL, "none")
    for (kernel, bias), target in zip(folded_convolutions(model), convolutions(plain)):
        kernel = kernel * (1 + 0.003 * rng.standard_normal(kernel.shape))
        target.set_weights([kernel.astype(np.float16), bias])
    images = sample_images()
    content = export_landmark_model(plain, mediapipe.landmarks)
    shipped, found = run_tflite(mediapipe.landmarks, images), run_tflite(content, images)
    assert np.abs(found["Identity"] - shipped["Identity"]).max() > 1
    assert_same(outputs_of(plain, images), found)
    old, new = (
        TfliteGraph(Path(mediapipe.landmarks).read_bytes(), "old"),
        TfliteGraph(content, "new"),
    )
    assert new.tensors() == old.tensors() and new.outputs() == old.outputs()


@pytest.mark.parametrize("norm", ["scaled", "batch"])
def test_the_mean_with_the_weights_of_a_file(mediapipe, norm):
    model = build_blazepose(FULL, norm)
    load_landmark_weights(model, mediapipe.landmarks)
    original = folded_convolutions(model)
    rng = np.random.default_rng(1)
    for layer in convolutions(model):
        kernel = layer.weights[0]
        kernel.assign(kernel * (1 + 0.1 * rng.standard_normal(kernel.shape)))
    trained = folded_convolutions(model)
    load_landmark_weights(model, mediapipe.landmarks, share=0.25)
    for mean, ours, theirs in zip(folded_convolutions(model), trained, original):
        for value, our, their in zip(mean, ours, theirs):
            scale = np.abs(their).max() + 1e-6
            np.testing.assert_allclose(value, 0.75 * our + 0.25 * their, atol=1e-5 * scale)


def test_weights_beyond_float16_are_refused(mediapipe):
    model = build_blazepose(FULL, "none")
    load_landmark_weights(model, mediapipe.landmarks)
    convolutions(model)[5].weights[1].assign(tf.fill((8,), 1e6))
    with pytest.raises(InputError, match="convolution 5 .* float16"):
        export_landmark_model(model, mediapipe.landmarks)


def test_the_mask_is_computed_for_a_quarter_of_the_crops_in_training():
    model = build_blazepose(LITE, "none")
    images = sample_images(4)[:5]
    whole, part = model(images, training=False), model(images, training=True)
    assert whole.mask.shape[0] == 5 and part.mask.shape[0] == 2
    np.testing.assert_allclose(part.mask, whole.mask[:2], atol=1e-4)
    assert part.heatmaps.shape[0] == 5


def test_from_random_weights_the_regression_does_not_train_the_encoder():
    """Section 2.4 of the paper: heatmaps train the encoder, coordinates only the regression."""
    model = build_blazepose(LITE, "batch", stop_gradient=True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.abs(model(sample_images(1), training=True).landmarks))
    trained = [
        w.name
        for w, g in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights))
        if g is not None
    ]
    assert trained and all("regression" in name or "landmarks_out" in name for name in trained)


@pytest.mark.parametrize("table", [FULL, LITE], ids=lambda t: t.name)
def test_folded_convolutions_equal_the_model(table):
    """With any batch norm statistics, the folded convolutions compute the same outputs as the
    model.
    """
    model, plain = build_blazepose(table, "batch", seed=2), build_blazepose(table, "none")
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    for layer, (kernel, bias) in zip(convolutions(plain), folded_convolutions(model)):
        layer.set_weights([kernel, bias])
    images = sample_images(1)
    actual, expected = model(images, training=False), plain(images, training=False)
    for a, b in zip(actual, expected):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max())


def test_other_files_are_refused(tmp_path, mediapipe):
    content = Path(mediapipe.landmarks).read_bytes()
    half, other = tmp_path / "half.tflite", tmp_path / "text.tflite"
    half.write_bytes(content[: len(content) // 2])
    other.write_text("no network")
    find = blazepose_network(
        "full", norm="none", seed=0, from_teacher=True, distillation_weight=0.1, heatmap_weight=1.0
    ).find_weights
    for path, what in (
        (half, "damaged"),
        (other, "neither"),
        (tmp_path / "none.tflite", "make models"),
    ):
        with pytest.raises(InputError, match=f"{path.name}.*{what}"):
            find(str(path))
    with pytest.raises(InputError, match="no network of ours|not those of MediaPipe"):
        find(mediapipe.detector)
    with pytest.raises(InputError, match="is the full network: use --blazepose_size=full"):
        blazepose_network(
            "lite",
            norm="none",
            seed=0,
            from_teacher=True,
            distillation_weight=0.1,
            heatmap_weight=1.0,
        ).find_weights(mediapipe.landmarks)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("norm", ["scaled", "batch"])
def test_the_model_is_built_and_differentiated_in_half_precision(precision, norm):
    device.set_precision(precision)
    try:
        model = build_blazepose(LITE, norm)
        with tf.GradientTape() as tape:
            outputs = model(sample_images(1)[:2], training=True)
            loss = tf.reduce_mean(outputs.landmarks)
        gradients = tape.gradient(loss, model.trainable_weights)
        assert all(o.dtype == tf.float32 for o in outputs)
        assert sum(g is not None for g in gradients) > 100
        assert [k.dtype for k, _ in folded_convolutions(model)[:2]] == [np.float32] * 2
    finally:
        device.set_precision("float32")
