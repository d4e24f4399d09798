"""Pose with MediaPipe's network on drawn people: a file, a Keras model, threads, a video."""

import threading

import cv2
import numpy as np
import pytest

from tfcpn import Pose
from tfcpn.data.coco import read_annotations
from tfcpn.data.detections import PersonBox
from tfcpn.skeleton import COCO
from tfcpn.utils.errors import InputError


@pytest.fixture(scope="module")
def pose(mediapipe):
    return Pose.load(mediapipe.landmarks, detector=mediapipe.detector, skeleton="coco")


@pytest.fixture(scope="module")
def drawn(people):
    """Images that show exactly one whole person, with the keypoints of that person."""
    images, annotated, *_ = read_annotations(people.val_annotations)
    alone = [
        p
        for p in annotated
        if [q.image_id for q in annotated].count(p.image_id) == 1 and p.num_keypoints >= 14
    ]
    return [(cv2.imread(str(people.val / images[p.image_id].file_name)), p) for p in alone]


def test_drawn_people_are_found(pose, drawn):
    """Most of them within a quarter of the torso: drawn people are not photographs."""
    right = []
    for image, true in drawn:
        found = pose(image)
        seen = true.keypoints[:, 2] > 0
        torso = np.linalg.norm(true.keypoints[5, :2] - true.keypoints[12, :2])
        away = [
            np.linalg.norm(p.keypoints - true.keypoints[:, :2], axis=1)[seen] / torso for p in found
        ]
        right.append(max(((a < 0.25).mean() for a in away), default=0.0))
    assert len(right) >= 3 and np.median(right) > 0.7


def test_the_fields_of_a_person_are_consistent(pose, drawn):
    image, _ = drawn[0]
    person = pose(
        image, [PersonBox(0, (0.0, 0.0, float(image.shape[1]), float(image.shape[0])), 0.5)]
    )[0]
    assert (
        pose.keypoint_names == COCO.keypoints
        and person.keypoints.shape == (17, 2)
        and person.scores.shape == (17,)
    )
    assert (
        np.array_equal(person.confidence, person.scores)
        and 0 <= person.confidence.min() <= person.confidence.max() <= 1
    )
    assert person.score == pytest.approx(0.5 * person.scores.mean()) and person.track_id == 1
    x, y, width, height = person.box
    inside = person.keypoints[person.confidence >= 0.5]
    assert (inside.min(axis=0) >= (x, y)).all() and (
        inside.max(axis=0) <= (x + width + 1e-9, y + height + 1e-9)
    ).all()


def test_the_file_and_the_keras_model_predict_the_same(pose, mediapipe, drawn):
    keras = Pose.load(mediapipe.landmarks, detector=pose.detector, skeleton="coco", as_keras=True)
    for image, _ in drawn[:3]:
        assert len(pose(image)) == len(keras(image)) >= 1
        for a, b in zip(pose(image), keras(image)):
            assert (
                np.median(np.linalg.norm(a.keypoints - b.keypoints, axis=1)) < 0.005 * a.region[2]
            )
            np.testing.assert_allclose(a.region, b.region)


def test_mediapipes_keypoints_are_the_default(mediapipe):
    assert len(Pose.load(mediapipe.landmarks, detector="none").keypoint_names) == 33
    lsp = Pose.load(mediapipe.landmarks, detector="none", skeleton="lsp")
    (person,) = lsp(
        np.full((200, 100, 3), 120, np.uint8), [PersonBox(0, (0.0, 0.0, 100.0, 200.0), 1.0)]
    )
    assert (
        np.isnan(person.keypoints[[12, 13]]).all() and not person.scores[[12, 13]].any()
    )  # neck and head top
    assert np.isfinite(person.keypoints[:12]).all()


def test_several_threads_get_the_results_of_one(pose, drawn):
    images = [image for image, _ in drawn[:3]]
    alone = [pose(image) for image in images]
    together: dict = {}

    def look(number):
        together[number] = pose(images[number % len(images)])

    threads = [threading.Thread(target=look, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, found in together.items():
        expected = alone[number % len(images)]
        assert len(found) == len(expected)
        for a, b in zip(found, expected):
            np.testing.assert_array_equal(a.keypoints, b.keypoints)


def test_a_batch_and_a_video_give_the_same_people(pose, drawn):
    image, _ = drawn[0]
    one = pose(image)
    assert len(one) >= 1
    assert [len(people) for people in pose.batch([image, image])] == [len(one)] * 2
    frames = list(pose.video([image] * 4, smooth=False))
    assert [len(people) for _, people in frames] == [len(one)] * 4
    assert {p.track_id for _, people in frames for p in people} == {p.track_id for p in one}


@pytest.mark.parametrize(
    "image",
    [
        None,
        np.zeros((4, 4)),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((1, 9, 3), np.uint8),
    ],
)
def test_an_invalid_image_is_reported(pose, image):
    with pytest.raises(InputError, match="expected an image"):
        pose(image)


@pytest.mark.parametrize(
    "model, printed",
    [("no.tflite", "not found; make models"), ("nowhere", "nowhere contains no run")],
)
def test_an_invalid_network_is_reported(model, printed, mediapipe):
    with pytest.raises(InputError, match=printed):
        Pose.load(model, detector=mediapipe.detector)
    with pytest.raises(InputError, match="is not MediaPipe's pose landmark network"):
        Pose.load(mediapipe.detector, detector="none")
