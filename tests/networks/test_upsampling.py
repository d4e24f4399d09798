"""1x1 convolutions before the upsampling: the numbers of those behind it, with less work."""

import numpy as np
import pytest
import tensorflow as tf

from tfcpn.base import device
from tfcpn.networks.cpn import build_cpn
from tfcpn.networks.pointwise import PointwiseConv
from tfcpn.networks.upsampling import PyramidConv, Upsample

SIZE = (16, 12)
PYRAMIDS = {
    "four levels": [(16, 12, 8), (8, 6, 8), (4, 3, 6), (2, 3, 5)],
    "one that is doubled": [(8, 6, 8)],
    "one that is six times as large": [(4, 2, 8)],
    "one of that size": [(16, 12, 8)],
    "a gap": [(16, 12, 4), (2, 1, 8)],
}


def levels_of(name: str) -> list:
    return [tf.random.stateless_normal((2, *shape), (1, i)) for i, shape in enumerate(PYRAMIDS[name])]


def conv(kind, *arguments, precision="float32"):
    device.set_precision(precision)
    try:
        init = tf.keras.initializers.GlorotUniform(3)
        return kind(16, *arguments, kernel_initializer=init, bias_initializer=tf.keras.initializers.GlorotUniform(4))
    finally:
        device.set_precision("float32")


def outputs_and_gradients(function, layer, levels) -> list:
    """Output, and gradients of levels, kernel and bias."""
    with tf.GradientTape() as tape:
        tape.watch(levels)
        y = tf.cast(function(levels), tf.float32)
        loss = tf.reduce_sum(y * tf.random.stateless_normal(y.shape, (5, 6)))
    return [t.numpy() for t in (y, *tape.gradient(loss, [*levels, *layer.trainable_variables]))]


def upsampled_first(levels, precision: str) -> list:
    """The original's way."""
    layer = conv(PointwiseConv, 1, precision=precision)
    dtype = layer.compute_dtype
    return outputs_and_gradients(
        lambda x: layer(tf.concat([Upsample(SIZE, dtype=dtype)(t) for t in x], axis=3)), layer, levels
    )


@pytest.mark.parametrize("pyramid", PYRAMIDS)
def test_convolved_first_or_upsampled_first_is_the_same_with_its_gradients(pyramid):
    levels, late = levels_of(pyramid), conv(PyramidConv, SIZE)
    ours, theirs = outputs_and_gradients(late, late, levels), upsampled_first(levels, "float32")
    assert [t.shape for t in ours] == [t.shape for t in theirs] and ours[0].shape == (2, *SIZE, 16)
    for a, b in zip(ours, theirs):
        assert np.linalg.norm(b) > 0 and np.linalg.norm(a - b) <= 3e-6 * np.linalg.norm(b)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("pyramid", PYRAMIDS)
def test_in_half_precision_it_is_as_near_to_float32_as_the_originals_way(pyramid, precision):
    levels, late = levels_of(pyramid), conv(PyramidConv, SIZE, precision=precision)
    ours, theirs = outputs_and_gradients(late, late, levels), upsampled_first(levels, precision)
    for a, b, exact in zip(ours, theirs, upsampled_first(levels, "float32")):
        assert np.linalg.norm(a - exact) <= 2 * np.linalg.norm(b - exact) < 0.1 * np.linalg.norm(exact)


def test_what_is_upsampled_is_what_was_convolved_and_nothing_is_joined():
    layer, levels = conv(PyramidConv, SIZE), levels_of("four levels")
    graph = tf.function(layer).get_concrete_function([tf.TensorSpec(t.shape) for t in levels]).graph
    operations = graph.get_operations()
    assert not [op for op in operations if op.type == "ConcatV2"]
    seen = [op.inputs[0].shape[1] for op in operations if op.type == "Conv2D"]
    assert sorted(seen) == [2, 4, 8, 16]
    assert {op.inputs[0].shape[3] for op in operations if op.type == "ResizeBilinear"} == {16}


def test_a_saved_model_is_read_back(tmp_path):
    images = [tf.keras.Input(shape) for shape in PYRAMIDS["four levels"]]
    model = tf.keras.Model(images, PyramidConv(4, SIZE)(images))
    model.save(tmp_path / "model.keras")
    again, levels = tf.keras.models.load_model(tmp_path / "model.keras"), levels_of("four levels")
    np.testing.assert_array_equal(model(levels), again(levels))


@pytest.mark.parametrize(
    "precision, late", [("float32", False), ("tf32", False), ("bfloat16", True), ("float16", True)]
)
def test_half_precision_always_convolves_first_and_float32_on_request(precision, late):
    device.set_precision(precision)
    try:
        model, asked = build_cpn((64, 64), "resnet50", 17), build_cpn((64, 64), "resnet50", 17, late_upsampling=True)
    finally:
        device.set_precision("float32")
    for name in ("merge/res2", "final_bottleneck/conv1", "final_bottleneck/shortcut"):
        assert isinstance(model.get_layer(name), PyramidConv) == late
        assert isinstance(asked.get_layer(name), PyramidConv)


def test_the_variables_are_the_same_and_begin_the_same():
    early, late = (build_cpn((64, 64), "resnet50", 17, late_upsampling=late) for late in (False, True))
    assert [v.name for v in early.weights] == [v.name for v in late.weights]
    assert all(np.array_equal(a, b) for a, b in zip(early.weights, late.weights))
