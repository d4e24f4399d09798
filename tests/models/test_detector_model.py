"""MediaPipe's detector: anchors, decoding, suppression, and detections on drawn people."""

import cv2
import numpy as np
import pytest

from tfcpn.checkpoints.detectors import load_pose_detector
from tfcpn.models.blazepose.detector import anchors, decode_boxes, iou, weighted_nms
from tfcpn.utils.errors import InputError


def test_anchors_are_two_in_each_cell_of_28_and_14_and_six_in_each_of_7():
    found = anchors()
    assert found.shape == (28 * 28 * 2 + 14 * 14 * 2 + 7 * 7 * 6, 2)
    np.testing.assert_allclose(
        found[[0, 1, 2, 56]], np.array([[4, 4], [4, 4], [12, 4], [4, 12]]) / 224
    )
    np.testing.assert_allclose(found[-1], [208 / 224, 208 / 224])


def test_a_box_and_points_count_from_their_anchor_in_pixels_of_the_input():
    raw, logits = np.zeros((2254, 12), np.float32), np.full(2254, -9.0, np.float32)
    raw[100, :6], logits[100] = [8, -4, 20, 10, 30, 40], 2.0
    values, scores = decode_boxes(raw, logits, 0.5)
    middle = anchors()[100] * 224
    assert scores == pytest.approx([1 / (1 + np.exp(-2))])
    expected = middle + np.array([[8 - 10, -4 - 5], [8 + 10, -4 + 5], [30, 40]])
    np.testing.assert_allclose(values[0, :3] * 224, expected, rtol=1e-5)


def test_overlapping_boxes_are_averaged_by_their_scores():
    def person(x, y):
        box = np.array([[x, y], [x + 10.0, y + 10.0]])
        return np.concatenate([box, np.full((4, 2), x)])

    values = np.stack([person(0, 0), person(50, 50), person(2, 0)])
    assert iou(values[0, :2], values[:, :2]) == pytest.approx([1, 0, 80 / 120])
    found, scores = weighted_nms(values, np.array([0.6, 0.9, 0.8]))
    np.testing.assert_allclose(scores, [0.9, 0.8])
    np.testing.assert_allclose(found[1, 2], np.full(2, 2 * 0.8 / 1.4))


def test_the_detector_finds_drawn_people(mediapipe, people):
    """For most people the mid-hip is within a quarter of the body's circle."""
    from tfcpn.data.coco import read_annotations
    from tfcpn.transforms.regions import alignment_points

    images, drawn, skeleton, *_ = read_annotations(people.val_annotations)
    detector, near = load_pose_detector(mediapipe.detector), 0
    for person in drawn:
        points = alignment_points(
            person.keypoints[None], np.array([person.max_radius]), skeleton, "body"
        ).numpy()[0]
        max_radius = np.linalg.norm(points[1] - points[0])
        found = detector(cv2.imread(str(people.val / images[person.image_id].file_name)))
        near += any(np.linalg.norm(d.points[0] - points[0]) < max_radius / 4 for d in found)
    assert near > 0.6 * len(drawn)


def test_a_blank_image_has_no_detection(mediapipe):
    assert load_pose_detector(mediapipe.detector)(np.full((300, 200, 3), 200, np.uint8)) == []


def test_another_network_is_refused_as_a_detector(mediapipe):
    with pytest.raises(InputError, match="is not MediaPipe's pose detector"):
        load_pose_detector(mediapipe.landmarks)
