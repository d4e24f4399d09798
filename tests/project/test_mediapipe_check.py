"""The check against MediaPipe, with a stand-in that returns given landmarks."""

import json
import sys
import zipfile

import pytest

# What landmarker.py and pose.py use of MediaPipe. The answer: x and y of every landmark, or null.
PACKAGE = """
import json
from pathlib import Path
from types import SimpleNamespace as Value

HERE = Path(__file__).parent
__version__ = "9.9"
ImageFormat = Value(SRGB=1)


def Image(image_format, data):
    return data


def answer():
    return json.loads((HERE / "answer.json").read_text())


class Pose:
    def __init__(self, static_image_mode, model_complexity):
        assert static_image_mode and model_complexity == 1
        model = HERE / "modules/pose_landmark/pose_landmark_full.tflite"
        (HERE / "seen").write_bytes(model.read_bytes())

    __enter__ = lambda self: self
    __exit__ = lambda self, *how: None

    def process(self, image):
        point = answer()
        points = point and [Value(x=point[0], y=point[1])] * 33
        return Value(pose_landmarks=points and Value(landmark=points))


solutions = Value(pose=Value(Pose=Pose))
"""
VISION = """
import shutil
from types import SimpleNamespace as Value
import mediapipe

RunningMode = {"IMAGE": 1, "VIDEO": 2}
PoseLandmarkerOptions = Value


class PoseLandmarker:
    @classmethod
    def create_from_options(cls, options):
        shutil.copy(options.base_options, mediapipe.HERE / "bundle.task")
        return cls()

    __enter__ = lambda self: self
    __exit__ = lambda self, *how: None

    def detect(self, image):
        point = mediapipe.answer()
        if point is None:
            return Value(pose_landmarks=[], pose_world_landmarks=[])
        one = Value(x=point[0], y=point[1], z=0.0, visibility=1.0, presence=1.0)
        return Value(pose_landmarks=[[one] * 33], pose_world_landmarks=[[one] * 33])

    def detect_for_video(self, image, milliseconds):
        return self.detect(image)
"""


@pytest.fixture
def check(mediapipe, people, command, tmp_path):
    """Run the check with a stand-in that returns these landmarks, as fractions of the image."""
    package = tmp_path / "site" / "mediapipe"
    own = package / "modules" / "pose_landmark" / "pose_landmark_full.tflite"
    for folder in (own.parent, package / "tasks" / "python" / "vision"):
        folder.mkdir(parents=True)
    own.write_bytes(b"its own")
    (package / "__init__.py").write_text(PACKAGE)
    (package / "tasks/__init__.py").write_text("")
    base = "def BaseOptions(model_asset_path):\n    return model_asset_path\n"
    (package / "tasks/python/__init__.py").write_text(base)
    (package / "tasks/python/vision/__init__.py").write_text(VISION)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path / "site"} exec {sys.executable} "$@"\n')
    python.chmod(0o755)

    def run(answer, *arguments):
        (package / "answer.json").write_text(json.dumps(answer))
        where = [f"--images={people.val}", f"--python={python}", f"--model={mediapipe.landmarks}"]
        where += ["--count=2", f"--detector={mediapipe.detector}"]
        done = command("tools/mediapipe_check.py", *where, *arguments, check=False)
        names = zipfile.ZipFile(package / "bundle.task").namelist()
        assert names == ["pose_detector.tflite", "pose_landmarks_detector.tflite"]
        assert own.read_bytes() == b"its own"
        return done

    run.python, run.seen = python, package / "seen"
    return run


@pytest.mark.slow
def test_different_landmarks_fail_the_check(check, mediapipe):
    failed = check([0.0, 0.0])
    assert failed.status == 1 and "of the region away from tfcpn's, more than 0.02" in failed.err
    done = check([0.0, 0.0], "--max_distance=1000", f"--legacy_python={check.python}")
    assert done.status == 0
    assert "MediaPipe 9.9, PoseLandmarker, IMAGE mode: of 2 images MediaPipe finds a" in done.out
    assert "MediaPipe 0.10.14, Pose: found in 2" in done.out
    # The legacy Pose ran the given file, in place of that of its package.
    with open(mediapipe.landmarks, "rb") as file:
        assert check.seen.read_bytes() == file.read()


