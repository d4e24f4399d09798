"""BlazePose from MediaPipe's file to a file for MediaPipe: trained, evaluated and exported."""

import json

import numpy as np
import pytest

from support.commands import ROOT
from support.models import run_tflite
from support.photos import photo
from support.small_run import logged
from tfcpn.checkpoints.manager import CheckpointManager, TrainingPosition
from tfcpn.models.blazepose.model import build_blazepose
from tfcpn.models.model import variables_by_layer
from tfcpn.models.specs import DEFAULT_DETECTION_MODEL, FULL

LABELED = ("--regions=annotation", "--nounmirror_labels", f"--detector={DEFAULT_DETECTION_MODEL}")


def flags(people, *more):
    return [
        f"--flagfile={ROOT}/flags/mediapipe_finetune.cfg",
        f"--train_records={people.records}",
        f"--val_images={people.val}",
        f"--val_annotations={people.val_annotations}",
        "--batch_size=4",
        "--epoch_size=8",
        "--epochs=1",
        "--warmup_steps=0",
        "--shuffle_buffer=8",
        *LABELED,
        *more,
    ]


@pytest.fixture(scope="module")
def run(people, mediapipe, tmp_path_factory, command):
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    file = f"--init_weights={mediapipe.landmarks}"
    command(
        "-m", "tfcpn.train", *flags(people, f"--model_dir={folder}", file, "--learning_rate=1e-4")
    )
    return folder


@pytest.mark.slow
def test_a_run_logs_the_distance_of_the_student_and_the_teacher(run):
    row = logged(run)[0]
    assert 0 < float(row["landmarks"]) < 0.2 and float(row["distillation"]) > 0
    assert float(row["student_distance"]) == pytest.approx(float(row["teacher_distance"]), rel=0.2)
    assert float(row["total"]) == pytest.approx(
        sum(
            float(row[name])
            for name in ("landmarks", "visibility", "heatmaps", "person", "distillation", "decay")
        ),
        abs=1e-5,
    )


@pytest.mark.slow
def test_the_trained_and_the_initial_network_are_evaluated(run, people, command):
    done = command("-m", "tfcpn.eval", f"--model_dir={run}", "--epoch=0,1")
    rows = [line for line in done.out.splitlines() if line.startswith(("| 0", "| 1"))]
    assert len(rows) == 2 and rows[0] != rows[1]
    metrics = json.loads(
        (run / "eval" / "epoch_0001_noflip_drop_refined" / "metrics.json").read_text()
    )
    assert 0 < metrics["PCK@.2"] <= 1


@pytest.mark.slow
def test_the_exported_file_equals_keras(run, mediapipe, command, tmp_path):
    output = tmp_path / "own.tflite"
    printed = command(
        "tools/export.py",
        f"--model_dir={run}",
        f"--template={mediapipe.landmarks}",
        f"--output={output}",
    )
    assert f"written: {output}" in printed.out
    model = build_blazepose(FULL, "scaled")
    CheckpointManager(run).restore(TrainingPosition(1), variables_by_layer(model))
    images = np.stack([photo(256, 256, seed).astype(np.float32) / 255 for seed in range(3)])
    exported = run_tflite(output, images)["Identity"].reshape(3, 39, 5)[..., :2]
    # It would be equal in float32; float16 has three digits of a weight.
    assert np.median(np.abs(exported - model(images).landmarks.numpy()[..., :2])) < 1
    again = command("tools/export.py", f"--model_dir={run}", f"--output={output}", check=False)
    assert again.status == 1 and "--overwrite" in again.err
    back = tmp_path / "back.tflite"
    arguments = [f"--template={mediapipe.landmarks}", "--original_share=1", f"--output={back}"]
    command("tools/export.py", f"--model_dir={run}", *arguments)
    original = run_tflite(mediapipe.landmarks, images)["Identity"]
    moved = np.abs(run_tflite(back, images)["Identity"] - original).reshape(3, 39, 5)[..., :2]
    # The weights of the original again, to the rounding of float16.
    assert np.median(moved) < 0.5


