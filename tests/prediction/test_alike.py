"""How alike poses are, and who is left out as the same person twice."""

from dataclasses import replace

import numpy as np
import pytest

from tfcpn.evaluation.oks import tolerances
from tfcpn.prediction.alike import similarity, without_doubles
from tfcpn.prediction.person import Person
from tfcpn.skeleton import COCO, MEDIAPIPE


def person(shift=0.0, score=0.9, certain=1.0) -> Person:
    joints = np.stack([np.linspace(0, 100, 17), np.linspace(0, 200, 17)], axis=1) + shift
    return Person(joints, np.full(17, 0.9, np.float32), np.full(17, certain), score, np.zeros(5), 0)


def test_it_is_cocos_similarity():
    """exp(-d^2 / (2 s^2 (2 sigma)^2)), s^2 the area: .53 of the box of the joints."""
    moved = person().joints.copy()
    moved[:5] += 3
    area = 0.53 * 100 * 200
    expected = np.where(np.arange(17) < 5, np.exp(-18 / (2 * area * (2 * np.array(COCO.sigmas)) ** 2)), 1).mean()
    assert similarity(moved, person(), tolerances(COCO)) == pytest.approx(expected)
    assert similarity(person().joints, person(), tolerances(COCO)) == 1
    assert similarity(moved, person(), tolerances(COCO), loose=3) > expected


def test_only_joints_that_are_certain_count():
    unsure = replace(person(), certain=np.where(np.arange(17) < 5, 0.1, 1.0))
    moved = person().joints.copy()
    moved[:5] += 50
    assert similarity(moved, unsure, tolerances(COCO)) == 1
    moved[5] = np.nan
    assert similarity(moved, person(certain=0.0), tolerances(COCO)) < 1


def test_of_two_that_are_alike_the_surer_one_stays():
    people = [person(score=0.5), person(1.0, score=0.8), person(80.0, score=0.3)]
    assert without_doubles(people, tolerances(COCO), 0.7) == [1, 2]
    assert without_doubles(people, tolerances(COCO), 1.0) == [1, 0, 2]


def test_joints_without_a_tolerance_have_cocos_mean():
    assert tolerances(MEDIAPIPE) == pytest.approx([np.mean(COCO.sigmas)] * 33)
    assert len(tolerances(COCO.with_align_points())) == 17
