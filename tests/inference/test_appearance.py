"""Appearance of people: the colors of clothes."""

import numpy as np
import pytest

from support.walking import standing
from tfcpn.inference.estimator import Person
from tfcpn.inference.tracker import color_signature, color_similarity, update_appearance
from tfcpn.skeleton import COCO, from_names


def person(x=200.0, y=200.0) -> Person:
    return Person(
        standing(x, y)[:17], np.ones(17), np.ones(17), 0.9, np.array([x, y, 250, 250, 0.0]), 1
    )


def dressed(color, light=1.0):
    image = np.full((400, 400, 3), 90, np.uint8)
    image[120:215, 165:235] = np.clip(np.array(color) * light, 0, 255)
    return color_signature(image, person(), COCO)


def test_the_same_clothes_are_similar_in_other_light_and_different_clothes_are_not():
    red, blue = (40, 40, 200), (200, 60, 40)
    assert color_similarity(dressed(red), dressed(red)) == 1
    assert (
        color_similarity(dressed(red), dressed(red, 0.85))
        > 0.5
        > 0.1
        > color_similarity(dressed(red), dressed(blue))
    )


def test_patches_outside_the_image_do_not_count():
    image = np.full((400, 400, 3), 90, np.uint8)
    half = color_signature(image, person(x=0.0), COCO)
    assert 0 < np.isfinite(half[:, 0]).sum() < len(half)
    assert color_similarity(half, color_signature(image, person(), COCO)) == pytest.approx(1)
    assert (
        color_similarity(color_signature(image, person(x=-500.0), COCO), dressed((40, 40, 200)))
        == 1
    )  # nothing to compare


def test_the_appearance_is_a_moving_average():
    old, new = dressed((40, 40, 200)), dressed((40, 40, 200), 0.8)
    mixed = update_appearance(old, new, 0.1)
    np.testing.assert_allclose(mixed, old + 0.1 * (new - old))
    partly = new.copy()
    partly[0] = np.nan
    np.testing.assert_array_equal(update_appearance(old, partly, 0.1)[0], old[0])
    assert update_appearance(None, new, 0.1) is new and update_appearance(old, None, 0.1) is old


def test_keypoints_without_a_torso_have_no_appearance():
    hand = from_names("hand", ("thumb", "index"), ())
    assert color_signature(np.zeros((9, 9, 3), np.uint8), person(), hand) is None
    assert color_similarity(None, dressed((40, 40, 200))) == 1
