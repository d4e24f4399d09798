"""What training learns from initial predictions: other regions, background, mirrored labels."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from support.photos import photo
from tfcpn.config import make_config
from tfcpn.data.pipeline import InitialPredictions, build_crop_fn
from tfcpn.data.record_sets import NO_FILTER, read_records
from tfcpn.data.sampling import open_training_set
from tfcpn.skeleton import COCO
from tfcpn.training import initial_predictions as module
from tfcpn.training.augmentation import Ranges, draw_single_view, select_regions
from tfcpn.training.initial_predictions import find_initial_predictions
from tfcpn.transforms.alignment import Alignment
from tfcpn.transforms.cropping import CropSpec
from tfcpn.transforms.normalize import Preprocessing
from tfcpn.utils.errors import InputError

SIDE = 100.0


def made_predictions(ids, *, points=None, background=None, is_mirrored=None, share=0.0):
    count = len(ids)
    return InitialPredictions(
        np.array(ids, np.int64),
        np.zeros((count, 0, 3), np.float32) if points is None else points,
        np.zeros((count, 2, 3), np.float32) if background is None else background,
        np.zeros(count, bool) if is_mirrored is None else np.array(is_mirrored),
        share,
    )


def shown_of(choice, points, sources=("annotation", "detector", "landmarks")):
    """What a view shows of a person with 3 keypoints and the points of two other regions."""
    keypoints = np.zeros((1, 7, 3), np.float32)
    keypoints[0, 3:] = points
    draws = draw_single_view((0, 0), 1, Ranges())._replace(choice=tf.constant([choice]))
    region = np.array([SIDE, SIDE], np.float32)
    return [v.numpy()[0] for v in select_regions(keypoints, draws, region, sources=sources,
                                                 align_margin=1.25)]  # fmt: skip


DETECTOR = [(5, 10, 2), (5 + 20, 10, 2)]  # to the right: turned by 90 degrees clockwise
LANDMARKS = [(-3, 2, 2), (-3, 2 - 40, 2)]
BOTH = np.array([*DETECTOR, *LANDMARKS], np.float32)


@pytest.mark.parametrize(
    ("choice", "scale", "center", "angle"),
    [
        (0.1, 1.0, (0, 0), 0.0),
        (0.5, 0.5, (5, 10), np.pi / 2),
        (0.9, 1.0, (-3, 2), 0.0),
    ],
)
def test_the_choice_decides_which_region_is_shown(choice, scale, center, angle):
    found = shown_of(choice, BOTH)
    assert found[0] == pytest.approx(scale) and found[2] == pytest.approx(angle, abs=1e-6)
    np.testing.assert_allclose(found[1], center, atol=1e-5)


def test_a_person_without_the_region_is_shown_in_the_annotated_one():
    points = BOTH.copy()
    points[:2, 2] = 0
    scale, center, angle = shown_of(0.5, points)
    assert scale == 1 and angle == 0 and not center.any()


def test_other_regions_are_looked_up_by_the_id_of_a_person():
    points = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    predictions = made_predictions([3, 7], points=points, is_mirrored=[True, False])
    ids = tf.constant([7, 5, 3, 9], tf.int64)
    found = predictions.of(ids).numpy()
    np.testing.assert_array_equal(found[[0, 2]], points[[1, 0]])
    assert not found[[1, 3]].any()
    assert predictions.is_mirrored_of(ids).numpy().tolist() == [False, False, True, False]


class FarDetector:
    """Finds each person a little to the right, and another one far away."""

    def __init__(self, points):
        self.points = points

    def __call__(self, image):
        return [SimpleNamespace(points=np.add(p, (3.0, 0.0))) for p in self.points] + [
            SimpleNamespace(points=np.array([[1e4, 1e4], [1e4, 0.0]]))
        ]


def test_the_nearest_detection_is_that_of_a_person():
    points = np.array([[[50.0, 50], [50, 20]], [[90, 50], [90, 10]]])
    group = {
        "id": np.array([1, 2]),
        "encoded": tf.io.encode_png(np.zeros((100, 100, 3), np.uint8)).numpy(),
        "orientation": 1,
        "points": points,
        "found": np.array([True, True]),
    }

    def found(detector):
        return module._detected(group, module._detections(group, detector))

    np.testing.assert_allclose(found(FarDetector(points)), np.add(points, (3.0, 0.0)))
    assert np.isnan(found(FarDetector(np.add(points[:1], (200.0, 0.0))))).all()


def detection(x, y, radius, score=0.9):
    return SimpleNamespace(points=np.array([[x, y], [x, y - radius]]), score=score)


def test_background_is_what_the_detector_takes_for_a_person_away_from_people():
    group = {
        "id": np.array([5]),
        "image_size": np.array([200, 300]),
        "everyone": {"box": np.array([[10, 10, 90, 180]], np.float32)},
        "regions": np.array([[55, 100, 225, 225, 0]]),
    }
    on_the_person, lamp, tree = (
        detection(60, 90, 40),
        detection(220, 100, 40),
        detection(250, 50, 9),
    )
    found = module._background(group, [tree, on_the_person, lamp], 1.25)
    np.testing.assert_array_equal(found, tree.points)  # the first of equals
    lamp.score = 0.95
    found = module._background(group, [tree, on_the_person, lamp], 1.25)
    np.testing.assert_array_equal(found, lamp.points)
    # Without such a detection it is a square of any rotation, hardly within the person's box.
    (x, y), top = module._background(group, [on_the_person], 1.25)
    half = 1.25 * np.hypot(*(top - (x, y)))
    width = max(0, min(100, x + half) - max(10, x - half))
    height = max(0, min(190, y + half) - max(10, y - half))
    assert 0 <= x <= 300 and 0 <= y <= 200 and width * height <= 0.2 * (2 * half) ** 2
    # Not about a whole small person either.
    group["everyone"]["box"] = np.array([[215, 95, 10, 10], [255, 0, 45, 200]], np.float32)
    found = module._background(group, [lamp, tree], 1.25)
    assert not np.array_equal(found, lamp.points) and not np.array_equal(found, tree.points)
    # An image that is all person has none.
    group["everyone"]["box"] = np.array([[-500, -500, 1300, 1200]], np.float32)
    assert np.isnan(module._background(group, [], 1.25)).all()


@pytest.mark.parametrize(("presence", "has_background"), [(0.4, True), (0.6, False)])
def test_regions_are_found_once_per_person_and_background_shows_no_person(
    people, monkeypatch, presence, has_background
):
    """The records have a share of two; the detector finds no one."""
    monkeypatch.setattr(module, "load_pose_detector", lambda path: lambda image: [])
    records = read_records(f"{people.records}:2")
    training_set = open_training_set(records, shuffle_buffer=8)
    components = SimpleNamespace(
        alignment=Alignment("blazepose"),
        skeleton=COCO,
        crop_spec=CropSpec((32, 32), True, (0.0, 0.0, 0.0)),
        network=SimpleNamespace(
            preprocessing=Preprocessing((0.0,) * 3, 255.0, rgb=True, pad_color=None),
            presence_score=lambda crops: tf.fill(tf.shape(crops)[:1], presence),
        ),
    )
    ids, points, background, is_mirrored = module._predict(
        SimpleNamespace(detector="made", unmirror_labels=False),
        components,
        training_set,
        ["detector", "background"],
        lambda crops, training: crops,
    )
    assert len(ids) == len(set(ids)) == training_set.people // 2
    assert points.shape == (len(ids), 2, 3) and not points.any()
    assert bool(background[:, 0, 2].any()) == has_background
    assert is_mirrored.shape == (len(ids),) and not is_mirrored.any()


def test_background_takes_the_place_of_some_people_in_every_pass():
    ids = np.arange(400)
    background = np.full((400, 2, 3), 2, np.float32)
    background[300:, :, 2] = 0  # no background
    predictions = made_predictions(ids, background=background, share=0.25)
    first, again, second = (
        predictions.background_of(tf.constant(ids), n)[0].numpy() for n in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not first[300:].any() and (first != second).any()
    for shown in (first, second):
        assert 0.15 < shown[:300].mean() < 0.35


@pytest.fixture
def two_people():
    """An image and a group of two people in it: the same person twice, ids 1 and 2."""
    image = photo(100, 200, 3)
    keypoints = np.zeros((2, 17, 3), np.float32)
    for name, xy in (("left_shoulder", (35, 20)), ("right_shoulder", (25, 20)),
                     ("left_hip", (35, 50)), ("right_hip", (25, 50))):  # fmt: skip
        keypoints[:, COCO.keypoints.index(name)] = (*xy, 2)
    return image, {
        "id": tf.constant([1, 2], tf.int64),
        "pass": tf.constant(0, tf.int64),
        "encoded": tf.io.encode_png(image[..., ::-1]),
        "orientation": tf.constant(1, tf.int64),
        "image_size": tf.constant([100, 200], tf.int64),
        "box": tf.constant([[10.0, 10, 40, 80]] * 2),
        "keypoints": tf.constant(keypoints),
        "reach": tf.constant([40.0, 40]),
    }


def crops_of(group, predictions):
    crop_fn = build_crop_fn(
        alignment=Alignment("blazepose", margin=1.25),
        skeleton=COCO,
        crop_spec=CropSpec((50, 50), True, (0.0, 0.0, 0.0)),
        margin=1.0,
        initial_predictions=predictions,
    )
    return [values.numpy() for values in crop_fn(group)]


def test_a_crop_of_background_is_of_that_part_and_has_no_keypoints(two_people):
    image, group = two_people
    background = np.array([[[150, 50, 2], [150, 30, 2]], [[0, 0, 0]] * 2], np.float32)
    crops, found = crops_of(group, made_predictions([1, 2], background=background, share=1.0))
    # The region is upright, from (125, 25) to (175, 75): its pixels are those of the image.
    difference = np.abs(crops[0].astype(int) - image[25:75, 125:175])
    assert difference.max() <= 1
    assert not found[0, :, 2].any() and found[1, :, 2].any()


def test_mirrored_labels_are_exchanged_in_the_same_crop(two_people):
    _, group = two_people
    crops, found = crops_of(group, made_predictions([1, 2], is_mirrored=[True, False]))
    np.testing.assert_array_equal(crops[0], crops[1])
    assert (found[0] != found[1]).any()
    np.testing.assert_array_equal(found[0], found[1][COCO.flip_indices])


def test_labels_are_mirrored_that_fit_predictions_only_with_left_and_right_exchanged():
    flip_indices = np.array(COCO.flip_indices)
    rng = np.random.default_rng(0)
    predicted = rng.uniform(0, 256, (4, 17, 2))
    labels = np.concatenate([predicted + rng.normal(0, 3, (4, 17, 2)), np.full((4, 17, 1), 2)], 2)
    labels[1] = labels[1][flip_indices]
    labels[1, 5:9, 2] = 0  # unlabeled ones do not count
    labels[2] = labels[2][flip_indices] + (60, 0, 0)  # the network sees another pose
    labels[3, :, 2] = 0

    def found(labels):
        return module.are_mirrored(labels, predicted, flip_indices=flip_indices, width=256)

    assert found(labels).tolist() == [False, True, False, False]
    # From the side, left and right lie on each other.
    predicted[:] = 128
    labels[..., :2] = 130
    assert not found(labels).any()


def test_a_run_that_resumes_needs_its_initial_predictions(tmp_path):
    cfg = make_config({"network": "blazepose", "regions": ("annotation", "landmarks")})
    records = SimpleNamespace(identity={"annotations_sha256": "a"})
    training_set = SimpleNamespace(records=records, person_filter=NO_FILTER)
    file = tmp_path / "initial_predictions.npz"
    arguments = {"model": None, "file": file, "writes": True}
    with pytest.raises(InputError, match="missing or of another run"):
        find_initial_predictions(cfg, None, training_set, **arguments)
    described = module._describe(cfg, training_set, ["landmarks"])
    points = np.ones((1, 2, 3), np.float32)
    arrays = {"ids": np.array([4]), "points": points, "background": points}
    arrays["is_mirrored"] = np.array([True])
    np.savez(file, made_from=described, **arrays)
    found = find_initial_predictions(cfg, None, training_set, **arguments)
    np.testing.assert_array_equal(found.points, points)
    file.write_bytes(b"damaged")
    with pytest.raises(InputError, match="missing or of another run"):
        find_initial_predictions(cfg, None, training_set, **arguments)
    np.savez(file, made_from=described, **arrays)
    records.identity = {"annotations_sha256": "b"}
    with pytest.raises(InputError, match="missing or of another run"):
        find_initial_predictions(cfg, None, training_set, **arguments)


def test_annotated_regions_alone_need_nothing(tmp_path):
    cfg = SimpleNamespace(regions=("annotation",), unmirror_labels=False)
    file = tmp_path / "initial_predictions.npz"
    assert find_initial_predictions(cfg, None, None, model=None, file=file, writes=True) is None


@pytest.mark.slow
def test_a_run_trains_on_all_regions_and_on_presence(mediapipe, people, command, tmp_path):
    run = tmp_path / "run"
    arguments = ["--flagfile=flags/mediapipe_finetune.cfg", f"--train_records={people.records}"]
    arguments += [f"--init_weights={mediapipe.landmarks}", f"--detector={mediapipe.detector}"]
    arguments += [f"--model_dir={run}", "--batch_size=2", "--epoch_size=4", "--nolr_cosine"]
    train = ("-m", "tfcpn.train", *arguments, "--shuffle_buffer=8", "--warmup_steps=1")
    command(*train, "--epochs=1")
    stored = np.load(run / "initial_predictions.npz")
    assert stored["points"].shape[1:] == (4, 3) and (stored["points"][:, 2, 2] == 2).all()
    assert (stored["background"][:, 0, 2] == 2).any()
    assert stored["is_mirrored"].mean() < 0.2  # labels of drawn people are right
    command(*train, "--epochs=2")
    header, *rows = (run / "metrics.csv").read_text().splitlines()
    assert len(rows) == 2 and "person" in header.split(",")
    assert json.loads((run / "config.json").read_text())["trained_on"]["detector"]
    other = command(*train, "--epochs=3", "--detector=missing.tflite", check=False)
    assert other.status == 1 and "missing.tflite" in other.err
