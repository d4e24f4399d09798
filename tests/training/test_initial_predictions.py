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
from tfcpn.skeleton import COCO, LSP
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


def made_components(network, *, size=32, skeleton=COCO, missing=()):
    return SimpleNamespace(
        alignment=Alignment("blazepose", margin=1.25),
        skeleton=skeleton,
        crop_spec=CropSpec((size, size), True, (0.0, 0.0, 0.0)),
        network=network,
        codec=SimpleNamespace(missing_keypoints=missing),
    )


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
        "is_aligned": np.array([True, True]),
    }

    def found(detector):
        return module._detected(group, module._detections(group, detector))

    np.testing.assert_allclose(found(FarDetector(points)), np.add(points, (3.0, 0.0)))
    group["is_aligned"][1] = False
    assert np.isnan(found(FarDetector(points[:1]))[1]).all()


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
    monkeypatch.setattr(module, "PoseDetector", lambda content: lambda image: [])
    records = read_records(f"{people.records}:2")
    training_set = open_training_set(records, shuffle_buffer=8)
    network = SimpleNamespace(
        preprocessing=Preprocessing((0.0,) * 3, 255.0, rgb=True, pad_color=None),
        presence_score=lambda crops: tf.fill(tf.shape(crops)[:1], presence),
    )
    found = module._predict(
        make_config(
            {
                "network": "blazepose",
                "regions": ("annotation", "detector", "background"),
                "presence_weight": 0.1,
                "align_missing": "drop",
            }
        ),
        made_components(network),
        training_set,
        lambda crops, training: crops,
        b"made",
        share=0.1,
    )
    assert len(found.ids) == len(set(found.ids)) == training_set.people // 2
    assert found.points.shape == (len(found.ids), 2, 3) and not found.points.any()
    assert bool(found.background[:, 0, 2].any()) == has_background
    assert not found.is_mirrored.any()


def made_people(count):
    """People with regions of side 100, margin 1.25, whose labels equal what is predicted."""
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, 256, (count, 17, 2))
    radius = 100 / 2.5
    points = np.array([[50.0, 50], [50, 50 - radius]])
    align_points = points * 2.56  # crop pixels, the region from 0 to 100
    return module._People(
        ids=np.arange(count),
        regions=np.tile([50.0, 50, 100, 100, 0], (count, 1)),
        is_aligned=np.ones(count, bool),
        labels=np.concatenate([keypoints, np.full((count, 17, 1), 2)], axis=2),
        predicted=np.concatenate([np.tile(align_points, (count, 1, 1)), keypoints], axis=1),
        detected=np.tile(points, (count, 1, 1)),
        background=np.full((count, 2, 2), np.nan),
    )


def predictions_of(people, monkeypatch, skeleton=COCO, missing=()):
    regions = ("annotation", "detector", "landmarks")
    cfg = make_config({"network": "blazepose", "regions": regions, "unmirror_labels": True})
    monkeypatch.setattr(module, "_look_at_images", lambda *arguments: people)
    components = made_components(None, size=256, skeleton=skeleton, missing=missing)
    return module._predict(cfg, components, None, None, None, share=0.0)


def test_regions_far_from_the_person_or_of_another_size_are_not_shown(monkeypatch):
    people = made_people(5)
    people.detected[1] += 31  # .75 of the radius are 30
    people.detected[2, 1] = (50, 50 - 61)  # 1.5 times the radius
    people.detected[3, 1] = (50, 50 - 26)
    people.is_aligned[4] = False
    found = predictions_of(people, monkeypatch)
    assert found.points[:, 0, 2].tolist() == [2, 0, 0, 0, 0]
    assert found.points[:, 2, 2].tolist() == [2, 2, 2, 2, 0]
    np.testing.assert_allclose(found.points[0, :2, :2], people.detected[0])
    np.testing.assert_allclose(found.points[0, 2:, :2], people.detected[0], atol=0.3)


def test_exactly_the_people_whose_labels_are_mirrored_are_found(monkeypatch):
    people = made_people(6)
    for row in (1, 4, 5):
        people.labels[row] = people.labels[row][COCO.flip_indices]
    people.ids[5] = people.ids[0]  # two sets of records may use the same id
    found = predictions_of(people, monkeypatch)
    assert found.ids.tolist() == [0, 1, 2, 3, 4]
    assert found.is_mirrored.tolist() == [False, True, False, False, True]
    assert not found.points[0, :, 2].any() and found.points[1, :, 2].all()


