"""One view of each person: the mapping of keypoints and pixels, and the random parameters."""

import numpy as np
import pytest
import tensorflow as tf

from support.photos import photo
from tfcpn.config import TRAINING_MARGIN, Config
from tfcpn.skeleton import COCO
from tfcpn.training.augmentation import Ranges, SingleViewDraws, draw_single_view, single_view
from tfcpn.transforms.cropping import Window, warp_region
from tfcpn.transforms.normalize import TF_CPN_PREPROCESSING, Preprocessing, denormalize
from tfcpn.transforms.regions import keypoints_to_crop

REPEATED = Preprocessing((0.0, 0.0, 0.0), 255.0, rgb=True, pad_color=None)
SIZE, BOX_EXPANSION = (64, 48), (80, 60)


def draws(rescale=1.0, angle=0.0, mirrored=False, shift=(0.0, 0.0)):
    given = (tf.constant([value]) for value in (rescale, angle, mirrored, shift, 1.0))
    return SingleViewDraws(*given)


def view_of(crops, keypoints, given, preprocessing=TF_CPN_PREPROCESSING, **options):
    return single_view(
        crops,
        keypoints,
        given,
        flip_indices=COCO.flip_indices,
        preprocessing=preprocessing,
        size=SIZE,
        **{"margin": TRAINING_MARGIN, **options},
    )


def crop_of(region, corner_to_corner=False):
    window = Window(tf.constant(photo(300, 400)[..., ::-1].copy()), tf.zeros(2, tf.int32))
    return warp_region(
        window,
        tf.constant(region, tf.float64),
        BOX_EXPANSION,
        TF_CPN_PREPROCESSING.pad_color,
        corner_to_corner,
    )


def keypoints_of(region, xy=((200.0, 150.0), (190.0, 120.0), (0.0, 0.0))):
    keypoints = np.zeros((1, 17, 3), np.float32)
    keypoints[0, : len(xy), :2], keypoints[0, :2, 2] = xy, 2
    return keypoints_to_crop(keypoints, tf.constant([region], tf.float64), BOX_EXPANSION)


# A region of 120 x 160 and its training crop, 1.25 times as large.
REGION, TRAINED = (200.0, 150.0, 120.0, 160.0, 0.0), (200.0, 150.0, 150.0, 200.0, 0.0)


@pytest.mark.parametrize("corner_to_corner", [False, True])
@pytest.mark.parametrize(
    "given, region",
    [
        (draws(), REGION),
        (draws(rescale=0.75), (200.0, 150.0, 90.0, 120.0, 0.0)),
        # Counterclockwise: the region rotates clockwise.
        (draws(angle=10.0, rescale=0.8), (200.0, 150.0, 96.0, 128.0, np.radians(10))),
        # An eighth of the width to the right, a sixteenth of the height up, then rotated about that
        # position.
        (draws(rescale=0.75, shift=(0.125, -0.0625)), (215.0, 140.0, 90.0, 120.0, 0.0)),
        (
            draws(angle=10.0, rescale=0.6, shift=(0.125, 0.0)),
            (215.0, 150.0, 72.0, 96.0, np.radians(10)),
        ),
    ],
)
def test_a_view_equals_a_crop_of_the_expected_region(given, region, corner_to_corner):
    """Pixels and keypoints equal those cut directly from the image."""
    images, keypoints, visibility = view_of(
        crop_of(TRAINED, corner_to_corner)[None],
        keypoints_of(TRAINED),
        given,
        corner_to_corner=corner_to_corner,
    )
    window = Window(tf.constant(photo(300, 400)[..., ::-1].copy()), tf.zeros(2, tf.int32))
    expected = warp_region(
        window,
        tf.constant(region, tf.float64),
        SIZE,
        TF_CPN_PREPROCESSING.pad_color,
        corner_to_corner,
    ).numpy()
    away = np.abs(denormalize(images.numpy(), TF_CPN_PREPROCESSING)[0].astype(int) - expected)
    assert np.median(away) <= 2 and np.percentile(away, 99) < 12  # interpolated twice
    there = keypoints_to_crop(
        np.array([[[200.0, 150.0, 2], [190.0, 120.0, 2]]], np.float32),
        tf.constant([region], tf.float64),
        SIZE,
    )
    np.testing.assert_allclose(keypoints[0, :2], there[0, :, :2], atol=1e-3)
    np.testing.assert_array_equal(visibility[0], [2, 2] + [0] * 15)


