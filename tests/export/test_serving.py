"""A SavedModel called as TensorFlow Serving calls it: image file and boxes in, people out."""

import base64
import json

import cv2
import numpy as np
import pytest
import tensorflow as tf

from support.small_run import flags
from tfcpn import Pose
from tfcpn.data.detections import PersonBox

BOXES = [[40.0, 30.0, 60.0, 120.0], [5.0, 8.0, 90.0, 70.0]]


@pytest.fixture(scope="module")
def image_and_file():
    """A smooth color image (200, 160, 3) and its lossless file."""
    small = np.random.default_rng(2).integers(0, 256, (10, 8, 3), np.uint8)
    image = cv2.resize(small, (160, 200), interpolation=cv2.INTER_CUBIC)
    return image, cv2.imencode(".png", image)[1].tobytes()


def request(file: bytes) -> str:
    """The body of a POST to /v1/models/pose:predict, as in docs/export.md."""
    inputs = {"picture": {"b64": base64.b64encode(file).decode()}, "boxes": BOXES}
    return json.dumps({"signature_name": "people", "inputs": inputs})


def serve(folder, body: str) -> dict:
    """Decode a body as TensorFlow Serving does: by names and dtypes of the signature."""
    asked = json.loads(body)
    signature = tf.saved_model.load(str(folder)).signatures[asked["signature_name"]]
    inputs = {}
    for name, spec in signature.structured_input_signature[1].items():
        value = asked["inputs"][name]
        value = base64.b64decode(value["b64"]) if isinstance(value, dict) else value
        inputs[name] = tf.constant(value, spec.dtype)
        assert spec.shape.is_compatible_with(inputs[name].shape)
    return json.loads(
        json.dumps({name: value.numpy().tolist() for name, value in signature(**inputs).items()})
    )


def check_against_pose(folder, model, image_and_file):
    """The people of the image file equal those of Pose for the image and the same boxes."""
    image, file = image_and_file
    response = serve(folder, request(file))
    people = Pose.load(model, detector="none")(
        image, [PersonBox(0, tuple(box), 1.0) for box in BOXES]
    )
    assert len(response["joints"]) == len(people) == 2 and set(response) == {
        "joints",
        "scores",
        "person",
        "regions",
    }
    for place, person in enumerate(people):
        count = len(person.keypoints)
        np.testing.assert_allclose(response["regions"][place], person.region, atol=0.3)
        np.testing.assert_allclose(
            np.array(response["joints"][place])[:count], person.keypoints, atol=0.3
        )
        np.testing.assert_allclose(response["scores"][place][:count], person.scores, atol=0.01)


def test_a_saved_model_returns_the_people_of_an_image(
    people, command, tiny_network, image_and_file, tmp_path
):
    command(
        "-m",
        "tfcpn.train",
        *flags(people, tmp_path / "run", "--epochs=1", "--eval_every=0", "--noflip_test"),
    )
    arguments = (
        "--format=savedmodel",
        f"--model_dir={tmp_path / 'run'}",
        f"--output={tmp_path / 'saved'}",
    )
    command("tools/export.py", *arguments)
    check_against_pose(tmp_path / "saved", tmp_path / "run", image_and_file)
    raw = tf.saved_model.load(str(tmp_path / "saved")).signatures["raw"](
        crops=tf.zeros((2, 64, 64, 3), tf.uint8)
    )
    assert raw["heatmaps"].shape == (2, 16, 16, 17)


@pytest.mark.slow
def test_a_saved_model_refines_the_region_of_mediapipes_network(
    mediapipe, command, image_and_file, tmp_path
):
    """MediaPipe's network runs twice, as in prediction."""
    first = [
        f"--init_weights={mediapipe.landmarks}",
        "--network=blazepose",
        "--epoch=0",
        f"--model_dir={tmp_path}",
    ]
    how = ["--format=savedmodel", "--align=blazepose", "--noflip_test", "--refine_landmarks"]
    command("tools/export.py", *first, *how, f"--output={tmp_path / 'saved'}")
    check_against_pose(tmp_path / "saved", mediapipe.landmarks, image_and_file)
