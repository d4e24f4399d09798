"""--init_weights: slim's checkpoint, weights of Keras, the default path, or none."""

import logging

import numpy as np
import pytest
import tensorflow as tf

from support import recipe
from support.tf1_files import write_tf1
from tfcpn.models import pretrained
from tfcpn.models.cpn import cpn_network
from tfcpn.models.model import variables_by_name
from tfcpn.utils.errors import InputError

NETWORK = cpn_network((64, 64), "resnet50", 17)
CONV1 = "resnet_v1_50/conv1/weights"


@pytest.fixture(scope="module")
def model():
    return NETWORK.build()


@pytest.fixture
def slim(tmp_path, monkeypatch):
    """slim's checkpoint at the default path in the current folder, with one variable."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/imagenet").mkdir(parents=True)
    path = "data/imagenet/resnet_v1_50.ckpt"
    write_tf1(path, {CONV1: recipe.weight(CONV1, (7, 7, 3, 64))}, 1)
    return path


@pytest.mark.parametrize("asked", ["auto", "data/imagenet/resnet_v1_50.ckpt"])
def test_slims_checkpoint_is_found_and_initializes_the_backbone(model, slim, asked):
    found = NETWORK.find_weights(asked)
    assert found == slim
    NETWORK.load_weights(model, found)
    np.testing.assert_array_equal(
        variables_by_name(model)[CONV1], recipe.weight(CONV1, (7, 7, 3, 64))
    )


def test_a_missing_default_checkpoint_gives_random_weights_and_a_warning(
    model, tmp_path, monkeypatch, caplog
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("tfcpn"), "propagate", True)
    before = variables_by_name(model)[CONV1].numpy()
    with caplog.at_level("WARNING", logger="tfcpn.models.pretrained"):
        assert NETWORK.find_weights("auto") == "none"
    assert "the backbone starts from RANDOM weights" in caplog.text
    NETWORK.load_weights(model, "none")
    np.testing.assert_array_equal(variables_by_name(model)[CONV1], before)


def test_a_missing_checkpoint_is_named():
    with pytest.raises(InputError, match="--init_weights=nowhere.ckpt not found"):
        NETWORK.find_weights("nowhere.ckpt")


def test_keras_weights_initialize_the_backbone(model, monkeypatch):
    source = tf.keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    monkeypatch.setattr(pretrained, "load_keras_resnet", lambda backbone: source)
    assert NETWORK.find_weights("keras") == "keras"
    NETWORK.load_weights(model, "keras")
    kernel = source.get_layer("conv1_conv").kernel.numpy() * 255
    np.testing.assert_allclose(variables_by_name(model)[CONV1], kernel, rtol=1e-6)