def test_a_mirrored_view_swaps_sides():
    plain = view_of(crop_of(TRAINED)[None], keypoints_of(TRAINED), draws())
    images, keypoints, visibility = view_of(
        crop_of(TRAINED)[None], keypoints_of(TRAINED), draws(mirrored=True)
    )
    np.testing.assert_allclose(images, plain[0][:, :, ::-1], atol=1e-5)
    left, right = COCO.keypoints.index("left_eye"), COCO.keypoints.index("right_eye")
    np.testing.assert_allclose(keypoints[0, right, 0], 48 - plain[1][0, left, 0], atol=1e-4)
    assert visibility[0, right] == 2 and visibility[0, left] == 0


def test_keypoints_that_leave_the_view_are_not_labeled():
    _, keypoints, visibility = view_of(
        crop_of(TRAINED)[None], keypoints_of(TRAINED, ((200.0, 150.0), (200.0, 60.0))), draws(0.7)
    )
    np.testing.assert_array_equal(visibility[0, :3], [2, 0, 0])
    assert (keypoints[0, 2:].numpy() < 0).all()


def test_outside_the_crop_is_the_mean_color_or_the_repeated_border():
    white = tf.fill((1, *BOX_EXPANSION, 3), tf.constant(255, tf.uint8))
    turned = draws(angle=45.0, rescale=1.25)
    mean, _, _ = view_of(white, keypoints_of(TRAINED), turned)
    assert (mean[0, 0, 0].numpy() == 0).all() and mean[0, 32, 24].numpy().min() > 0.5
    border, _, _ = view_of(white, keypoints_of(TRAINED), turned, REPEATED)
    np.testing.assert_allclose(border, 1, atol=1e-6)


def test_random_parameters_depend_only_on_the_seed_and_fill_the_ranges():
    a, b, c = (
        draw_single_view(seed, 4000, Ranges(0.8, 1.1, 20)) for seed in ((1, 2), (1, 2), (1, 3))
    )
    np.testing.assert_array_equal(a.angle, b.angle)
    assert not np.array_equal(a.rescale, c.rescale)
    assert 0.8 <= np.min(a.rescale) < 0.801 and 1.099 < np.max(a.rescale) <= 1.1
    assert -20 <= np.min(a.angle) < -19.9 and 19.9 < np.max(a.angle) <= 20
    assert np.mean(a.mirrored) == pytest.approx(0.5, abs=0.03)
    assert not np.any(a.shift)


def test_drawing_a_shift_does_not_change_the_other_parameters():
    plain, moved = (
        draw_single_view((1, 2), 4000, Ranges(0.8, 1.1, 20, shift)) for shift in (0.0, 0.1)
    )
    np.testing.assert_array_equal(plain.angle, moved.angle)
    np.testing.assert_array_equal(plain.rescale, moved.rescale)
    assert -0.1 <= np.min(moved.shift) < -0.0999 and 0.0999 < np.max(moved.shift) < 0.1
    assert abs(np.corrcoef(moved.shift[:, 0], moved.shift[:, 1])[0, 1]) < 0.05


def test_some_views_are_rotated_by_any_angle():
    plain, turned = (
        draw_single_view((1, 2), 4000, Ranges(0.7, 1.2, 20, any_rotation=share))
        for share in (0.0, 0.3)
    )
    far = np.abs(turned.angle) > 20
    assert np.mean(far) == pytest.approx(0.3 * 160 / 180, abs=0.03)
    assert np.max(np.abs(turned.angle)) > 175
    near = np.isclose(turned.angle, plain.angle)
    assert np.mean(near) == pytest.approx(0.7, abs=0.03)
    np.testing.assert_array_equal(plain.rescale, turned.rescale)


def test_a_shifted_view_at_the_widest_zoom_stays_within_the_crop():
    """The crop margin is large enough that image content is never replaced by repeated or mean
    color.
    """
    margin = Config(views=1, shift=0.1).training_margin
    white = tf.fill((1, round(64 * margin), round(48 * margin), 3), tf.constant(255, tf.uint8))
    wide = draws(rescale=1.25, shift=(0.1, -0.1))
    images, _, _ = view_of(white, keypoints_of(TRAINED), wide, margin=margin)
    assert images.numpy().min() > 0.5
    images, _, _ = view_of(white, keypoints_of(TRAINED), wide, margin=TRAINING_MARGIN)
    assert images.numpy().min() == 0
