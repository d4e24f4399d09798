"""Depth and world landmarks of MediaPipe's network, in MediaPipe's units."""

import csv
import json

import numpy as np
import pytest

from support.models import run_tflite
from support.photos import photo, write
from tfcpn import Pose
from tfcpn.codecs.landmarks import LANDMARK_NAMES
from tfcpn.data.detections import PersonBox
from tfcpn.inference.backends import SpatialLandmarks, spatial_of_image
from tfcpn.skeleton import COCO, MEDIAPIPE

POINTS = (120.0, 100.0, 130.0, 20.0)  # mid-hip, and the point on the circle


@pytest.fixture
def image():
    return photo(200, 240, 5)


def test_depth_is_projected_as_by_mediapipe():
    """z scales with the region's width over that of the image; world landmarks turn with it."""
    z, world = np.full((1, 2), 0.5), np.array([[[1.0, 0, 3], [0, 2.0, 4]]])
    region = np.array([[50, 60, 120, 120, np.pi / 2]])
    found = spatial_of_image(SpatialLandmarks(z, z, world), region, 240)
    np.testing.assert_allclose(found.z, 0.25)
    # A quarter turn clockwise: the crop's x axis points down in the image.
    np.testing.assert_allclose(found.world, [[[0, 1, 3], [-2, 0, 4]]], atol=1e-12)


def test_a_person_has_the_networks_depth(mediapipe, image):
    pose = Pose.load(mediapipe.landmarks, detector="none")
    (person,) = pose(image, [PersonBox(0, (60, 20, 120, 160), 1.0, points=POINTS)])
    crop = pose._predict._crop(image, person.region[None]).numpy()
    outputs = run_tflite(mediapipe.landmarks, crop[..., ::-1].astype(np.float32) / 255)
    raw = outputs["Identity"].reshape(39, 5)[:33].astype(float)
    world = outputs["Identity_4"].reshape(39, 3)[:33].astype(float)
    np.testing.assert_allclose(person.z, raw[:, 2] / 256 * person.region[2] / 240, atol=1e-5)
    np.testing.assert_allclose(person.scores, 1 / (1 + np.exp(-raw[:, 3])), atol=1e-5)
    np.testing.assert_allclose(person.presence, 1 / (1 + np.exp(-raw[:, 4])), atol=1e-5)
    cos, sin = np.cos(person.region[4]), np.sin(person.region[4])
    turned = np.stack(
        [cos * world[:, 0] - sin * world[:, 1], sin * world[:, 0] + cos * world[:, 1]]
    )
    np.testing.assert_allclose(person.world[:, :2], turned.T, atol=1e-5)
    np.testing.assert_allclose(person.world[:, 2], world[:, 2], atol=1e-5)


def test_keras_and_other_skeletons_have_the_same_depth(mediapipe, image):
    boxes = [PersonBox(0, (60, 20, 120, 160), 1.0, points=POINTS)]
    (person,) = Pose.load(mediapipe.landmarks, detector="none")(image, boxes)
    (keras,) = Pose.load(mediapipe.landmarks, detector="none", as_keras=True)(image, boxes)
    size = np.abs(person.world).max()
    np.testing.assert_allclose(keras.world, person.world, atol=1e-3 * size)
    np.testing.assert_allclose(keras.z, person.z, atol=1e-3 * np.abs(person.z).max())
    (coco,) = Pose.load(mediapipe.landmarks, detector="none", skeleton="coco")(image, boxes)
    order = [MEDIAPIPE.keypoints.index(name) for name in COCO.keypoints]
    np.testing.assert_array_equal(coco.world, person.world[order])
    (lsp,) = Pose.load(mediapipe.landmarks, detector="none", skeleton="lsp")(image, boxes)
    missing = [name not in LANDMARK_NAMES for name in ("neck", "head_top")]
    assert all(missing) and np.isnan(lsp.z[-2:]).all() and np.isfinite(lsp.z[:-2]).all()


def test_results_and_table_have_the_depth_that_was_asked_for(mediapipe, image, command, tmp_path):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/a.jpg", image)
    model = [f"--model={mediapipe.landmarks}", "--boxes=image", "--skeleton=lsp"]
    arguments = [tmp_path / "in", *model, f"--output={tmp_path / 'out'}", "--nodraw", "--csv"]
    command("-m", "tfcpn.predict", *arguments)
    (flat,) = json.loads((tmp_path / "out/results.json").read_text())["annotations"]
    assert "z" not in flat and "world_landmarks" not in flat
    command("-m", "tfcpn.predict", *arguments, "--landmarks=full", "--overwrite")
    (full,) = json.loads((tmp_path / "out/results.json").read_text())["annotations"]
    assert {name: full[name] for name in flat} == flat
    assert [len(full[name]) for name in ("z", "presence", "world_landmarks")] == [14, 14, 42]
    assert full["z"][-1] is None and full["world_landmarks"][-3:] == [None] * 3
    with (tmp_path / "out/people.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["left_hip_z"]) == full["z"][3]
    assert float(row["left_hip_world_y"]) == full["world_landmarks"][10]
    assert row["neck_z"] == "" and row["neck_presence"] == ""


def test_a_network_without_depth_says_so(tiny_run, image, command, tmp_path):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/a.jpg", image)
    arguments = [tmp_path / "in", f"--model_dir={tiny_run}", f"--output={tmp_path / 'out'}"]
    more = ["--boxes=image", "--landmarks=full"]
    failed = command("-m", "tfcpn.predict", *arguments, *more, check=False)
    assert failed.status == 1 and "--landmarks=full: this network predicts no depth" in failed.err
