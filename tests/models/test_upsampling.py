"""TensorFlow 1's upsampling, and 1x1 convolutions before it: equal to 1x1 convolutions after it."""

import numpy as np
import pytest
import tensorflow as tf

from tfcpn.models.cpn import build_cpn
from tfcpn.models.layers import ConvLayers, LazyPyramid, PointwiseConv, PyramidConv, Upsample
from tfcpn.utils import device

SIZE = (16, 12)
PYRAMIDS = {
    "four levels": [(16, 12, 8), (8, 6, 8), (4, 3, 6), (2, 3, 5)],
    "one that is doubled": [(8, 6, 8)],
    "one that is six times as large": [(4, 2, 8)],
    "one of that size": [(16, 12, 8)],
    "a gap": [(16, 12, 4), (2, 1, 8)],
}


def test_upsampling_samples_at_i_times_in_over_out():
    """Corners of TensorFlow 1; half-pixel centers of TensorFlow 2 give -0.25, 0.25, 0.75, ..."""
    line = tf.reshape(tf.range(4, dtype=tf.float32), (1, 1, 4, 1))
    up = Upsample((1, 8))(line)[0, 0, :, 0]
    np.testing.assert_allclose(up, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3])


@pytest.mark.parametrize(
    "size, out", [((8, 6), (64, 48)), ((8, 6), (16, 12)), ((3, 5), (7, 13)), ((16, 12), (16, 12))]
)
def test_upsampling_is_tensorflow_1s_resize(size, out):
    x = tf.random.stateless_normal((2, *size, 5), (1, 2))
    expected = tf.compat.v1.image.resize_bilinear(
        x, out, align_corners=False, half_pixel_centers=False
    )
    np.testing.assert_allclose(Upsample(out)(x), expected, atol=1e-5)