def test_a_bundle_is_exported_without_a_run(mediapipe, command, tmp_path):
    import zipfile
    from pathlib import Path

    bundle, output = tmp_path / "in.task", tmp_path / "out.task"
    with zipfile.ZipFile(bundle, "w") as made:
        made.write(mediapipe.detector, "pose_detector.tflite")
        made.write(mediapipe.landmarks, "pose_landmarks_detector.tflite")
    arguments = [
        "--network=blazepose",
        f"--init_weights={bundle}",
        "--epoch=0",
        f"--template={mediapipe.landmarks}",
    ]
    command(
        "tools/export.py",
        *arguments,
        f"--model_dir={tmp_path}",
        f"--task={bundle}",
        f"--output={output}",
    )
    with zipfile.ZipFile(output) as given:
        assert given.namelist() == ["pose_detector.tflite", "pose_landmarks_detector.tflite"]
        assert given.read("pose_detector.tflite") == Path(mediapipe.detector).read_bytes()
        for entry in given.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            header = output.read_bytes()[entry.header_offset :]
            name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
            assert (entry.header_offset + 30 + name + extra) % 4 == 0
        images = photo(256, 256)[None].astype(np.float32) / 255
        own = run_tflite(given.read("pose_landmarks_detector.tflite"), images)
    for name, value in run_tflite(mediapipe.landmarks, images).items():
        np.testing.assert_allclose(own[name], value, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_learning_rate_that_diverges_is_reported(people, mediapipe, command, tmp_path):
    arguments = flags(
        people,
        f"--model_dir={tmp_path}",
        f"--init_weights={mediapipe.landmarks}",
        "--learning_rate=0.1",
    )
    failed = command("-m", "tfcpn.train", *arguments, check=False)
    assert (
        failed.status == 1
        and "the network diverges" in failed.err
        and "--learning_rate" in failed.err
    )


@pytest.mark.slow
def test_training_from_random_weights_has_no_teacher(people, command, tmp_path):
    arguments = [
        "--init_weights=none",
        "--blazepose_size=lite",
        "--blazepose_freeze=0",
        f"--model_dir={tmp_path}",
    ]
    command("-m", "tfcpn.train", *flags(people, *arguments))
    row = logged(tmp_path)[0]
    assert "distillation" not in row and float(row["heatmaps"]) > 0


@pytest.mark.slow
def test_the_network_may_predict_alignment_points(people, mediapipe, command, tmp_path):
    """The network predicts them as two extra keypoints, which the first pass uses."""
    file = f"--init_weights={mediapipe.landmarks}"
    arguments = [f"--model_dir={tmp_path}", file, "--learning_rate=1e-4", "--predict_align_points"]
    command("-m", "tfcpn.train", *flags(people, *arguments))
    done = command(
        "-m", "tfcpn.eval", f"--model_dir={tmp_path}", "--epoch=1", "--align_source=two_pass"
    )
    assert "alignment points from" in done.out
    assert "which the network does not have" not in done.out


@pytest.mark.slow
def test_differences_between_two_files_are_reported(people, mediapipe, command, tmp_path):
    arguments = [f"--annotations={people.val_annotations}", f"--images={people.val}", "--people=4"]
    output = tmp_path / "moved.json"
    files = [f"--before={mediapipe.landmarks}", f"--after={mediapipe.landmarks}"]
    done = command("tools/compare_blazepose.py", *files, *arguments, f"--output={output}")
    found = json.loads(output.read_text())
    assert found.pop("people") == 4 and "hands" in done.out
    # A file does not differ from itself.
    assert found.pop("mask, IoU") == 1 and set(found.values()) == {0.0}


def test_conflicting_flags_are_refused(people, command, tmp_path):
    for arguments, printed in (
        (["--input_size=256x192"], "takes --input_size=256x256 only"),
        (
            ["--init_weights=none", "--blazepose_freeze=0", "--blazepose_norm=scaled"],
            "needs --blazepose_norm=batch",
        ),
        (["--init_weights=none"], "use --blazepose_freeze=0"),
        (["--init_weights=keras"], "is for --network=cpn"),
        (["--views=4", "--shift=0.1"], "--shift=0.1: tf-cpn's 4 views are not shifted"),
        (["--regions=boxes"], "expected some of annotation, detector, landmarks"),
        ([f"--init_weights={tmp_path / 'no.tflite'}"], "not found; make models"),
    ):
        failed = command(
            "-m", "tfcpn.train", *flags(people, f"--model_dir={tmp_path}", *arguments), check=False
        )
        assert failed.status == 1 and printed in failed.err
