"""A run as a SavedModel: equal predictions, refused flags, and prediction from the folder."""

import json

import numpy as np
import pytest
import tensorflow as tf

from support.small_run import flags
from tfcpn import Pose
from tfcpn.inference.backends import load_saved_model
from tfcpn.models.specs import METADATA_FILE
from tfcpn.utils.errors import InputError


@pytest.fixture
def run(people, command, tiny_network, tmp_path):
    command(
        "-m",
        "tfcpn.train",
        *flags(people, tmp_path / "run", "--epochs=1", "--eval_every=0", "--noflip_test"),
    )
    return tmp_path / "run"


def export(command, run, folder, *arguments, check=True):
    return command(
        "tools/export.py",
        "--format=savedmodel",
        f"--model_dir={run}",
        f"--output={folder}",
        *arguments,
        check=check,
    )


def test_prediction_from_a_saved_model_equals_that_of_the_run(command, people, run, tmp_path):
    printed = export(command, run, tmp_path / "saved").out
    assert "| SavedModel |" in printed and (tmp_path / "saved" / "comparison.md").exists()
    results = []
    for model in (f"--model_dir={run}", f"--model={tmp_path / 'saved'}"):
        where = f"--output={tmp_path / model[2:7]}", "--boxes=image"
        command("-m", "tfcpn.predict", *where, model, people.val)
        results.append(
            json.loads((tmp_path / model[2:7] / "results.json").read_text())["annotations"]
        )
    assert len(results[0]) == len(results[1]) == 8
    for a, b in zip(*results):
        np.testing.assert_allclose(a["keypoints"], b["keypoints"], atol=0.01)
        np.testing.assert_allclose(a["keypoint_scores"], b["keypoint_scores"], atol=1e-3)
    assert Pose.load(tmp_path / "saved", detector="none").keypoint_names[0] == "nose"


def test_a_saved_model_keeps_the_convention_of_its_crops(command, run, tmp_path):
    export(command, run, tmp_path / "saved")
    file = tmp_path / "saved" / METADATA_FILE
    metadata = json.loads(file.read_text())
    assert metadata["corner_to_corner"] is False  # a CPN
    for written, expected in ((True, True), (None, False)):
        metadata["corner_to_corner"] = written
        file.write_text(json.dumps({k: v for k, v in metadata.items() if v is not None}))
        backend, _, _ = load_saved_model(str(tmp_path / "saved"))
        assert backend.crop_spec.corner_to_corner is expected


def test_a_saved_model_has_the_default_signature(command, run, tmp_path):
    export(command, run, tmp_path / "saved")
    signature = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    out = signature(crops=tf.zeros((3, 64, 64, 3), tf.uint8))
    assert {name: value.shape for name, value in out.items()} == {
        "joints": (3, 17, 2),
        "scores": (3, 17),
        "person": (3,),
    }


def test_an_existing_export_is_kept_without_overwrite(command, run, tmp_path):
    export(command, run, tmp_path / "saved")
    again = export(command, run, tmp_path / "saved", check=False)
    assert again.status == 1 and "--overwrite" in again.err
    export(command, run, tmp_path / "saved", "--overwrite")


def test_other_saved_models_are_refused(command, run, tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    with pytest.raises(InputError, match="is no SavedModel of tools/export.py"):
        load_saved_model(str(tmp_path / "other"))
    export(command, run, tmp_path / "saved")
    about = tmp_path / "saved" / "tfcpn.json"
    about.write_text(about.read_text()[:40])
    with pytest.raises(InputError, match="is no SavedModel of tools/export.py"):
        Pose.load(tmp_path / "saved", detector="none")


@pytest.mark.slow
def test_mediapipes_network_is_exported_without_a_run(mediapipe, command, tmp_path):
    arguments = [
        "--network=blazepose",
        f"--init_weights={mediapipe.landmarks}",
        "--epoch=0",
        "--refine_landmarks",
        "--noflip_test",
    ]
    command(
        "tools/export.py",
        "--format=savedmodel",
        *arguments,
        f"--model_dir={tmp_path}",
        f"--output={tmp_path / 'saved'}",
    )
    saved, file = (Pose.load(m, detector="none") for m in (tmp_path / "saved", mediapipe.landmarks))
    assert saved.keypoint_names == file.keypoint_names and saved.alignment == file.alignment
    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    (a,), (b,) = saved(image), file(image)
    np.testing.assert_allclose(a.region, b.region, atol=2)
