"""People drawn into images."""

from dataclasses import replace

import numpy as np

from support.walking import standing
from tfcpn.inference.estimator import Person
from tfcpn.inference.outputs import draw_people
from tfcpn.skeleton import COCO
from tfcpn.visualization import LEFT, RIGHT


def person(track_id=1, x=200.0, confidence=0.9) -> Person:
    region = np.array([x, 200, 500, 500, 0.4])
    return Person(
        standing(x)[:17], np.full(17, confidence), np.full(17, confidence), 0.9, region, track_id
    )


def drawn(*people, **how):
    image = np.full((400, 400, 3), 100, np.uint8)
    draw_people(image, people, COCO, **how)
    return image


def at(image, a, b):
    """The color in the middle of a limb."""
    x, y = (standing(200)[a] + standing(200)[b]) / 2
    return image[round(y), round(x)].astype(int)


def test_left_limbs_are_warm_and_right_limbs_are_cold():
    image = drawn(person())
    assert np.abs(at(image, 5, 7) - LEFT).max() < 8 and np.abs(at(image, 6, 8) - RIGHT).max() < 8


def test_uncertain_limbs_are_faint_and_absent_ones_are_not_drawn():
    faint = at(drawn(person(confidence=0.4)), 5, 7)
    away = np.abs(faint - LEFT).max()
    assert 40 < away < np.abs(np.array([100, 100, 100]) - LEFT).max()
    assert (drawn(person(confidence=0.1)) == 100).all()


def test_missing_keypoints_are_not_drawn():
    keypoints, confidence = standing(200)[:17].copy(), np.full(17, 0.9)
    keypoints[7], confidence[7] = np.nan, 0
    image = drawn(replace(person(), keypoints=keypoints, confidence=confidence))
    assert (at(image, 5, 7) == 100).all() and np.abs(at(image, 6, 8) - RIGHT).max() < 8


def test_each_track_id_has_a_color_above_the_head():
    first, second = (drawn(person(track_id)) for track_id in (1, 2))
    changed = np.argwhere((first != second).any(axis=2))
    assert len(changed) > 50 and changed[:, 0].max() < 105  # the head's top is at 105


def test_the_region_is_drawn_on_request():
    assert (drawn(person()) != drawn(person(), regions=True)).any()


def test_people_beyond_the_border_are_clipped():
    for x in (-300.0, 0.0, 399.0, 700.0):
        drawn(person(x=x), regions=True)
