"""BlazePose from MediaPipe's file to MediaPipe's file: trained, evaluated and exported."""

import json

import numpy as np
import pytest

from support.commands import ROOT
from support.models import run_tflite
from support.photos import photo
from support.small_run import logged
from tfcpn.checkpoints.manager import CheckpointManager, TrainingPosition
from tfcpn.models.blazepose.blazepose import named_variables
from tfcpn.models.blazepose.model import build_blazepose
from tfcpn.models.specs import FULL


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
        *more,
    ]


@pytest.fixture(scope="module")
def run(people, mediapipe, tmp_path_factory, command):
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("runs") / "taught"
    file = f"--init_weights={mediapipe.landmarks}"
    command(
        "-m", "tfcpn.train", *flags(people, f"--model_dir={folder}", file, "--learning_rate=1e-4")
    )
    return folder


@pytest.mark.slow
def test_a_run_tells_how_it_does_beside_the_network_that_it_began_as(run):
    row = logged(run)[0]
    assert 0 < float(row["landmarks"]) < 0.2 and float(row["distillation"]) > 0
    assert float(row["student_distance"]) == pytest.approx(float(row["teacher_distance"]), rel=0.2)
    assert float(row["total"]) == pytest.approx(
        sum(
            float(row[name])
            for name in ("landmarks", "visibility", "heatmaps", "distillation", "decay")
        ),
        abs=1e-5,
    )


@pytest.mark.slow
def test_it_is_evaluated_and_so_is_what_it_began_as(run, people, command):
    taught = command("-m", "tfcpn.eval", f"--model_dir={run}", "--epoch=0,1")
    rows = [line for line in taught.out.splitlines() if line.startswith(("| 0", "| 1"))]
    assert len(rows) == 2 and rows[0] != rows[1]
    metrics = json.loads((run / "eval" / "epoch_0001_noflip_refined" / "metrics.json").read_text())
    assert 0 < metrics["PCK@.2"] <= 1


@pytest.mark.slow
def test_what_goes_back_is_what_keras_computes(run, mediapipe, command, tmp_path):
    output = tmp_path / "own.tflite"
    printed = command(
        "tools/export.py",
        f"--model_dir={run}",
        f"--template={mediapipe.landmarks}",
        f"--output={output}",
    )
    assert f"written: {output}" in printed.out
    model = build_blazepose(FULL, "scaled")
    CheckpointManager(run).restore(TrainingPosition(1), named_variables(model))
    images = np.stack([photo(256, 256, seed).astype(np.float32) / 255 for seed in range(3)])
    theirs = run_tflite(output, images)["Identity"].reshape(3, 39, 5)[..., :2]
    # In float32 it would be equal; float16 keeps three digits of a weight.
    assert np.median(np.abs(theirs - model(images).landmarks.numpy()[..., :2])) < 1
    again = command("tools/export.py", f"--model_dir={run}", f"--output={output}", check=False)
    assert again.status == 1 and "--overwrite" in again.err


def test_a_file_goes_back_without_a_run_into_a_bundle_too(mediapipe, command, tmp_path):
    import zipfile
    from pathlib import Path

    bundle, output = tmp_path / "in.task", tmp_path / "out.task"
    with zipfile.ZipFile(bundle, "w") as made:
        made.write(mediapipe.detector, "pose_detector.tflite")
        made.write(mediapipe.landmarks, "pose_landmarks_detector.tflite")
    words = [
        "--network=blazepose",
        f"--init_weights={bundle}",
        "--epoch=0",
        f"--template={mediapipe.landmarks}",
    ]
    command(
        "tools/export.py",
        *words,
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
def test_a_rate_that_ruins_it_is_reported(people, mediapipe, command, tmp_path):
    words = flags(
        people,
        f"--model_dir={tmp_path}",
        f"--init_weights={mediapipe.landmarks}",
        "--learning_rate=0.1",
    )
    failed = command("-m", "tfcpn.train", *words, check=False)
    assert (
        failed.status == 1
        and "the network diverges" in failed.err
        and "--learning_rate" in failed.err
    )


@pytest.mark.slow
def test_from_random_weights_without_a_teacher(people, command, tmp_path):
    words = [
        "--init_weights=none",
        "--blazepose_size=lite",
        "--blazepose_freeze=0",
        f"--model_dir={tmp_path}",
    ]
    command("-m", "tfcpn.train", *flags(people, *words))
    row = logged(tmp_path)[0]
    assert "held" not in row and float(row["heatmaps"]) > 0


@pytest.mark.slow
def test_it_may_predict_its_alignment_points_too(people, mediapipe, command, tmp_path):
    """The network predicts them as two more keypoints, which the first pass uses."""
    file = f"--init_weights={mediapipe.landmarks}"
    words = [f"--model_dir={tmp_path}", file, "--learning_rate=1e-4", "--predict_align_points"]
    command("-m", "tfcpn.train", *flags(people, *words))
    done = command(
        "-m", "tfcpn.eval", f"--model_dir={tmp_path}", "--epoch=1", "--align_source=two_pass"
    )
    assert "alignment points from" in done.out
    assert "which the network does not have" not in done.out


@pytest.mark.slow
def test_what_moved_is_reported(people, mediapipe, command, tmp_path):
    words = [f"--annotations={people.val_annotations}", f"--images={people.val}", "--people=4"]
    output = tmp_path / "moved.json"
    files = [f"--before={mediapipe.landmarks}", f"--after={mediapipe.landmarks}"]
    done = command("tools/compare_blazepose.py", *files, *words, f"--output={output}")
    found = json.loads(output.read_text())
    assert found.pop("people") == 4 and "hands" in done.out
    # Nothing, of a file beside itself.
    assert found.pop("mask, IoU") == 1 and set(found.values()) == {0.0}


def test_what_does_not_go_together_is_refused(people, command, tmp_path):
    for words, printed in (
        (["--input_size=256x192"], "takes --input_size=256x256 only"),
        (
            ["--init_weights=none", "--blazepose_freeze=0", "--blazepose_norm=scaled"],
            "needs --blazepose_norm=batch",
        ),
        (["--init_weights=none"], "use --blazepose_freeze=0"),
        (["--init_weights=keras"], "is for --network=cpn"),
        (["--views=4", "--shift=0.1"], "--shift=0.1: tf-cpn's 4 views are not shifted"),
        (["--views=1", "--shift_exponent=2"], "--shift_exponent=2 needs a --shift"),
        ([f"--init_weights={tmp_path / 'no.tflite'}"], "not found; make models"),
    ):
        failed = command(
            "-m", "tfcpn.train", *flags(people, f"--model_dir={tmp_path}", *words), check=False
        )
        assert failed.status == 1 and printed in failed.err
