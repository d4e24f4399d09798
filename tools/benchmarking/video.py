"""Frames a second of videos, beside MediaPipe's own Pose where that is installed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from make_video import draw_frame, walkers

from synthetic.scenery import background
from tfcpn.base.errors import InputError
from tfcpn.geometry.alignment import Alignment
from tfcpn.geometry.regions import WIDEN_X, WIDEN_Y
from tfcpn.parts import make_parts
from tfcpn.prediction import loading
from tfcpn.prediction.estimator import PoseEstimator
from tfcpn.prediction.reading import KerasBackend
from tfcpn.prediction.tracker import BOX_EXPANSION, Tracker
from tfcpn.prediction.video_file import VideoReader
from tfcpn.settings.config import Config
from tfcpn.skeleton import COCO

SIZE = (720, 1280)
_DRAWN = 24  # different frames, to and fro


def _draw(path: Path, people: int, frames: int) -> None:
    """A 720p video of people who stand and move their limbs a little."""
    rng = np.random.default_rng(people)
    scene, walking = background(rng, *SIZE), walkers(rng, people, 2.0, False)
    walking = [walker._replace(speed=0.0) for walker in walking]
    drawn = [draw_frame(scene, walking, 0.3 + n / 50, rng)[0] for n in range(min(_DRAWN, frames))]
    order = [*range(len(drawn)), *range(len(drawn) - 2, 0, -1)]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, SIZE[::-1])
    for n in range(frames):
        writer.write(drawn[order[n % len(order)]])
    writer.release()


def _timed(pose: PoseEstimator, video: Path) -> tuple[float, int]:
    """Seconds of a pass, decoding and all, and the people seen in it."""
    tracker, seen = Tracker(pose), 0
    start = time.perf_counter()
    with VideoReader(str(video)) as frames:
        for image, seconds in frames:
            seen += len(tracker(image, seconds))
    return time.perf_counter() - start, seen


class _Steady:
    """A network of random weights that runs as any does, whose keypoints are then put where those of somebody who fills
    the box would be: what it costs does not hang on what it knows, and the people of the video are followed.
    """

    least = 0.0

    def __init__(self, reader: KerasBackend):
        self.codec, self.crop_spec, self._reader = reader.codec, reader.crop_spec, reader

    def __call__(self, crops):
        keypoints, scores, person = self._reader(crops)
        height, width = self.crop_spec.size
        # The corners, in turn, of what the tracker and the region widen to the whole crop.
        half = 0.5 / BOX_EXPANSION / np.array([WIDEN_X, WIDEN_Y])
        corners = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]]) * half
        places = (np.resize(corners, keypoints.shape[1:]) + 0.5) * [width, height]
        return keypoints * 0 + places.astype(np.float32), scores, person


def _random_cpn(cfg: Config, find) -> PoseEstimator:
    """A CPN that takes everybody for a person."""
    parts = make_parts(cfg, COCO)
    reader = KerasBackend(
        parts.network.build(), parts.network, parts.codec, parts.crop_spec, flip_test=False
    )
    return PoseEstimator(_Steady(reader), COCO, Alignment("person"), find, alike=None)


def benchmark_video(
    cfg: Config, rounds: int, frames: int, python: str, folder: str = "data/mediapipe"
) -> list[dict]:
    """Rows: each way, with one person and with four. python: that has mediapipe; it is left out where it is not."""
    from tfcpn.base import device

    model, find = (
        f"{folder}/pose_landmark_full.tflite",
        loading.finder(f"{folder}/pose_detection.tflite"),
    )
    ways = {
        "BlazePose, TensorFlow Lite": lambda: PoseEstimator(
            *loading.of_file(model, "auto", find, loading.ALIKE)
        )
    }
    for precision in ("float32", "bfloat16"):
        ways[f"BlazePose, Keras {precision}"] = lambda p=precision: PoseEstimator(
            *loading.of_weights(model, "auto", find, loading.ALIKE, precision=p)
        )

    def random_cpn(precision):
        device.set_precision(precision)
        return _random_cpn(dataclasses.replace(cfg, mixed_precision=precision), find)

    for precision in ("float32", "bfloat16"):
        ways[f"CPN {precision}"] = lambda p=precision: random_cpn(p)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for people in (1, 4):
            video = Path(place) / f"{people}.mp4"
            _draw(video, people, frames)
            poses = {name: make() for name, make in ways.items()}
            best = {name: np.inf for name in poses}
            seen = {}
            for pass_number in range(rounds + 1):
                for name, pose in poses.items():
                    seconds, seen[name] = _timed(pose, video)
                    best[name] = min(best[name], seconds) if pass_number else np.inf
            if people == 1 and Path(python).exists():
                best["MediaPipe's Pose"], seen["MediaPipe's Pose"] = _theirs(python, video, rounds)
            least = best.get("MediaPipe's Pose")
            for name, seconds in best.items():
                row = {"video": name, "people": people, "frames/s": frames / seconds}
                row["people seen a frame"] = seen[name] / frames
                rows.append({**row, "times MediaPipe": least / seconds if least else ""})
    device.set_precision("float32")
    return rows


def _theirs(python: str, video: Path, rounds: int) -> tuple[float, int]:
    script = Path(__file__).parent.parent / "with_mediapipe" / "video.py"
    done = subprocess.run(
        [python, str(script), str(video), str(rounds)], capture_output=True, text=True
    )
    if done.returncode:
        raise InputError(
            f"{python}: MediaPipe failed: {(done.stderr.strip().splitlines() or ['no word'])[-1]}"
        )
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return min(told["seconds"]), told["found"]
