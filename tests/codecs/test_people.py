"""All people of an image as points, and as targets of a detector."""

import numpy as np
import pytest
import tensorflow as tf

from tfcpn.codecs.people import (
    MAX_PEOPLE,
    NUM_POINTS,
    POINTS_OF_PERSON,
    PeopleCodec,
    faces,
    people_points,
)
from tfcpn.skeleton import COCO, LSP


def person(hips=(50, 60), shoulders=(50, 30), nose=(50, 20)):
    keypoints = np.zeros((17, 3), np.float32)
    for indices, place in ((COCO.hips, hips), (COCO.shoulders, shoulders), (COCO.nose, nose)):
        if place is not None:
            keypoints[list(indices)] = (*place, 2)
    return keypoints


def points_of(*keypoints, trainable=None, size=(100, 200)):
    count = len(keypoints)
    people = {
        "box": np.array([[10.0 * i, 5, 40, 80] for i in range(1, count + 1)]),
        "keypoints": np.stack(keypoints),
        "reach": np.full(count, 45.0, np.float32),
        "trainable": np.ones(count) if trainable is None else np.array(trainable),
    }
    return people_points(people, np.array(size), COCO).numpy()


def targets_of(points):
    """Encode points as a view that shows the image as it is."""
    xy = np.where(points[:, 2:] > 0, points[:, :2], -1)
    targets = PeopleCodec().encode(tf.constant(xy[None]), tf.constant(points[None, :, 2]))
    return [value.numpy()[0] for value in targets]


def test_a_face_is_about_the_nose_or_between_neck_and_head():
    keypoints = np.zeros((2, 17, 3))
    keypoints[0, 0] = 10, 20, 2
    found = faces(keypoints, np.array([100.0, 50.0]), COCO).numpy()
    np.testing.assert_allclose(found[0], [10, 20, 60])
    assert np.isnan(found[1]).all()
    keypoints = np.zeros((1, 14, 3))
    keypoints[0, LSP.neck[0]], keypoints[0, LSP.head[0]] = (50, 60, 2), (50, 40, 1)
    np.testing.assert_allclose(faces(keypoints, np.array([9.0]), LSP), [[50, 58, 52]])


def test_a_known_person_becomes_face_points_and_radius():
    face, points, radius, ignored = targets_of(points_of(person()))
    np.testing.assert_allclose(points[0], [50, 60, 50, 15], rtol=1e-6)
    assert radius[0] == pytest.approx(45) and not radius[1:].any()
    np.testing.assert_allclose(face[0], [50, 20, 27], rtol=1e-5)
    assert not ignored.any()


def test_people_without_the_points_and_crowds_become_ignored_boxes():
    headless = person(nose=None)
    face, _, radius, ignored = targets_of(
        points_of(headless, person(), person(), trainable=[1, 1, 0])
    )
    assert (radius > 0).tolist() == [True] + [False] * (MAX_PEOPLE - 1)
    assert face[0, 0] == 50
    np.testing.assert_allclose(ignored[1], [10, 5, 50, 85])
    np.testing.assert_allclose(ignored[2], [30, 5, 70, 85])


def test_a_person_whose_face_has_left_the_view_is_not_to_be_found():
    points = points_of(person())
    points[2, 2] = 0
    *_, radius, ignored = targets_of(points)
    assert not radius.any() and not ignored.any()


def test_those_to_learn_from_come_first_and_the_number_is_limited():
    crowd = [person(nose=None)] * MAX_PEOPLE + [person()] * 2
    points = points_of(*crowd)
    assert points.shape == (NUM_POINTS, 3)
    *_, radius, ignored = targets_of(points)
    assert (radius > 0).sum() == 2 and ignored.any(axis=1).sum() == MAX_PEOPLE - 2


def test_an_image_without_people_has_its_corners_only():
    people = {
        "box": np.zeros((0, 4)),
        "keypoints": np.zeros((0, 17, 3), np.float32),
        "reach": np.zeros(0, np.float32),
        "trainable": np.zeros(0),
    }
    points = people_points(people, np.array([100, 200]), COCO).numpy()
    assert not points[: MAX_PEOPLE * POINTS_OF_PERSON, 2].any()
    np.testing.assert_allclose(points[-2:], [[0, 0, 2], [200, 100, 2]])
