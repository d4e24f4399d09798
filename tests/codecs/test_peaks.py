"""Peaks finer than a pixel: each decoder on a Gaussian with a known center."""

import numpy as np
import pytest
import tensorflow as tf

from tfcpn.builders import build_components
from tfcpn.codecs.decoders import build_peak_finder
from tfcpn.codecs.gaussian import gaussian_kernel
from tfcpn.codecs.heatmap import HeatmapCodec
from tfcpn.config import Config
from tfcpn.config_rules import NETWORK_DEFAULTS
from tfcpn.skeleton import COCO
from tfcpn.utils.errors import InputError

SIZE, KERNEL, SCALE = (64, 48), 7, 255.0
# Sigma of the label Gaussian, from OpenCV's table for that kernel.
SIGMA = np.sqrt(np.sum(gaussian_kernel(KERNEL) * (np.arange(KERNEL) - KERNEL // 2) ** 2))


def gaussians(places, sigma: float = SIGMA) -> np.ndarray:
    """Maps (1, K, h, w) of height SCALE about places x, y."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    maps = [SCALE * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * sigma**2)) for a, b in places]
    return np.array(maps, np.float32)[None]


def error(decoder: str, places, maps=None) -> np.ndarray:
    """Distances in heatmap pixels."""
    maps = gaussians(places) if maps is None else maps
    found = np.stack(build_peak_finder(decoder, SIZE, KERNEL)(tf.constant(maps)), axis=-1)[0]
    return np.linalg.norm(found - np.array(places), axis=1)


PLACES = [(x, y) for x, y in np.random.default_rng(0).uniform((6, 6), (41, 57), (40, 2))]


def test_dark_finds_the_middle_of_a_gaussian():
    """The logarithm of a Gaussian is a parabola, and a blurred Gaussian is a Gaussian: Newton's
    step is exact except for the blur's finite width of seven pixels.
    """
    assert error("dark", PLACES).max() < 0.05
    assert error("tf_cpn", PLACES).mean() > 5 * error("dark", PLACES).mean()


@pytest.mark.parametrize("decoder", ["dark", "tf_cpn"])
def test_maps_without_a_peak_give_finite_numbers(decoder):
    rng = np.random.default_rng(1)
    maps = np.zeros((1, 5, *SIZE), np.float32)
    maps[0, 1], maps[0, 2] = -3, 255
    maps[0, 3, 0, 0] = 9
    maps[0, 4] = rng.normal(0, 50, SIZE)
    codec = HeatmapCodec((256, 192), SIZE, (15, 11, 9, 7), SCALE, [0, 1, 2, 3, 4], decoder)
    keypoints, scores = codec.decode(tf.constant(maps.transpose(0, 2, 3, 1)))
    assert np.isfinite(keypoints).all() and np.isfinite(scores).all()
    assert (keypoints.numpy() >= 0).all() and (keypoints.numpy() <= [192, 256]).all()


def test_dark_stays_at_the_border():
    """There are no neighbors to locate a peak between pixels."""
    assert error("dark", [(0, 30), (47, 63)]).max() == 0


def test_the_flag_chooses_the_decoder():
    shift = []
    for decoder in ("tf_cpn", "dark"):
        codec = build_components(Config(decoder=decoder), COCO).codec
        maps = tf.constant(np.repeat(gaussians([(20.3, 30.4)]), 17, axis=1).transpose(0, 2, 3, 1))
        shift.append(
            np.abs(codec.decode(maps)[0].numpy()[0, 0] - [20.3 * 4 + 2, 30.4 * 4 + 2]).max()
        )
    assert shift[1] < 0.2 < shift[0]


def test_coordinates_need_no_decoder():
    with pytest.raises(InputError, match="--decoder=dark: is for heatmaps"):
        build_components(
            Config(network="blazepose", decoder="dark", **NETWORK_DEFAULTS["blazepose"]), COCO
        )
