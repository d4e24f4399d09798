"""Training of MediaPipe's detector: views, losses, and a run that is resumed and exported."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tfcpn.builders import build_components
from tfcpn.checkpoints import run_config
from tfcpn.checkpoints.manager import CheckpointManager, TrainingPosition
from tfcpn.checkpoints.transfer import start_from
from tfcpn.codecs.people import MAX_PEOPLE, PeopleCodec, PeopleTargets
from tfcpn.config import make_config
from tfcpn.data.pipeline import build_crop_fn
from tfcpn.models.blazepose.detector import SIZE, anchors
from tfcpn.models.blazepose.detector_losses import POSITIVES, detector_losses
from tfcpn.models.blazepose.detector_model import DETECTOR_PREPROCESSING
from tfcpn.skeleton import COCO, from_names
from tfcpn.training.augmentation import (
    NUM_POINTS,
    Ranges,
    build_augmentation,
    draw_single_view,
    select_background,
)
from tfcpn.training.step import make_optimizer
from tfcpn.transforms.alignment import Alignment
from tfcpn.transforms.cropping import CropSpec
from tfcpn.utils.errors import InputError

COUNT = len(anchors())
CROP = 2 * SIZE


def group_of(pixels, *people):
    """A group of an image with people of (face, mid-hip, radius), all upright."""
    keypoints = np.zeros((len(people), 17, 3), np.float32)
    for row, (face, (x, y), radius) in zip(keypoints, people):
        row[0] = *face, 2
        row[list(COCO.hips)] = x, y, 2
        row[list(COCO.shoulders)] = x, y - radius / 2, 2
    everyone = {
        "box": np.array([(x - 10, y - r, 20, 2 * r) for _, (x, y), r in people], np.float32),
        "keypoints": keypoints,
        "reach": np.array([r for *_, r in people], np.float32),
        "trainable": np.ones(len(people), np.int64),
    }
    return {
        "encoded": cv2.imencode(".png", pixels)[1].tobytes(),
        "orientation": np.int64(1),
        "image_size": np.array(pixels.shape[:2], np.int64),
        "keypoints": keypoints,
        "everyone": everyone,
    }


def whole_images(group):
    spec = CropSpec((CROP, CROP), True, DETECTOR_PREPROCESSING.pad_color)
    crop_fn = build_crop_fn(alignment=Alignment("image"), skeleton=COCO, crop_spec=spec, margin=1.0)
    return crop_fn({k: tf.nest.map_structure(tf.constant, v) for k, v in group.items()})


def views_of(group, seed, ranges, select=None):
    crops, points = whole_images(group)
    augment = build_augmentation(
        1,
        ranges=ranges,
        flip_indices=list(range(NUM_POINTS)),
        preprocessing=DETECTOR_PREPROCESSING,
        size=(SIZE, SIZE),
        margin=1.0,
        max_rescale=np.inf,
        select=select,
    )
    images, moved, visibility = augment(crops, points, (0, seed))
    return images.numpy(), PeopleCodec().encode(moved, visibility)


def test_each_person_is_the_letterboxed_image_with_everybody():
    pixels = np.full((100, 200, 3), 200, np.uint8)
    group = group_of(pixels, ((50, 20), (50, 60), 45), ((150, 20), (150, 60), 40))
    crops, points = whole_images(group)
    assert crops.shape == (2, CROP, CROP, 3) and points.shape == (2, NUM_POINTS, 3)
    assert not crops[0, : CROP // 4 - 2].numpy().any()
    assert (crops[0, CROP // 4 + 2 : 3 * CROP // 4 - 2, 2:-2].numpy() == 200).all()
    np.testing.assert_array_equal(points[0], points[1])
    np.testing.assert_allclose(points[0, 0, :2], [50 * 2.24, 60 * 2.24 + CROP / 4], rtol=1e-5)


def test_a_view_moves_image_and_people_alike():
    """A bright dot at the face stays at the face, whatever the view."""
    pixels = np.zeros((150, 200, 3), np.uint8)
    cv2.circle(pixels, (120, 60), 4, (255, 255, 255), -1)
    group = group_of(pixels, ((120, 60), (110, 90), 50))
    seen = 0
    for seed in range(20):
        ranges = Ranges(0.625, 1.67, 20.0, 0.15, any_rotation=0.3)
        images, targets = views_of(group, seed, ranges)
        assert images.shape == (1, SIZE, SIZE, 3)
        if not targets.radius[0, 0]:
            continue
        seen += 1
        ys, xs = np.nonzero(images[0, ..., 0] > 0)
        np.testing.assert_allclose(targets.face[0, 0, :2], [xs.mean(), ys.mean()], atol=2)
        way = targets.points[0, 0, 2:] - targets.points[0, 0, :2]
        assert np.linalg.norm(way) == pytest.approx(float(targets.radius[0, 0]), rel=1e-4)
        assert float(targets.face[0, 0, 2] / targets.radius[0, 0]) == pytest.approx(0.6)
    assert seen > 12


def test_outside_the_image_views_are_black_as_in_mediapipe():
    pixels = np.full((100, 100, 3), 255, np.uint8)
    group = group_of(pixels, ((50, 30), (50, 60), 40))
    images, _ = views_of(group, 0, Ranges(1.6, 1.6, 0.0, 0.0))
    assert (images[0, :20] == -1).all() and (images[0, 100:120, 100:120] == 1).all()


def test_a_background_view_shows_the_widest_strip_without_people():
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, :40] = 255  # the person
    group = group_of(pixels, ((20, 30), (20, 60), 40))
    _, points = whole_images(group)
    middle = np.array([CROP / 2, CROP / 2, 0], np.float32)
    for seed in range(5):
        draws = draw_single_view((0, seed), 1, Ranges(1, 1, 0))
        region = np.array([CROP, CROP], np.float32)
        shown = select_background(points - middle, draws, region, probability=1.0)
        x, y = shown.center[0].numpy() + CROP / 2
        half = float(shown.scale[0]) * CROP / 2
        assert x - half >= 40 / 200 * CROP - 1 and x + half <= CROP + 1
        assert y - half >= CROP / 4 - 1 and y + half <= 3 * CROP / 4 + 1
        never = select_background(points - middle, draws, region, probability=0.0)
        assert float(never.scale[0]) == 1 and not never.center.numpy().any()


def test_an_image_full_of_its_person_has_no_background_view():
    group = group_of(np.zeros((100, 100, 3), np.uint8), ((50, 20), (50, 50), 49))
    group["everyone"]["box"] = np.array([[2.0, 2, 96, 96]], np.float32)
    _, points = whole_images(group)
    middle = np.array([CROP / 2, CROP / 2, 0], np.float32)
    draws = draw_single_view((0, 1), 1, Ranges(1, 1, 0))
    region = np.array([CROP, CROP], np.float32)
    assert float(select_background(points - middle, draws, region, probability=1.0).scale[0]) == 1


def targets_of(face, points):
    """Targets of one image with one person."""
    shapes = ((3,), (4,), (), (4,))
    empty = PeopleTargets(*(np.zeros((1, MAX_PEOPLE, *n), np.float32) for n in shapes))
    empty.face[0, 0], empty.points[0, 0] = face, points
    empty.radius[0, 0] = np.hypot(points[2] - points[0], points[3] - points[1])
    return PeopleTargets(*map(tf.constant, empty))


def outputs_of(raw=None, logit=-9.0):
    raw = tf.zeros((1, COUNT, 12)) if raw is None else tf.constant(raw)
    return raw, tf.fill((1, COUNT, 1), logit)


def score_slope(targets, before, raw=None, logit=1.0, loss="score", **kwargs):
    """Gradient of a loss in the logits of the anchors."""
    raw, logits = outputs_of(raw, logit)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = detector_losses((raw, logits), targets, before, **kwargs)
    return losses, tape.gradient(losses[loss], logits).numpy()[0, :, 0]


def test_the_best_anchors_near_the_face_are_positive():
    points = np.array([112, 150, 112, 60], np.float32)
    targets = targets_of((112, 80, 40), points)
    raw = np.zeros((1, COUNT, 12), np.float32)
    centers = anchors() * SIZE
    near = np.argsort(np.linalg.norm(centers - (112, 80), axis=1))[:POSITIVES]
    raw[0, near, 4:8] = points - np.tile(centers[near], 2)
    raw[0, near, :2], raw[0, near, 2:4] = (112, 80) - centers[near], 40
    losses, slope = score_slope(targets, outputs_of(raw), raw, -9.0)
    assert float(losses["points"]) == pytest.approx(0, abs=5e-3)
    assert float(losses["box"]) == pytest.approx(0, abs=5e-3)
    assert set(np.flatnonzero(slope < -1e-6)) == set(near.tolist())
    _, steeper = score_slope(targets, outputs_of(raw), raw, -9.0, positive_weight=3.0)
    np.testing.assert_allclose(steeper[near], 3 * slope[near], rtol=1e-5)


def test_what_the_original_sees_elsewhere_is_held_and_not_negative():
    targets = targets_of((40, 40, 30), (40, 80, 40, 20))
    other = int(np.argmin(np.linalg.norm(anchors() * SIZE - (180, 180), axis=1)))
    logits = np.full((1, COUNT, 1), -9.0, np.float32)
    logits[0, other] = 4.0
    before = (tf.zeros((1, COUNT, 12)), tf.constant(logits))
    assert score_slope(targets, before)[1][other] == 0
    assert score_slope(targets, before, loss="distillation")[1][other] < 0


def test_ignored_people_are_neither_positive_nor_negative():
    ignored = np.zeros((1, MAX_PEOPLE, 4), np.float32)
    ignored[0, 0] = 150, 150, 220, 220
    targets = targets_of((40, 40, 30), (40, 80, 40, 20))
    targets = targets._replace(ignored=tf.constant(ignored))
    _, slope = score_slope(targets, outputs_of())
    centers = anchors() * SIZE
    within = ((centers >= 150) & (centers <= 220)).all(axis=1)
    assert within.any() and not slope[within].any() and (slope[~within] != 0).mean() > 0.9


def test_a_detector_needs_keypoints_that_define_its_points(mediapipe):
    cfg = make_config({"network": "blazepose_detector", "init_weights": str(mediapipe.detector)})
    assert cfg.align == "image" and cfg.input_size == (SIZE, SIZE)
    components = build_components(cfg, COCO)
    assert components.network.whole_images and components.training_spec.size == (CROP, CROP)
    assert components.num_points == NUM_POINTS
    hand = from_names("hand", ("thumb", "index"), ())
    with pytest.raises(InputError, match="name no hips"):
        build_components(cfg, hand)


@pytest.mark.slow
def test_a_detector_trains_on_from_another_run_with_its_predictions_as_the_teacher(
    mediapipe, tmp_path
):
    cfg = make_config({"network": "blazepose_detector", "init_weights": str(mediapipe.detector)})
    network = build_components(cfg, COCO).network
    model = network.build()
    for variable in network.variables(model).values():
        variable.assign(variable * 0.99)
    cfg = dataclasses.replace(cfg, model_dir=str(tmp_path))
    optimizer = make_optimizer(1e-3, "float32", model.trainable_variables)
    CheckpointManager(tmp_path).save(
        TrainingPosition(1), variables=network.variables(model), optimizer=optimizer
    )
    run_config.save_run(run_config.Run(cfg, COCO, {}))
    again = dataclasses.replace(cfg, init_weights=str(tmp_path))
    teacher = start_from(build_components(again, COCO), str(tmp_path)).network.teacher
    images = tf.random.stateless_uniform((2, SIZE, SIZE, 3), (0, 1), -1.0, 1.0)
    for found, expected in zip(teacher(str(tmp_path))(images), model(images, training=False)):
        np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("flag", "printed"),
    [
        ({"blazepose_freeze": 73}, "expected at most 72"),
        ({"init_weights": "none"}, "starts from MediaPipe's weights"),
        ({"views": 4}, "takes --views=1 only"),
        ({"align": "person"}, "--align=image is for"),
    ],
)
def test_settings_that_no_detector_can_have_are_refused(flag, printed):
    with pytest.raises(InputError, match=printed):
        make_config({"network": "blazepose_detector", **flag}, set(flag))


def test_a_batch_of_a_detector_is_drawn(mediapipe, people, command, tmp_path):
    output = tmp_path / "batch.png"
    arguments = ["--flagfile=flags/mediapipe_detector.cfg", f"--train_records={people.records}"]
    arguments += [f"--init_weights={mediapipe.detector}", f"--output={output}", "--people=4"]
    done = command("tools/show_batch.py", *arguments, "--shuffle_buffer=8", "--background_views=0")
    assert "faces, bodies" in done.out
    assert cv2.imread(str(output)).shape == (SIZE, 4 * SIZE, 3)


@pytest.mark.slow
def test_a_run_resumes_validates_exports_and_finds_people(mediapipe, people, command, tmp_path):
    run = tmp_path / "run"
    arguments = ["--flagfile=flags/mediapipe_detector.cfg", f"--train_records={people.records}"]
    arguments += [f"--init_weights={mediapipe.detector}", f"--model_dir={run}", "--seed=1"]
    arguments += [f"--val_annotations={people.val_annotations}", f"--val_images={people.val}"]
    arguments += ["--batch_size=4", "--epoch_size=12", "--warmup_steps=2", "--eval_every=1"]
    train = ("-m", "tfcpn.train", *arguments, "--nolr_cosine", "--shuffle_buffer=8")
    assert "| 1 " in command(*train, "--epochs=1").out
    assert "from epoch 2" in command(*train, "--epochs=2").err
    rows = (run / "metrics.csv").read_text().splitlines()
    assert len(rows) == 3 and "in_place" in rows[0]
    table = command("-m", "tfcpn.eval", f"--model_dir={run}", "--epoch=0,2").out
    assert table.count("| all ") == 2 and "people to find" in table
    report = json.loads((run / "eval/epoch_0002/metrics.json").read_text())
    assert 0 <= report["AP"] <= 1 and report["images"] == 8

    file = tmp_path / "detector.tflite"
    command("tools/export.py", f"--model_dir={run}", f"--output={file}")
    score = [f"--annotations={people.val_annotations}", f"--images={people.val}"]
    tables = command(
        "-m", "tfcpn.commands.score_detector", *score, f"--detectors={file},{run}"
    ).out.split("\n\n")
    assert tables[1] == tables[3]  # the run and its file are the same detector
    done = command(
        "-m",
        "tfcpn.predict",
        f"--detector={run}",
        f"--model={mediapipe.landmarks}",
        f"--output={tmp_path / 'out'}",
        str(people.val),
    )
    assert "8 files" in done.out
    refused = command(
        "-m",
        "tfcpn.predict",
        f"--model_dir={run}",
        f"--output={tmp_path / 'no'}",
        str(people.val),
        check=False,
    )
    assert refused.status == 1 and "give it as --detector" in refused.err
