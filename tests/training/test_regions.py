"""Training on the regions that a network gets in use: of a detector, and of its own landmarks."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfcpn.config import make_config
from tfcpn.data.pipeline import OtherRegions
from tfcpn.data.record_sets import NO_FILTER
from tfcpn.training import regions as training_regions
from tfcpn.training.augmentation import Ranges, draw_single_view, select_regions
from tfcpn.training.regions import find_other_regions
from tfcpn.utils.errors import InputError

SIDE = 100.0


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
    regions = OtherRegions(
        np.array([3, 7], np.int64), np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    )
    found = regions.of(tf.constant([7, 5, 3, 9], tf.int64)).numpy()
    np.testing.assert_array_equal(found[[0, 2]], regions.points[[1, 0]])
    assert not found[[1, 3]].any()


class FarDetector:
    """Finds each person a little to the right, and another one far away."""

    def __init__(self, points):
        self.points = points

    def __call__(self, image):
        return [SimpleNamespace(points=np.add(p, (3.0, 0.0))) for p in self.points] + [
            SimpleNamespace(points=np.array([[1e4, 1e4], [1e4, 0.0]]))
        ]


def test_the_nearest_detection_is_that_of_a_person(monkeypatch):
    points = np.array([[[50.0, 50], [50, 20]], [[90, 50], [90, 10]]])
    group = {
        "id": np.array([1, 2]),
        "encoded": tf.io.encode_png(np.zeros((100, 100, 3), np.uint8)).numpy(),
        "orientation": 1,
        "points": points,
        "found": np.array([True, True]),
    }
    found = training_regions._detected(group, FarDetector(points))
    np.testing.assert_allclose(found, np.add(points, (3.0, 0.0)))
    none = training_regions._detected(group, FarDetector(np.add(points[:1], (200.0, 0.0))))
    assert np.isnan(none).all()


def test_a_run_that_resumes_needs_its_regions(tmp_path):
    cfg = make_config({"network": "blazepose", "regions": ("annotation", "landmarks")})
    records = SimpleNamespace(identity={"annotations_sha256": "a"})
    training_set = SimpleNamespace(records=records, person_filter=NO_FILTER)
    file = tmp_path / "regions.npz"
    arguments = {"model": None, "file": file, "writes": True}
    with pytest.raises(InputError, match="missing or of another run"):
        find_other_regions(cfg, None, training_set, **arguments)
    described = training_regions._describe(cfg, training_set, ["landmarks"])
    ids, points = np.array([4]), np.ones((1, 2, 3), np.float32)
    np.savez(file, made_from=described, ids=ids, points=points)
    found = find_other_regions(cfg, None, training_set, **arguments)
    np.testing.assert_array_equal(found.points, points)
    file.write_bytes(b"damaged")
    with pytest.raises(InputError, match="missing or of another run"):
        find_other_regions(cfg, None, training_set, **arguments)
    np.savez(file, made_from=described, ids=ids, points=points)
    records.identity = {"annotations_sha256": "b"}
    with pytest.raises(InputError, match="missing or of another run"):
        find_other_regions(cfg, None, training_set, **arguments)


def test_annotated_regions_alone_need_nothing(tmp_path):
    cfg = SimpleNamespace(regions=("annotation",))
    file = tmp_path / "regions.npz"
    assert find_other_regions(cfg, None, None, model=None, file=file, writes=True) is None


@pytest.mark.slow
def test_a_run_trains_on_all_three_regions_and_on_presence(mediapipe, people, command, tmp_path):
    run = tmp_path / "run"
    arguments = ["--flagfile=flags/mediapipe_finetune.cfg", f"--train_records={people.records}"]
    arguments += [f"--init_weights={mediapipe.landmarks}", f"--detector={mediapipe.detector}"]
    arguments += [f"--model_dir={run}", "--batch_size=2", "--epoch_size=4", "--nolr_cosine"]
    train = ("-m", "tfcpn.train", *arguments, "--shuffle_buffer=8", "--warmup_steps=1")
    command(*train, "--epochs=1")
    stored = np.load(run / "regions.npz")
    assert stored["points"].shape[1:] == (4, 3) and (stored["points"][:, 2, 2] == 2).all()
    command(*train, "--epochs=2")
    header, *rows = (run / "metrics.csv").read_text().splitlines()
    assert len(rows) == 2 and "person" in header.split(",")
    assert json.loads((run / "config.json").read_text())["trained_on"]["detector"]
    other = command(*train, "--epochs=3", "--detector=missing.tflite", check=False)
    assert other.status == 1 and "missing.tflite" in other.err
