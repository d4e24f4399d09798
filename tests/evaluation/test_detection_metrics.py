"""A detector is judged by its most confident detection of a single person, else by the nearest."""

import numpy as np
import pytest

from tfcpn.data.coco import PersonAnnotation
from tfcpn.evaluation.detection_metrics import (
    detect_people,
    detection_table,
    detections_of,
    people_to_find,
)
from tfcpn.models.blazepose.detector import Detection
from tfcpn.skeleton import COCO


def person(image_id, hip=(100.0, 100.0), trainable=True, hips=True) -> PersonAnnotation:
    """An upright person with a circle of radius 50."""
    keypoints = np.zeros((17, 3), np.float32)
    if hips:
        keypoints[list(COCO.hips)] = *hip, 2
    keypoints[list(COCO.shoulders)] = hip[0], hip[1] - 30, 2
    return PersonAnnotation(
        id=image_id,
        image_id=image_id,
        box=(hip[0] - 20, hip[1] - 50, 40.0, 100.0),
        area=4000.0,
        keypoints=keypoints,
        max_radius=50.0,
        num_keypoints=4,
        crowd=not trainable,
    )


def detection(x, y, up=(0.0, -50.0), score=0.9) -> Detection:
    hip = np.array([x, y], float)
    return Detection(score, np.zeros(4), np.stack([hip, hip + up]))


def rows_of(people, found, counts):
    return detect_people(people, COCO, lambda image_id: found[image_id], counts)


def test_people_without_a_torso_or_labels_are_not_to_be_found():
    people = [person(1), person(2, hips=False), person(3, trainable=False)]
    assert [p.id for p in people_to_find(people, COCO)] == [1]


def test_the_most_confident_detection_counts_for_a_single_person():
    found = {1: [detection(160, 100), detection(102, 100)]}
    (alone,) = rows_of([person(1)], found, {1: 1})
    assert alone.distance == pytest.approx(1.2) and not alone.placed and alone.detections == 2
    (among_others,) = rows_of([person(1)], found, {1: 3})
    assert among_others.placed and among_others.detections is None


def test_a_turned_detection_is_in_place_and_not_aligned():
    found = {1: [detection(102, 100, up=(40.0, 0.0))], 2: []}
    turned, missed = rows_of([person(1), person(2)], found, {1: 1, 2: 1})
    assert turned.placed and not turned.aligned and turned.angle == pytest.approx(90)
    assert turned.radius == pytest.approx(0.8)
    assert not missed.found and not missed.placed and missed.detections == 0


def test_the_table_has_a_row_for_each_rotation():
    found = {1: [detection(100, 100)], 2: [detection(100, 100), detection(0, 0)]}
    rows = rows_of([person(1), person(2)], found, {1: 1, 2: 1})
    assert detections_of(rows) == 1.5 and np.isnan(detections_of([]))
    table = detection_table(rows).splitlines()
    assert table[2].startswith("| all | 2 | 1.000 | 1.000 | 1.00 | 0.0 | 1.000 | 1.50 |")
    assert table[3].startswith("| under 30 | 2 ") and len(table) == 4
