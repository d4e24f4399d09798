"""Training of MediaPipe's detector: views, targets, losses, and a run that resumes."""

import json

import cv2
import numpy as np
import pytest
import tensorflow as tf

from support.photos import photo
from tfcpn.data.record_sets import read_records
from tfcpn.models.blazepose.detector import SIZE, anchors
from tfcpn.skeleton import COCO, LSP
from tfcpn.training.detector import (
    MAX_PEOPLE,
    POSITIVES,
    DetectorTargets,
    DetectorViews,
    LabeledImage,
    detector_losses,
    faces,
    labeled_images,
    view,
)

COUNT = len(anchors())


def labeled(pixels, face, points):
    points = np.array([points], float)
    radius = np.linalg.norm(points[:, 2:] - points[:, :2], axis=1)
    encoded = cv2.imencode(".png", pixels)[1].tobytes()
    return LabeledImage(encoded, 1, np.array([face], float), points, radius, np.zeros((0, 4)))


def test_a_face_is_about_the_nose_or_between_neck_and_head():
    keypoints = np.zeros((2, 17, 3))
    keypoints[0, 0] = 10, 20, 2
    found = faces(keypoints, np.array([100.0, 50.0]), COCO)
    np.testing.assert_allclose(found[0], [10, 20, 60])
    assert np.isnan(found[1]).all()
    keypoints = np.zeros((1, 14, 3))
    keypoints[0, LSP.neck[0]], keypoints[0, LSP.head[0]] = (50, 60, 2), (50, 40, 1)
    np.testing.assert_allclose(faces(keypoints, np.array([9.0]), LSP), [[50, 58, 52]])


def test_a_view_moves_image_and_people_alike():
    """A bright dot at the face stays at the face, whatever the view."""
    pixels = np.zeros((150, 200, 3), np.uint8)
    cv2.circle(pixels, (120, 60), 4, (255, 255, 255), -1)
    image = labeled(pixels, (120, 60, 30), (110, 90, 120, 40))
    seen = 0
    for seed in range(20):
        shown, targets = view(image, DetectorViews(), np.random.default_rng(seed))
        assert shown.shape == (SIZE, SIZE, 3)
        if not targets.radius[0]:
            continue
        seen += 1
        ys, xs = np.nonzero(shown[..., 0] > 128)
        np.testing.assert_allclose(targets.face[0, :2], [xs.mean(), ys.mean()], atol=2)
        way = targets.points[0, 2:] - targets.points[0, :2]
        assert np.linalg.norm(way) == pytest.approx(targets.radius[0], rel=1e-4)
        assert targets.face[0, 2] / targets.radius[0] == pytest.approx(30 / image.radius[0])
    assert seen > 12


def test_people_without_the_points_become_ignored_boxes():
    image = labeled(photo(100, 100), (50, 30, 20), (50, 60, 50, 20))
    image = image._replace(ignored=np.array([[10.0, 20, 30, 40]]))
    still = DetectorViews(1, 1, 0, 0, 0)
    _, targets = view(image, still, np.random.default_rng(3))
    x0, y0, x1, y1 = targets.ignored[0]
    assert x1 - x0 == pytest.approx(30 * 2.24) and y1 - y0 == pytest.approx(40 * 2.24)
    assert not targets.ignored[1:].any()


def targets_of(face, points):
    empty = DetectorTargets(
        *(np.zeros((1, MAX_PEOPLE, *n), np.float32) for n in ((3,), (4,), (), (4,)))
    )
    empty.face[0, 0], empty.points[0, 0] = face, points
    empty.radius[0, 0] = np.hypot(points[2] - points[0], points[3] - points[1])
    return DetectorTargets(*map(tf.constant, empty))


