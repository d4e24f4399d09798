import numpy as np
import pytest
import tensorflow as tf

from tfcpn.models import pretrained
from tfcpn.models.cpn import build_cpn
from tfcpn.models.model import variables_by_name
from tfcpn.transforms.normalize import TF_CPN_PREPROCESSING, normalize


def random_source(make):
    model = make(include_top=False, weights=None, input_shape=(64, 64, 3))
    rng = np.random.default_rng(0)
    for v in model.weights:
        if "bias" in v.name or "beta" in v.name or "moving_mean" in v.name:
            v.assign(rng.normal(0, 0.3, v.shape))
        elif "gamma" in v.name or "variance" in v.name:
            v.assign(rng.uniform(0.5, 1.5, v.shape))
    return model


@pytest.mark.parametrize(
    "backbone, make",
    [
        ("resnet50", tf.keras.applications.ResNet50),
        pytest.param("resnet101", tf.keras.applications.ResNet101, marks=pytest.mark.slow),
    ],
)
def test_every_backbone_variable_is_set(backbone, make):
    model = build_cpn((64, 64), backbone, 17)
    done = pretrained.init_from_keras(model, backbone, random_source(make))
    assert sorted(done) == sorted(
        name for name in variables_by_name(model) if name.startswith("resnet_v1")
    )


@pytest.mark.slow
def test_features_before_the_first_different_stride_equal_keras():
    """Biases, scale and mean are folded; only the zero-padded border shows the shifted mean."""
    source = random_source(tf.keras.applications.ResNet50)
    model = build_cpn((64, 64), "resnet50", 17)
    pretrained.init_from_keras(model, "resnet50", source)
    coarse = np.random.default_rng(1).integers(0, 256, (1, 9, 9, 3)).astype(np.uint8)
    pixels = tf.cast(tf.image.resize(coarse, (64, 64)), tf.float32)
    keras_features = tf.keras.Model(source.input, source.get_layer("conv2_block3_out").output)
    cpn_features = tf.keras.Model(
        model.input, model.get_layer("resnet_v1_50/block1/unit_3/bottleneck_v1/out").output
    )
    a = keras_features(pixels - tf.constant(pretrained.KERAS_MEAN_BGR))[:, 6:-6, 6:-6]
    b = cpn_features(normalize(pixels, TF_CPN_PREPROCESSING))[:, 6:-6, 6:-6]
    assert np.abs(a).max() > 0.1
    np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-3 * np.abs(a).max())
