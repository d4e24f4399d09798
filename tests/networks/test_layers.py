"""The 1x1 convolution of half precision: Conv2D's numbers by other operations."""

import numpy as np
import pytest
import tensorflow as tf

from tfcpn.base import device
from tfcpn.networks.layers import PointwiseConv, Upsample
from tfcpn.networks.variables import conv_kernels


def outputs_and_gradients(kind, precision, stride, bias, size=(9, 6)):
    """Output, and gradients of input, kernel and bias, of a layer of the kind with weights of its own seed."""
    x = tf.random.stateless_normal((4, *size, 32), (1, 2))
    device.set_precision(precision)
    try:
        init = tf.keras.initializers.GlorotUniform(3)
        layer = kind(16, 1, stride, "same", use_bias=bias, kernel_initializer=init, bias_initializer=init)
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
@pytest.mark.parametrize("precision, tolerance", [("float32", 0), ("bfloat16", 0.01), ("float16", 0.003)])
def test_outputs_and_gradients_are_those_of_the_convolution(precision, tolerance, stride, size, bias):
    ours = outputs_and_gradients(PointwiseConv, precision, stride, bias, size)
    theirs = outputs_and_gradients(tf.keras.layers.Conv2D, precision, stride, bias, size)
    exact = outputs_and_gradients(tf.keras.layers.Conv2D, "float32", stride, bias, size)
    assert len(ours) == 3 + bias
    for a, b, e in zip(ours[:3], theirs, exact):
        assert np.linalg.norm(a - e) <= tolerance * np.linalg.norm(e) and np.abs(e).max() > 0.1
        assert np.linalg.norm(a - e) <= 1.1 * np.linalg.norm(b - e)
    for a, b in zip(ours[3:], theirs[3:]):  # the bias is Keras's in any case
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("precision, convolutions", [("float32", 1), ("bfloat16", 0)])
def test_the_weight_gradient_is_a_product_in_half_precision_only(precision, convolutions):
    x = tf.zeros((1, 4, 4, 8))
    device.set_precision(precision)
    try:
        layer = PointwiseConv(8, 1)
        layer.build(x.shape)
    finally:
        device.set_precision("float32")

    def gradient():
        with tf.GradientTape() as tape:
            y = layer(x)
        return tape.gradient(y, layer.kernel)

    operations = [op.type for op in tf.function(gradient).get_concrete_function().graph.get_operations()]
    assert operations.count("Conv2DBackpropFilter") == convolutions


def test_a_saved_model_of_these_layers_is_read_back(tmp_path):
    """Without being told about them: they are known to Keras's serialisation."""
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
    assert [tuple(k.shape) for k in conv_kernels(model)] == [(3, 3, 3, 1), (3, 3, 3, 1), (1, 1, 3, 4)]