def test_the_best_anchors_near_the_face_are_positive():
    points = np.array([112, 150, 112, 60], np.float32)
    targets = targets_of((112, 80, 40), points)
    raw = np.zeros((1, COUNT, 12), np.float32)
    middles = anchors() * SIZE
    near = np.argsort(np.linalg.norm(middles - (112, 80), axis=1))[:POSITIVES]
    raw[0, near, 4:8] = points - np.tile(middles[near], 2)
    raw[0, near, :2], raw[0, near, 2:4] = (112, 80) - middles[near], 40
    before = tf.constant(raw), tf.fill((1, COUNT, 1), -9.0)
    logits = np.full((1, COUNT, 1), -9.0, np.float32)
    with tf.GradientTape() as tape:
        moved = tf.Variable(logits)
        losses = detector_losses(tf.constant(raw), moved, targets, *before)
    assert float(losses["points"]) == pytest.approx(0, abs=1e-6)
    assert float(losses["box"]) == pytest.approx(0, abs=1e-6)
    slope = tape.gradient(losses["score"], moved).numpy()[0, :, 0]
    assert set(np.flatnonzero(slope < -1e-6)) == set(near.tolist())


def test_what_the_original_sees_elsewhere_is_held_and_not_negative():
    targets = targets_of((40, 40, 30), (40, 80, 40, 20))
    raw = tf.zeros((1, COUNT, 12))
    other = int(np.argmin(np.linalg.norm(anchors() * SIZE - (180, 180), axis=1)))
    before = np.full((1, COUNT, 1), -9.0, np.float32)
    before[0, other] = 4.0
    with tf.GradientTape(persistent=True) as tape:
        logits = tf.Variable(tf.ones((1, COUNT, 1)))
        losses = detector_losses(raw, logits, targets, raw, tf.constant(before))
    assert tape.gradient(losses["score"], logits).numpy()[0, other] == 0
    assert tape.gradient(losses["held"], logits).numpy()[0, other] < 0


def test_ignored_people_are_neither_positive_nor_negative():
    targets = targets_of((40, 40, 30), (40, 80, 40, 20))
    ignored = np.zeros((1, MAX_PEOPLE, 4), np.float32)
    ignored[0, 0] = 150, 150, 220, 220
    targets = targets._replace(ignored=tf.constant(ignored))
    raw, before = tf.zeros((1, COUNT, 12)), tf.fill((1, COUNT, 1), -9.0)
    with tf.GradientTape() as tape:
        logits = tf.Variable(tf.ones((1, COUNT, 1)))
        losses = detector_losses(raw, logits, targets, raw, before)
    slope = tape.gradient(losses["score"], logits).numpy()[0, :, 0]
    middles = anchors() * SIZE
    within = ((middles >= 150) & (middles <= 220)).all(axis=1)
    assert within.any() and not slope[within].any() and (slope[~within] != 0).mean() > 0.9


def test_images_of_records_are_read_with_their_people(people):
    images = labeled_images(read_records(str(people.records)), seed=0)
    for image in (next(images) for _ in range(5)):
        assert len(image.radius) >= 1 and (image.radius > 0).all()
        away = np.linalg.norm(image.points[:, 2:] - image.points[:, :2], axis=1)
        np.testing.assert_allclose(away, image.radius)


@pytest.mark.slow
def test_a_training_resumes_and_its_file_finds_people(mediapipe, people, command, tmp_path):
    arguments = [f"--train_records={people.records}", f"--detector={mediapipe.detector}"]
    arguments += [f"--output={tmp_path / 'run'}", "--batch_size=4", "--warmup_steps=2"]
    train = ("-m", "tfcpn.commands.train_detector")
    done = command(*train, *arguments, "--steps=6")
    file = tmp_path / "run/pose_detection.tflite"
    assert f"written: {file}, after 6 steps" in done.out
    first = file.read_bytes()
    again = command(*train, *arguments, "--steps=6")
    assert "resuming from step 6" in again.out and file.read_bytes() == first
    other = command(*train, *arguments, "--steps=7", check=False)
    assert other.status == 1 and "has a training with other settings or records" in other.err
    assert json.loads((tmp_path / "run/detector.json").read_text())["steps"] == 6
    score = [f"--annotations={people.val_annotations}", f"--images={people.val}"]
    files = f"--detectors={mediapipe.detector},{file}"
    tables = command("-m", "tfcpn.commands.score_detector", *score, files).out
    assert tables.count("| all |") == 2 and str(file) in tables
