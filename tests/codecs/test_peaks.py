"""Peaks finer than a pixel: what each way makes of a Gaussian whose middle is known."""

import numpy as np
import pytest
import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.codecs.gaussian import gaussian_kernel
from tfcpn.codecs.heatmap import HeatmapCodec
from tfcpn.codecs.peaks import REACH, SHARPNESS, _two_best, peaks_of
from tfcpn.parts import make_parts
from tfcpn.settings.config import BLAZEPOSE, Config
from tfcpn.skeleton import COCO

SIZE, KERNEL, SCALE = (64, 48), 7, 255.0
# The width of the labels' Gaussian, of OpenCV's table for that kernel.
SIGMA = np.sqrt(np.sum(gaussian_kernel(KERNEL) * (np.arange(KERNEL) - KERNEL // 2) ** 2))


def gaussians(places, sigma: float = SIGMA) -> np.ndarray:
    """Maps (1, K, h, w) of height SCALE about places x, y."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    maps = [SCALE * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * sigma**2)) for a, b in places]
    return np.array(maps, np.float32)[None]


def error(decoder: str, places, maps=None) -> np.ndarray:
    """Distances in heatmap pixels."""
    maps = gaussians(places) if maps is None else maps
    found = np.stack(peaks_of(decoder, SIZE, KERNEL, SCALE)(tf.constant(maps)), axis=-1)[0]
    return np.linalg.norm(found - np.array(places), axis=1)


PLACES = [(x, y) for x, y in np.random.default_rng(0).uniform((6, 6), (41, 57), (40, 2))]


def test_dark_finds_the_middle_of_a_gaussian():
    """Of a Gaussian the logarithm is a parabola, and a blurred Gaussian is one: Newton's step is exact, but for the
    blur's being of seven pixels.
    """
    assert error("dark", PLACES).max() < 0.05
    assert error("tf_cpn", PLACES).mean() > 5 * error("dark", PLACES).mean()


def test_soft_argmax_is_the_mean_of_the_softmax():
    """Beside a plain sum; and near the middle, since a Gaussian is the same on both sides."""
    maps = gaussians(PLACES)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for place in range(3):
        row, column = np.unravel_index(maps[0, place].argmax(), SIZE)
        window = (abs(x - column) <= REACH) & (abs(y - row) <= REACH)
        weights = np.exp(SHARPNESS * maps[0, place].astype(np.float64) / SCALE) * window
        expected = np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()
        found = np.stack(peaks_of("soft_argmax", SIZE, KERNEL, SCALE)(tf.constant(maps)), axis=-1)[0, place]
        np.testing.assert_allclose(found, expected, atol=1e-3)
    assert error("soft_argmax", PLACES).max() < 0.1


@pytest.mark.parametrize("decoder", ["dark", "soft_argmax", "tf_cpn"])
def test_maps_without_a_summit_give_numbers(decoder):
    rng = np.random.default_rng(1)
    maps = np.zeros((1, 5, *SIZE), np.float32)
    maps[0, 1], maps[0, 2] = -3, 255
    maps[0, 3, 0, 0] = 9
    maps[0, 4] = rng.normal(0, 50, SIZE)
    codec = HeatmapCodec((256, 192), SIZE, (15, 11, 9, 7), SCALE, [0, 1, 2, 3, 4], decoder)
    joints, scores = codec.decode(tf.constant(maps.transpose(0, 2, 3, 1)))
    assert np.isfinite(joints).all() and np.isfinite(scores).all()
    assert (joints.numpy() >= 0).all() and (joints.numpy() <= [192, 256]).all()


def test_dark_stays_at_the_border():
    """There are no neighbours to tell a summit by."""
    assert error("dark", [(0, 30), (47, 63)]).max() == 0


def test_the_flag_chooses_the_decoder():
    shift = []
    for decoder in ("tf_cpn", "dark"):
        codec = make_parts(Config(decoder=decoder), COCO).codec
        maps = tf.constant(np.repeat(gaussians([(20.3, 30.4)]), 17, axis=1).transpose(0, 2, 3, 1))
        shift.append(np.abs(codec.decode(maps)[0].numpy()[0, 0] - [20.3 * 4 + 2, 30.4 * 4 + 2]).max())
    assert shift[1] < 0.2 < shift[0]


def test_coordinates_need_no_decoder():
    with pytest.raises(InputError, match="--decoder=dark: is of heatmaps"):
        make_parts(Config(network="blazepose", decoder="dark", **BLAZEPOSE), COCO)


def codec_with(subpixel: bool, decoder: str) -> HeatmapCodec:
    return HeatmapCodec((256, 192), SIZE, (15, 11, 9, 7), SCALE, COCO.mirror, decoder, subpixel)


def joints_anywhere(seed: int = 2) -> np.ndarray:
    """(2, 17, 2), not too near to the border."""
    return np.random.default_rng(seed).uniform((24, 24), (168, 232), (2, 17, 2)).astype(np.float32)


def test_subpixel_labels_lead_back_to_the_joint():
    """Through labels and DARK a joint comes back to a fifth of a crop pixel; through tf-cpn's to a pixel or two."""
    joints, seen = joints_anywhere(), np.full((2, 17), 2.0, np.float32)
    errors = []
    for subpixel, decoder in ((True, "dark"), (False, "tf_cpn")):
        codec = codec_with(subpixel, decoder)
        back = codec.decode(codec.encode(joints, seen).maps[-1])[0]
        errors.append(np.linalg.norm(back - joints, axis=-1).max())
    assert errors[0] < 0.2 and errors[1] > 1


def test_subpixel_labels_of_a_mirror_image_are_the_mirrored_labels():
    """To the last digits, wherever the joint is; of labels on pixels this holds for whole coordinates only."""
    joints, seen = joints_anywhere(), np.full((2, 17), 2.0, np.float32)
    mirrored = joints[:, COCO.mirror] * [-1, 1] + [192, 0]
    codec = codec_with(True, "dark")
    there, back = codec.encode(joints, seen).maps[-1], codec.encode(mirrored.astype(np.float32), seen).maps[-1]
    np.testing.assert_allclose(codec.flip(back), there, atol=SCALE * 1e-4)


def test_subpixel_labels_are_as_wide_and_as_empty_as_the_usual_ones():
    joints, seen = joints_anywhere(), np.full((2, 17), 2.0, np.float32)
    joints[0, 3] = -1e6
    for ours, usual in zip(
        codec_with(True, "dark").encode(joints, seen).maps, codec_with(False, "dark").encode(joints, seen).maps
    ):
        assert not ours[0, ..., 3].numpy().any() and not usual[0, ..., 3].numpy().any()
        mass = [np.delete(np.sum(maps, axis=(1, 2)).ravel(), 3) for maps in (ours, usual)]
        np.testing.assert_allclose(mass[0], mass[1], rtol=0.07)


def test_the_two_best_pixels_are_those_of_a_search_over_the_whole_map():
    """Equal ones included: whole numbers, few of them, some below zero, some maps flat."""
    rng = np.random.default_rng(0)
    maps = rng.integers(-3, rng.integers(-2, 4, (40, 1, 1, 1)), (40, 3, 5, 7)).astype(np.float32)
    maps[0], maps[1] = 0, -1
    (x, y), (x2, y2) = _two_best(tf.constant(maps))
    flat = maps.reshape(40, 3, -1).copy()
    first = flat.argmax(axis=2)
    np.put_along_axis(flat, first[..., None], 0, axis=2)
    second = flat.argmax(axis=2)
    np.testing.assert_array_equal(y * 7 + x, first)
    np.testing.assert_array_equal(y2 * 7 + x2, second)
