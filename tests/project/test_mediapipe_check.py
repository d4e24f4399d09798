"""The check against MediaPipe's Pose, with a stand-in that returns given landmarks."""

import json
import sys
from pathlib import Path

import pytest

STAND_IN = """
import json
from pathlib import Path
from types import SimpleNamespace as Value

HERE = Path(__file__).parent


class Pose:
    def __init__(self, static_image_mode, model_complexity):
        assert static_image_mode and model_complexity == 1
        model = HERE / "modules/pose_landmark/pose_landmark_full.tflite"
        (HERE / "seen").write_bytes(model.read_bytes())

    __enter__ = lambda self: self
    __exit__ = lambda self, *how: None

    def process(self, image):
        points = json.loads((HERE / "answer.json").read_text())
        return Value(pose_landmarks=points and Value(landmark=[Value(x=x, y=y) for x, y in points]))


solutions = Value(pose=Value(Pose=Pose))
"""


@pytest.fixture
def check(mediapipe, people, command, tmp_path):
    """Run the check with a stand-in that returns these landmarks, as fractions of the image."""
    package = tmp_path / "site" / "mediapipe"
    own = package / "modules" / "pose_landmark" / "pose_landmark_full.tflite"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"its own")
    (package / "__init__.py").write_text(STAND_IN)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path / "site"} exec {sys.executable} "$@"\n')
    python.chmod(0o755)

    def run(answer, *arguments):
        (package / "answer.json").write_text(json.dumps(answer))
        where = f"--images={people.val}", f"--python={python}", f"--model={mediapipe.landmarks}"
        done = command(
            "tools/mediapipe_check.py",
            *where,
            "--count=2",
            f"--detector={mediapipe.detector}",
            *arguments,
            check=False,
        )
        # During the run the given file replaced that of MediaPipe, which is restored.
        assert (package / "seen").read_bytes() == Path(mediapipe.landmarks).read_bytes()
        assert own.read_bytes() == b"its own"
        return done

    return run


@pytest.mark.slow
def test_different_landmarks_fail_the_check(check):
    failed = check([[0.0, 0.0]] * 33)
    assert failed.status == 1 and "of the region away from tfcpn's, more than 0.02" in failed.err
    done = check([[0.0, 0.0]] * 33, "--most=1000")
    assert done.status == 0 and "of 2 images MediaPipe finds a person in 2" in done.out


@pytest.mark.slow
def test_no_person_found_fails_the_check(check):
    failed = check(None)
    assert (
        failed.status == 1
        and "MediaPipe finds a person in 0" in failed.err
        and "nothing to compare" in failed.err
    )


@pytest.mark.slow
def test_missing_files_are_reported(command, tmp_path):
    failed = command("tools/mediapipe_check.py", f"--images={tmp_path}", check=False)
    assert failed.status == 1 and "there is no .jpg or .png" in failed.err
    (tmp_path / "a.png").touch()
    failed = command("tools/mediapipe_check.py", f"--images={tmp_path}", "--python=no", check=False)
    assert (
        failed.status == 1 and "--python=no not found; make mediapipe-check makes it" in failed.err
    )
