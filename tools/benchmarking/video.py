"""Frames per second of videos, and of MediaPipe's own Pose if that is installed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from tfcpn.builders import build_components
from tfcpn.commands.make_video import draw_frame, walkers
from tfcpn.config import Config
from tfcpn.inference.backends import KerasBackend
from tfcpn.inference.detectors import load_detector
from tfcpn.inference.estimator import PoseEstimator
from tfcpn.inference.pose import Pose
from tfcpn.inference.tracker import BOX_EXPANSION, Tracker
from tfcpn.inference.video import VideoReader
from tfcpn.skeleton import COCO
from tfcpn.synthetic.scenery import background
from tfcpn.transforms.alignment import Alignment
from tfcpn.transforms.regions import WIDEN_X, WIDEN_Y
from tfcpn.utils.errors import InputError

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


class _FixedKeypointsBackend:
    """Runs a network of random weights and replaces its keypoints by those of a person who fills
    the box.

    So the cost does not depend on the weights, and the people of the video are tracked.
    """

    min_presence, has_depth = 0.0, False

    def __init__(self, backend: KerasBackend):
        """Wrap a backend."""
        self.codec, self.crop_spec, self._backend = backend.codec, backend.crop_spec, backend

    def __call__(self, crops):
        keypoints, scores, presence, _ = self._backend(crops)
        height, width = self.crop_spec.size
        # The corners, in turn, of what the tracker and the region expand to the whole crop.
        half = 0.5 / BOX_EXPANSION / np.array([WIDEN_X, WIDEN_Y])
        corners = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]]) * half
        fixed = (np.resize(corners, keypoints.shape[1:]) + 0.5) * [width, height]
        return keypoints * 0 + fixed.astype(np.float32), scores, presence, None


def _random_cpn(cfg: Config, find) -> PoseEstimator:
    """Return a CPN of random weights that accepts every detection."""
    components = build_components(cfg, COCO)
    backend = KerasBackend(
        components.network.build(),
        components.network,
        components.codec,
        components.crop_spec,
        flip_test=False,
    )
    return PoseEstimator(
        _FixedKeypointsBackend(backend), COCO, Alignment("person"), find, nms_oks=None
    )


def benchmark_video(
    cfg: Config, rounds: int, frames: int, python: str, folder: str = "data/mediapipe"
) -> list[dict]:
    """Return table rows: each backend, with one person and with four.

    Args:
        cfg: Settings of the CPN.
        rounds: Timed passes, of which the fastest counts.
        frames: Frames per video.
        python: A Python with mediapipe; MediaPipe's row is left out if it does not exist.
        folder: Folder of MediaPipe's models.
    """
    from tfcpn.utils import device

    model = f"{folder}/pose_landmark_full.tflite"
    find = load_detector(f"{folder}/pose_detection.tflite")
    ways = {"BlazePose, TensorFlow Lite": lambda: Pose.load(model, detector=find)}
    for precision in ("float32", "bfloat16"):
        ways[f"BlazePose, Keras {precision}"] = lambda p=precision: Pose.load(
            model, detector=find, as_keras=True, mixed_precision=p
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
            f"{python}: MediaPipe failed: {(done.stderr.strip().splitlines() or ['no output'])[-1]}"
        )
    printed = json.loads(done.stdout.strip().splitlines()[-1])
    return min(printed["seconds"]), printed["found"]