@pytest.mark.slow
def test_no_person_found_fails_the_check(check):
    failed = check(None)
    assert failed.status == 1 and "MediaPipe finds a person in 0" in failed.err
    assert "nothing to compare" in failed.err


@pytest.mark.slow
def test_a_video_is_followed_by_both(check, command, tmp_path):
    video = tmp_path / "v.mp4"
    size = ["--people=1", "--seconds=0.4", "--width=320", "--height=240"]
    command("tools/make_video.py", f"--output={video}", *size)
    done = check([0.5, 0.5], "--max_distance=1000", f"--video={video}", "--people=1")
    assert "VIDEO mode, 10 frames of" in done.out
    assert "MediaPipe: 1.00 people a frame, jitter 0.00 px" in done.out
    assert "tfcpn:" in done.out and "identities; MediaPipe has none" in done.out


@pytest.mark.slow
def test_missing_files_are_reported(command, tmp_path):
    failed = command("tools/mediapipe_check.py", f"--images={tmp_path}", check=False)
    assert failed.status == 1 and "there is no .jpg or .png" in failed.err
    (tmp_path / "a.png").touch()
    failed = command("tools/mediapipe_check.py", f"--images={tmp_path}", "--python=no", check=False)
    assert failed.status == 1 and "no not found; make mediapipe-check makes it" in failed.err


@pytest.mark.slow
def test_bundles_are_scored_in_mediapipe(mediapipe, people, check, command, tmp_path):
    """With the stand-in, which says the same of every image, or finds no person."""
    check([0.5, 0.5], "--max_distance=1000")
    bundle, output = tmp_path / "one.task", tmp_path / "score.md"
    bundle.write_bytes(check.seen.with_name("bundle.task").read_bytes())
    data = json.loads(people.val_annotations.read_text())
    data["images"].append({**data["images"][0], "id": 10**6})  # without people
    (tmp_path / "val.json").write_text(json.dumps(data))
    arguments = [f"--bundles={bundle}", f"--annotations={tmp_path / 'val.json'}"]
    arguments += [f"--images={people.val}", f"--python={check.python}", f"--output={output}"]
    done = command("tools/mediapipe_score.py", *arguments)
    assert "| one.task | all |" in done.out and "| 1.000 |" in done.out
    assert "False people in images without people (1): one.task 1\n" in done.out
    scores = json.loads(output.with_suffix(".json").read_text())[str(bundle)]["groups"]["all"]
    assert scores["found"] == 1 and scores["PCK@.2"]["mean"] < 0.5
    (check.seen.with_name("answer.json")).write_text("null")
    command("tools/mediapipe_score.py", *arguments)
    scores = json.loads(output.with_suffix(".json").read_text())[str(bundle)]["groups"]["all"]
    assert scores["found"] == 0 and scores["PCK@.2"]["mean"] == 0


@pytest.mark.slow
def test_the_frames_of_a_video_are_scored_in_video_mode(check, command, tmp_path):
    check([0.5, 0.5], "--max_distance=1000")
    bundle, output = tmp_path / "one.task", tmp_path / "score.md"
    bundle.write_bytes(check.seen.with_name("bundle.task").read_bytes())
    video = tmp_path / "handstand.mp4"
    size = ["--people=1", "--seconds=0.2", "--width=320", "--height=240", "--movement=handstand"]
    command("tools/make_video.py", f"--output={video}", *size)
    arguments = [f"--bundles={bundle}", f"--annotations={video.with_suffix('.json')}"]
    arguments += [f"--video={video}", f"--python={check.python}", f"--output={output}"]
    table = command("tools/mediapipe_score.py", *arguments).out
    assert "| one.task | over 90 | 5 | 1.000 |" in table
    both = command("tools/mediapipe_score.py", *arguments, f"--images={tmp_path}", check=False)
    assert both.status == 1 and "expected --images or --video" in both.err
