"""Harder augmentation: --color_jitter, --random_erasing and --random_half_body."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from tfcpn.models import cpn
from tfcpn.models.blazepose import losses
from tfcpn.skeleton import COCO, Skeleton
from tfcpn.training.augmentation import (
    ERASED,
    Ranges,
    build_augmentation,
    color_jitter,
    draw_single_view,
    lower_body_mask,
    random_erasing,
    select_half_bodies,
)
from tfcpn.transforms.normalize import TF_CPN_PREPROCESSING, denormalize, normalize
from tfcpn.utils.errors import InputError

SIZE = (64, 48)


def views(count=64):
    pixels = np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3)).astype(np.uint8)
    return normalize(pixels, TF_CPN_PREPROCESSING)


def test_color_jitter_stays_within_limits_and_differs_by_view():
    images = views()
    changed = color_jitter(images, (3, 4), 0.3).numpy()
    gray = np.asarray(images).mean(axis=-1)
    contrast = changed.mean(axis=-1).std(axis=(1, 2)) / gray.std(axis=(1, 2))
    assert 0.7 <= contrast.min() < 0.8 and 1.2 < contrast.max() <= 1.3
    brighter = changed.mean(axis=(1, 2, 3)) - gray.mean(axis=(1, 2))
    assert np.abs(brighter).max() <= 0.15 + 1e-5 and brighter.std() > 0.05
    colorful = (changed - changed.mean(axis=-1, keepdims=True)).std(axis=(1, 2, 3))
    colorful /= (images - gray[..., None]).numpy().std(axis=(1, 2, 3)) * contrast
    assert 0.69 < colorful.min() < 0.8 and 1.2 < colorful.max() < 1.31


def test_brightness_is_relative_to_the_range_of_the_inputs():
    images = np.zeros((4, 8, 8, 3), np.float32)
    narrow, wide = (color_jitter(images, (3, 4), 0.3, white).numpy() for white in (1.0, 2.0))
    assert np.abs(narrow).max() > 0.01
    np.testing.assert_allclose(wide, 2 * narrow, atol=1e-6)


def test_random_erasing_covers_one_rectangle_with_the_given_probability():
    images, rng = views(400), np.random.default_rng(1)
    keypoints = rng.uniform(0, 1, (400, 17, 2)) * SIZE[::-1]
    before = rng.choice([0.0, 1.0, 2.0], (400, 17)).astype(np.float32)
    changed, seen = random_erasing(
        images,
        keypoints.astype(np.float32),
        before,
        seed=(3, 4),
        probability=0.5,
        preprocessing=TF_CPN_PREPROCESSING,
    )
    changed, seen = changed.numpy(), seen.numpy()
    hidden = (changed != images.numpy()).any(axis=-1)
    of_view = hidden.any(axis=(1, 2))
    assert 0.4 < of_view.mean() < 0.6
    for image, mask in zip(changed[of_view], hidden[of_view]):
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        inside = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (inside == inside[0, 0]).all() and mask.sum() == inside[..., 0].size
        assert len(rows) <= 0.4 * 64 + 1 and len(columns) <= 0.4 * 48 + 1
    x, y = np.moveaxis(keypoints.astype(int), -1, 0)
    behind = hidden[np.arange(400)[:, None], y, x]
    assert 0.01 < behind.mean() < 0.2
    # Visible keypoints are occluded there, except at pixels on the edge of the rectangle.
    expected = np.where(behind, np.minimum(before, np.float32(ERASED)), before)
    assert np.mean(seen == expected) > 0.995
    erased = denormalize(changed[of_view], TF_CPN_PREPROCESSING)[hidden[of_view]]
    assert erased.min() < 20 and erased.max() > 235


def test_erased_keypoints_are_visible_to_no_network_and_differ_from_labeled_occlusion():
    assert losses.OCCLUDED < ERASED < min(losses.VISIBLE, cpn.VISIBLE)


@pytest.mark.parametrize("count", [1, 4])
def test_augmentation_depends_only_on_the_seed_and_keeps_keypoints(count):
    rng = np.random.default_rng(0)
    crops = tf.constant(rng.integers(0, 256, (3, *SIZE, 3)), tf.uint8)
    keypoints = tf.constant(
        np.concatenate([rng.uniform(5, 40, (3, 17, 2)), np.full((3, 17, 1), 2)], -1), tf.float32
    )
    plain, hard = Ranges(), Ranges(random_erasing=1.0, color_jitter=0.3)
    apply = build_augmentation(
        count,
        ranges=hard,
        flip_indices=COCO.flip_indices,
        preprocessing=TF_CPN_PREPROCESSING,
        size=SIZE,
    )
    first, again, other = (
        apply(crops, keypoints, (1, 2)),
        apply(crops, keypoints, (1, 2)),
        apply(crops, keypoints, (1, 3)),
    )
    np.testing.assert_array_equal(first[0], again[0])
    assert np.abs(first[0] - other[0]).max() > 0.1
    without = build_augmentation(
        count,
        ranges=plain,
        flip_indices=COCO.flip_indices,
        preprocessing=TF_CPN_PREPROCESSING,
        size=SIZE,
    )(crops, keypoints, (1, 2))
    np.testing.assert_array_equal(first[1], without[1])
    assert (first[2] <= without[2]).numpy().all() and (
        (first[2] > 0) == (without[2] > 0)
    ).numpy().all()
    assert np.abs(first[0] - without[0]).max() > 0.1


def test_the_lower_body_is_everything_from_the_hips_down():
    lower = [name for name, low in zip(COCO.keypoints, lower_body_mask(COCO)) if low]
    assert lower == [
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ]


def test_keypoint_names_without_body_halves_are_refused():
    names = Skeleton("hand", tuple(f"finger_{i}" for i in range(8)))
    with pytest.raises(
        InputError,
        match=r"--random_half_body: the keypoint names \(finger_0, .*\) do not define halves",
    ):
        lower_body_mask(names)


def half_views(share, people, labeled=slice(None)):
    """People in the center of the crop, 60 high and 20 wide, and the keypoints in the view."""
    size, inside = (96, 96), np.linspace(0, 1, 17)
    keypoints = np.zeros((people, 17, 3), np.float32)
    keypoints[..., 0] = 60 + 20 * (inside - 0.5)
    keypoints[..., 1] = 60 + 60 * (
        inside - 0.5
    )  # from the nose down to the ankles, in COCO's order
    keypoints[:, labeled, 2] = 2
    ranges = Ranges(rescale_min=1.0, rescale_max=1.0, rotation=0.0, random_half_body=share)
    lower = lower_body_mask(COCO)
    crops = tf.zeros((people, 120, 120, 3), tf.uint8)
    _, moved, visibility = build_augmentation(
        1,
        ranges=ranges,
        flip_indices=COCO.flip_indices,
        preprocessing=TF_CPN_PREPROCESSING,
        size=size,
        select=partial(select_half_bodies, probability=share, lower_body=lower) if share else None,
    )(crops, keypoints, (0, 1))
    return moved.numpy(), visibility.numpy(), np.array(lower)


def test_a_half_body_fills_the_view_and_the_rest_of_the_body_leaves_it():
    moved, visibility, lower = half_views(1.0, 40)
    heights = {}
    for half in (True, False):
        chosen = (visibility[:, lower == half] > 0).all(axis=1) & (
            visibility[:, lower != half] == 0
        ).any(axis=1)
        assert 5 < chosen.sum() < 35, "each half is shown"
        y = moved[chosen][:, lower == half, 1]
        np.testing.assert_allclose((y.min(axis=1) + y.max(axis=1)) / 2, 48, atol=0.1)
        heights[half] = (y.max(axis=1) - y.min(axis=1)).mean()
    # The upper half has 37.5 of the 96 pixels of the region's height and gets 1 / 1.5 of the view;
    # the lower half is enlarged to .4 of the region at most.
    assert heights[False] == pytest.approx(96 / 1.5, rel=0.01)
    assert heights[True] == pytest.approx(18.75 / 0.4, rel=0.01)


def test_people_not_drawn_or_with_too_few_keypoints_are_shown_whole():
    whole, *_ = half_views(0.0, 40)
    np.testing.assert_array_equal(half_views(1.0, 40, slice(9, 13))[0][:, 9:13], whole[:, 9:13])
    some, *_ = half_views(0.3, 200)
    whole = half_views(0.0, 200)[0]
    assert 0.2 < (some != whole).any(axis=(1, 2)).mean() < 0.4


def test_select_half_bodies_returns_scale_and_center_of_each_half():
    keypoints = np.zeros((1, 17, 3), np.float32)
    keypoints[0, 5:9] = [[10, 20, 2], [30, 25, 2], [12, 60, 1], [14, 90, 0]]
    region = np.array([100, 100], np.float32)

    def half(choice):
        draws = draw_single_view((0, 0), 1, Ranges())._replace(choice=tf.constant([choice]))
        shown = select_half_bodies(
            keypoints, draws, region, probability=0.5, lower_body=lower_body_mask(COCO)
        )
        return [value.numpy()[0].tolist() for value in shown]

    scale, center, angle = half(0.1)
    assert scale == pytest.approx(0.4 * 1.5) and center == [20, 40] and angle == 0
    assert half(0.4) == [1, [0, 0], 0], "no legs are labeled"
