"""The 1x1 convolution of half precision: the numbers of Conv2D with other operations."""

import numpy as np
import pytest
import tensorflow as tf

from tfcpn.models.layers import PointwiseConv, Upsample
from tfcpn.models.model import conv_kernels
from tfcpn.utils import device


def outputs_and_gradients(kind, precision, stride, bias, size=(9, 6)):
    """Output, and gradients of input, kernel and bias, of a layer of this class with weights from a
    fixed seed.
    """
    x = tf.random.stateless_normal((4, *size, 32), (1, 2))
    device.set_precision(precision)
    try:
        init = tf.keras.initializers.GlorotUniform(3)
        layer = kind(
            16, 1, stride, "same", use_bias=bias, kernel_initializer=init, bias_initializer=init
        )
    finally:
        device.set_precision("float32")

    @tf.function
    def run():
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.cast(layer(x), tf.float32)
            loss = tf.reduce_sum(y * tf.random.stateless_normal(y.shape, (3, 4)))
        return y, *tape.gradient(loss, [x, *layer.trainable_variables])

    return [t.numpy() for t in run()]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("stride, size", [(1, (9, 6)), (2, (9, 6)), (2, (8, 6)), (3, (9, 6))])
@pytest.mark.parametrize(
    "precision, tolerance", [("float32", 0), ("bfloat16", 0.01), ("float16", 0.003)]
)
def test_outputs_and_gradients_are_those_of_the_convolution(
    precision, tolerance, stride, size, bias
):
    actual = outputs_and_gradients(PointwiseConv, precision, stride, bias, size)
    standard = outputs_and_gradients(tf.keras.layers.Conv2D, precision, stride, bias, size)
    exact = outputs_and_gradients(tf.keras.layers.Conv2D, "float32", stride, bias, size)
    assert len(actual) == 3 + bias
    for a, b, e in zip(actual[:3], standard, exact):
        assert np.linalg.norm(a - e) <= tolerance * np.linalg.norm(e) and np.abs(e).max() > 0.1
        assert np.linalg.norm(a - e) <= 1.1 * np.linalg.norm(b - e)
    for a, b in zip(actual[3:], standard[3:]):  # the bias is always that of Keras
        np.testing.assert_array_equal(a, b)


def built(precision: str, stride: int) -> PointwiseConv:
    """A layer for eight input channels."""
    device.set_precision(precision)
    try:
        layer = PointwiseConv(
            8, 1, stride, kernel_initializer=tf.keras.initializers.GlorotUniform(3)
        )
        layer.build((None, None, None, 8))
    finally:
        device.set_precision("float32")
    return layer


def kernel_gradient(layer, x) -> tf.Tensor:
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.cast(layer(x), tf.float32) ** 2)
    return tape.gradient(loss, layer.kernel)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("precision, convolutions", [("float32", 1), ("bfloat16", 0)])
def test_the_weight_gradient_is_a_product_in_half_precision_only(precision, convolutions, stride):
    layer, x = built(precision, stride), tf.zeros((1, 4, 4, 8))
    graph = tf.function(lambda: kernel_gradient(layer, x)).get_concrete_function().graph
    assert [op.type for op in graph.get_operations()].count("Conv2DBackpropFilter") == convolutions


def test_strided_layers_do_not_use_strided_slices():
    """A strided slice, and its gradient, would take longer than the convolution."""
    layer, x = built("bfloat16", 2), tf.zeros((1, 4, 4, 8))
    operations = (
        tf.function(lambda: kernel_gradient(layer, x))
        .get_concrete_function()
        .graph.get_operations()
    )
    strides = [op.inputs[3] for op in operations if op.type == "StridedSlice"]
    assert all((tf.get_static_value(each) == 1).all() for each in strides)
    assert not [op for op in operations if op.type == "StridedSliceGrad"]


@pytest.mark.parametrize("how", ["sizes unknown", "compiled", "on replicas"])
def test_bfloat16_learns_the_same_in_every_context(how, two_replicas):
    x = tf.random.stateless_normal((2, 6, 4, 8), (1, 2))
    expected = kernel_gradient(built("bfloat16", 2), x)
    if how == "on replicas":
        with two_replicas.scope():
            layer = built("bfloat16", 2)
        run = tf.function(lambda: two_replicas.run(lambda: kernel_gradient(layer, x)))
        found = two_replicas.experimental_local_results(run())
    else:
        layer = built("bfloat16", 2)
        some = [tf.TensorSpec((None, None, None, 8))] if how == "sizes unknown" else None
        step = tf.function(lambda x: kernel_gradient(layer, x), some, jit_compile=how == "compiled")
        found = [step(x)]
    for each in found:
        np.testing.assert_allclose(
            each, expected, rtol=0.02, atol=0.02 * float(tf.reduce_max(tf.abs(expected)))
        )


def test_a_saved_model_with_these_layers_is_loaded(tmp_path):
    """Without custom_objects: the layers are registered for serialization."""
    images = tf.keras.Input((8, 8, 3))
    model = tf.keras.Model(images, Upsample((16, 16))(PointwiseConv(4, 1)(images)))
    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    x = tf.random.stateless_normal((2, 8, 8, 3), (1, 2))
    np.testing.assert_array_equal(model(x), again(x))
    assert [type(layer) for layer in again.layers[1:]] == [PointwiseConv, Upsample]


def test_weight_decay_sees_depthwise_kernels():
    images = tf.keras.Input((8, 8, 3))
    x = tf.keras.layers.SeparableConv2D(4, 3)(tf.keras.layers.DepthwiseConv2D(3)(images))
    model = tf.keras.Model(images, tf.keras.layers.BatchNormalization()(x))
    assert [tuple(k.shape) for k in conv_kernels(model)] == [
        (3, 3, 3, 1),
        (3, 3, 3, 1),
        (1, 1, 3, 4),
    ]
