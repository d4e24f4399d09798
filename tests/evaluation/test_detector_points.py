"""Alignment points from MediaPipe's detector: matching to boxes, and dropped boxes."""

import cv2
import numpy as np
import pytest

from tfcpn.data.detections import PersonBox
from tfcpn.data.images import ImageFile
from tfcpn.evaluation.eval_dataset import add_detected_points, match_detections
from tfcpn.models.blazepose.detector import Detection
from tfcpn.utils.errors import InputError


def box(*values):
    return PersonBox(1, values, 1.0, annotation_id=7)


def detection(x, y, max_radius, score=0.9):
    """An upright person with the mid-hip at x, y."""
    return Detection(score, np.zeros(4), np.array([[x, y], [x, y - max_radius]], float))


def test_each_box_gets_the_matching_detection():
    boxes = [box(0, 0, 40, 100), box(200, 0, 40, 100)]
    found = match_detections(boxes, [detection(222, 50, 50), detection(20, 52, 48)])
    assert [b.points[:2] for b in found] == [(20, 52), (222, 50)]
    assert [b.box for b in found] == [b.box for b in boxes] and found[0].annotation_id == 7


def test_a_detection_is_matched_once_in_the_order_of_scores():
    boxes = [box(0, 0, 40, 100), box(10, 0, 40, 100)]
    found = match_detections(boxes, [detection(60, 50, 50, 0.9), detection(59, 50, 50, 0.6)])
    assert found[1].points[:2] == (60, 50) and found[0].points[:2] == (59, 50)


def test_a_box_far_from_all_detections_has_no_points():
    assert match_detections([box(0, 0, 40, 100)], [detection(400, 50, 50)])[0].points is None
    assert match_detections([box(0, 0, 40, 100)], [])[0].points is None


def test_an_image_set_without_detections_is_reported(mediapipe, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((100, 80, 3), 128, np.uint8))
    with pytest.raises(InputError, match="finds no person in the 1 boxes"):
        add_detected_points(
            [box(0, 0, 40, 100)],
            [ImageFile(str(tmp_path / "a.png"), 100, 80, 1)],
            mediapipe.detector,
        )