def test_keypoints_that_the_network_does_not_have_say_nothing_about_left_and_right(monkeypatch):
    people, wrists = made_people(2), (9, 10)
    people.labels[1] = people.labels[1][COCO.flip_indices]
    people.predicted[:, [2 + n for n in wrists]] = 0  # as the codec returns them
    assert not predictions_of(people, monkeypatch).is_mirrored[1]
    assert predictions_of(people, monkeypatch, missing=wrists).is_mirrored.tolist() == [False, True]
    with pytest.raises(InputError, match="no left and right"):
        predictions_of(people, monkeypatch, missing=tuple(range(1, 17)))


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
        has_side = flip_indices != np.arange(17)
        return module.are_mirrored(
            labels, predicted, flip_indices=flip_indices, has_side=has_side, width=256
        )

    assert found(labels).tolist() == [False, True, False, False]
    # From the side, left and right lie on each other.
    predicted[:] = 128
    labels[..., :2] = 130
    assert not found(labels).any()


def test_a_run_that_resumes_needs_its_initial_predictions(tmp_path):
    cfg = make_config({"network": "blazepose", "regions": ("annotation", "landmarks")})
    training_set, components = SimpleNamespace(person_filter=NO_FILTER), made_components(None)
    file = tmp_path / "initial_predictions.npz"
    trained_on = {"records": {"annotations_sha256": "a"}}

    def find(skeleton=COCO):
        return find_initial_predictions(
            cfg,
            made_components(None, skeleton=skeleton),
            training_set,
            model=None,
            detector=None,
            trained_on=trained_on,
            file=file,
            writes=True,
        )

    with pytest.raises(InputError, match="missing or of another run"):
        find()
    described = module._describe(cfg, components, training_set, trained_on)
    points = np.ones((1, 2, 3), np.float32)
    arrays = {"ids": np.array([4]), "points": points, "background": points}
    arrays["is_mirrored"] = np.array([True])
    np.savez(file, made_from=described, **arrays)
    np.testing.assert_array_equal(find().points, points)
    with pytest.raises(InputError, match="missing or of another run"):
        find(LSP)
    file.write_bytes(b"damaged")
    with pytest.raises(InputError, match="missing or of another run"):
        find()
    np.savez(file, made_from=described, **arrays)
    trained_on["records"] = {"annotations_sha256": "b"}
    with pytest.raises(InputError, match="missing or of another run"):
        find()


def test_annotated_regions_alone_need_nothing(tmp_path):
    arguments = {"model": None, "detector": None, "trained_on": {}, "writes": True}
    file = tmp_path / "initial_predictions.npz"
    assert find_initial_predictions(make_config({}), None, None, file=file, **arguments) is None


@pytest.mark.slow
def test_a_run_trains_on_all_regions_and_on_presence(mediapipe, people, command, tmp_path):
    """Labels of every third person are mirrored."""
    annotations = json.loads(people.train_annotations.read_text())
    mirrored = {annotation["id"] for annotation in annotations["annotations"][::3]}
    for annotation in annotations["annotations"][::3]:
        keypoints = np.array(annotation["keypoints"]).reshape(-1, 3)[COCO.flip_indices]
        annotation["keypoints"] = keypoints.ravel().tolist()
    file, records, run = (tmp_path / name for name in ("mirrored.json", "records", "run"))
    file.write_text(json.dumps(annotations))
    arguments = [f"--annotations={file}", f"--images={people.train}", f"--output={records}"]
    command("tools/make_records.py", *arguments, "--shards=4")
    arguments = ["--flagfile=flags/mediapipe_finetune.cfg", f"--train_records={records}"]
    arguments += ["--unmirror_labels"]
    arguments += [f"--init_weights={mediapipe.landmarks}", f"--detector={mediapipe.detector}"]
    arguments += [f"--model_dir={run}", "--batch_size=2", "--epoch_size=4", "--nolr_cosine"]
    train = ("-m", "tfcpn.train", *arguments, "--shuffle_buffer=8", "--warmup_steps=1")
    first = command(*train, "--epochs=1")
    stored = np.load(run / "initial_predictions.npz")
    assert stored["points"].shape[1:] == (4, 3) and (stored["points"][:, 2, 2] == 2).all()
    assert (stored["background"][:, 0, 2] == 2).any()
    exchanged = set(stored["ids"][stored["is_mirrored"]].tolist())
    assert exchanged <= mirrored and len(exchanged) > len(mirrored & set(stored["ids"])) / 2
    assert f"left and right are exchanged for {len(exchanged)} of" in first.out
    command(*train, "--epochs=2")
    header, *rows = (run / "metrics.csv").read_text().splitlines()
    assert len(rows) == 2 and "person" in header.split(",")
    assert json.loads((run / "config.json").read_text())["trained_on"]["detector"]
    other = command(*train, "--epochs=3", "--detector=missing.tflite", check=False)
    assert other.status == 1 and "missing.tflite" in other.err
