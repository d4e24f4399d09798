import numpy as np
import pytest
import tensorflow as tf

from tfcpn.models.cpn import build_cpn
from tfcpn.models.model import conv_kernels
from tfcpn.utils import device


def test_outputs_are_a_quarter_of_the_input_and_float32():
    model = build_cpn((128, 96), "resnet50", 17)
    outputs = model(np.zeros((2, 128, 96, 3), np.float32))
    assert [m.shape for m in (*outputs.global_maps, outputs.refine)] == [(2, 32, 24, 17)] * 5


def test_weight_decay_acts_on_91_kernels_of_resnet50():
    assert len(conv_kernels(build_cpn((64, 64), "resnet50", 17))) == 91


@pytest.mark.slow
def test_initial_weights_depend_only_on_the_seed():
    a, b, c = (build_cpn((64, 64), "resnet50", 17, seed=seed).weights for seed in (1, 1, 2))
    assert all(np.array_equal(x, y) for x, y in zip(a, b))
    assert not np.array_equal(a[0], c[0])


def test_the_backbone_starts_as_he_and_the_pyramid_as_glorot():
    kernels = {k.name: k.numpy() for k in conv_kernels(build_cpn((64, 64), "resnet50", 17))}
    he = kernels["resnet_v1_50/block4/unit_1/bottleneck_v1/conv2/kernel:0"]
    assert he.std() == pytest.approx(np.sqrt(2 / (9 * 512)), rel=0.02)
    glorot = kernels["lateral/res5/kernel:0"]
    assert np.abs(glorot).max() == pytest.approx(np.sqrt(6 / (2048 + 256)), rel=0.01)


@pytest.mark.parametrize("precision", ["bfloat16", "float32", "tf32", "float16"])
def test_products_of_float32_are_shortened_on_request_only(precision):
    """Labels and decoding are products in float32 with every precision setting."""
    try:
        device.set_precision(precision)
        assert tf.config.experimental.tensor_float_32_execution_enabled() == (precision == "tf32")
    finally:
        device.set_precision("float32")


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_mixed_precision_keeps_variables_and_outputs_in_float32(precision):
    device.set_precision(precision)
    try:
        model = build_cpn((64, 64), "resnet50", 17)
    finally:
        device.set_precision("float32")
    assert {v.dtype for v in model.weights} == {tf.float32}
    assert {t.dtype for t in tf.nest.flatten(model.output)} == {tf.float32}
    assert model.get_layer("refine_out").compute_dtype == "float32"
    assert model.get_layer("final_bottleneck/conv3").compute_dtype == precision