@pytest.mark.parametrize(
    "dtype, tolerance", [("float32", 0), ("bfloat16", 0.02), ("float16", 0.003)]
)
@pytest.mark.parametrize(
    "size, out", [((8, 6), (64, 48)), ((8, 6), (16, 12)), ((2, 2), (16, 16)), ((16, 12), (16, 12))]
)
def test_upsampling_is_tensorflow_1s_resize_in_every_precision(size, out, dtype, tolerance):
    x = tf.cast(tf.random.stateless_uniform((2, *size, 5), (1, 2)), dtype)
    expected = tf.compat.v1.image.resize_bilinear(
        tf.cast(x, tf.float32), out, align_corners=False, half_pixel_centers=False
    )
    actual = Upsample(out, dtype=dtype)(x)
    assert actual.dtype == dtype
    np.testing.assert_allclose(tf.cast(actual, tf.float32), expected, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_inputs_of_the_output_size_are_not_resized(dtype):
    function = tf.function(Upsample((8, 6), dtype=dtype)).get_concrete_function(
        tf.TensorSpec((None, 8, 6, 4), dtype)
    )
    assert {op.type for op in function.graph.get_operations()} <= {"Placeholder", "Identity"}


def levels_of(name: str) -> list:
    return [
        tf.random.stateless_normal((2, *shape), (1, i)) for i, shape in enumerate(PYRAMIDS[name])
    ]


def conv(kind, *arguments, precision="float32"):
    device.set_precision(precision)
    try:
        init = tf.keras.initializers.GlorotUniform(3)
        return kind(
            16,
            *arguments,
            kernel_initializer=init,
            bias_initializer=tf.keras.initializers.GlorotUniform(4),
        )
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
    """The order of the original."""
    layer = conv(PointwiseConv, 1, precision=precision)
    dtype = layer.compute_dtype
    return outputs_and_gradients(
        lambda x: layer(tf.concat([Upsample(SIZE, dtype=dtype)(t) for t in x], axis=3)),
        layer,
        levels,
    )


@pytest.mark.parametrize("pyramid", PYRAMIDS)
def test_convolving_first_equals_upsampling_first_with_gradients(pyramid):
    levels, late = levels_of(pyramid), conv(PyramidConv, SIZE)
    actual, original = outputs_and_gradients(late, late, levels), upsampled_first(levels, "float32")
    assert [t.shape for t in actual] == [t.shape for t in original] and actual[0].shape == (
        2,
        *SIZE,
        16,
    )
    for a, b in zip(actual, original):
        assert np.linalg.norm(b) > 0 and np.linalg.norm(a - b) <= 3e-6 * np.linalg.norm(b)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("pyramid", PYRAMIDS)
def test_convolving_first_in_half_precision_is_as_accurate_as_the_original_order(
    pyramid, precision
):
    levels, late = levels_of(pyramid), conv(PyramidConv, SIZE, precision=precision)
    actual, original = outputs_and_gradients(late, late, levels), upsampled_first(levels, precision)
    for a, b, exact in zip(actual, original, upsampled_first(levels, "float32")):
        # A factor of 2: gradients of so few numbers vary by chance.
        threshold = 1e-3 * np.linalg.norm(exact)
        assert np.linalg.norm(a - exact) <= 2 * np.linalg.norm(b - exact) + threshold
        assert np.linalg.norm(b - exact) < 0.1 * np.linalg.norm(exact)


def test_convolved_levels_are_upsampled_and_not_concatenated():
    layer, levels = conv(PyramidConv, SIZE), levels_of("four levels")
    graph = tf.function(layer).get_concrete_function([tf.TensorSpec(t.shape) for t in levels]).graph
    operations = graph.get_operations()
    assert not [op for op in operations if op.type == "ConcatV2"]
    seen = [op.inputs[0].shape[1] for op in operations if op.type == "Conv2D"]
    assert sorted(seen) == [2, 4, 8, 16]
    assert {op.inputs[0].shape[3] for op in operations if op.type == "ResizeBilinear"} == {16}


@pytest.mark.parametrize("pyramid", ["four levels", "one that is doubled", "one without a list"])
def test_a_saved_model_is_loaded(pyramid, tmp_path):
    shapes = PYRAMIDS.get(pyramid, PYRAMIDS["one that is doubled"])
    images = [tf.keras.Input(shape) for shape in shapes]
    model = tf.keras.Model(
        images, PyramidConv(4, SIZE)(images if pyramid in PYRAMIDS else images[0])
    )
    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    levels = [tf.random.stateless_normal((2, *shape), (1, 2)) for shape in shapes]
    np.testing.assert_array_equal(model(levels), again(levels))


@pytest.mark.parametrize(
    "shapes", [[(9, 9, 4), (5, 5, 4)], [(4, 4, 4), (8, 8, 4)]], ids=["uneven", "coarsest first"]
)
def test_levels_that_would_be_upsampled_otherwise_are_refused(shapes):
    with pytest.raises(ValueError, match="is not a whole number of times"):
        PyramidConv(4, SIZE)([tf.zeros((1, *shape)) for shape in shapes])


@pytest.mark.parametrize("how", [{"kernel_size": 3}, {"strides": 2}, {"activation": "relu"}])
def test_unsupported_layer_arguments_are_refused(how):
    with pytest.raises(ValueError, match="needs a kernel of 1, no strides and no activation"):
        PyramidConv(4, SIZE, **how)


@pytest.mark.parametrize("how", [{"kernel": 3}, {"kernel": 1, "stride": 2}])
def test_levels_are_convolved_as_they_are(how):
    levels = LazyPyramid([tf.keras.Input((8, 6, 4))], SIZE)
    with pytest.raises(ValueError, match="kernels of 1 without a stride"):
        ConvLayers(0).conv(levels, 4, name="x", init="he", **how)


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", "float16"])
def test_half_precision_always_convolves_first_and_float32_on_request(precision, asked):
    device.set_precision(precision)
    try:
        layers = ConvLayers(0, late_upsampling=asked)
    finally:
        device.set_precision("float32")
    made = layers.upsample_levels([tf.keras.Input((8, 6, 4))], SIZE, "up")
    assert isinstance(made, LazyPyramid) == (asked or precision in ("bfloat16", "float16"))


def test_the_cpn_convolves_first_at_every_upsampling():
    model = build_cpn((64, 64), "resnet50", 17, late_upsampling=True)
    places = {layer.name for layer in model.layers if isinstance(layer, PyramidConv)}
    assert places == {
        *(f"merge/res{n}" for n in (2, 3, 4)),
        "final_bottleneck/conv1",
        "final_bottleneck/shortcut",
    }


@pytest.mark.slow
def test_late_upsampling_has_the_same_variables_and_initial_values():
    early, late = (
        build_cpn((64, 64), "resnet50", 17, late_upsampling=late) for late in (False, True)
    )
    assert [v.name for v in early.weights] == [v.name for v in late.weights]
    assert all(np.array_equal(a, b) for a, b in zip(early.weights, late.weights))
