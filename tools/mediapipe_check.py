"""Check that MediaPipe runs a network of this project, and compare its landmarks with ours."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from tfcpn.cli import Command, Options, float_, integer, path
from tfcpn.utils.errors import InputError

COMMAND = Command(
    "python tools/mediapipe_check.py",
    __doc__,
    {
        "What": [
            path(
                "model",
                "data/mediapipe/pose_landmark_full.tflite",
                "A .task bundle, or a landmark network, of which one is made with --detector.",
            ),
            path("detector", "data/mediapipe/pose_detection.tflite", "MediaPipe's detector."),
            path(
                "images",
                None,
                "Folder of images of people, each of which is turned by another angle.",
                required=True,
            ),
            integer("count", 20, "Number of images, by name.", minimum=1),
            path("video", "", "Also a video in VIDEO mode, with as many people as are in it."),
            integer("people", 2, "--video: number of people.", minimum=1),
        ],
        "How": [
            path(
                "python",
                ".venv-mediapipe/bin/python",
                "A Python with mediapipe 1.2 or later; make mediapipe-check makes it.",
            ),
            path(
                "legacy_python",
                "",
                "Also a Python with mediapipe 0.10.14, whose Pose runs a .tflite file.",
            ),
            float_(
                "max_distance",
                0.02,
                "Maximum median distance of landmarks, over the side of the person's region.",
                minimum=0,
            ),
        ],
    },
)
SUFFIXES = {".jpg", ".jpeg", ".png"}
SCRIPTS = Path(__file__).parent / "with_mediapipe"
MAX_FRAMES = 90


class Differences(NamedTuple):
    """Medians over people of differences between MediaPipe's landmarks and ours.

    Attributes:
        landmarks: Distance over the side of the region.
        worst: The largest distance of a person, over the side of the region.
        z: In widths of the image.
        visibility: From 0 to 1.
        world: In meters.
    """

    landmarks: float
    worst: float
    z: float
    visibility: float
    world: float


def run_script(python: str, script: str, *arguments: str):
    """Return the JSON that a script prints, run by the Python that has MediaPipe."""
    command = [python, str(SCRIPTS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        errors = done.stderr.strip().splitlines() or ["no output"]
        raise InputError(f"{python}: MediaPipe failed: {errors[-1]}")
    return json.loads(lines[-1])


def turned_images(images: list[Path], folder: Path) -> list[Path]:
    """Write each image, turned by another angle of a full turn, and return the files.

    Where pixels are sampled differs most for a person upside down.
    """
    import cv2
    import numpy as np

    files = []
    for number, file in enumerate(images):
        image = cv2.imread(str(file))
        if image is None:
            raise InputError(f"{file}: cannot be read as an image")
        height, width = image.shape[:2]
        side = round(np.hypot(height, width))
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 360 * number / len(images), 1)
        matrix[:, 2] += (side - width) / 2, (side - height) / 2
        turned = cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
        files.append(folder / f"{number:04d}.png")
        cv2.imwrite(str(files[-1]), turned)
    return files


def differences(pairs: list) -> Differences:
    """Compare people.

    Args:
        pairs: A person of ours, the answer of landmarker.py for it, and the image's (height,
            width).
    """
    import numpy as np

    rows = []
    for person, theirs, (height, width) in pairs:
        landmarks, world = np.array(theirs["landmarks"]), np.array(theirs["world"])
        away = np.linalg.norm(landmarks[:, :2] * (width, height) - person.keypoints, axis=1)
        rows.append(
            [
                np.median(away) / person.region[2],
                np.median(np.abs(landmarks[:, 2] - person.z)),
                np.median(np.abs(landmarks[:, 3] - person.scores)),
                np.median(np.linalg.norm(world - person.world, axis=1)),
            ]
        )
    away, z, visibility, meters = np.array(rows).T
    return Differences(
        *(float(v) for v in (np.median(away), away.max(), np.median(z))),
        float(np.median(visibility)),
        float(np.median(meters)),
    )


def check_images(args, pose, bundle: str, images: list[Path]) -> Differences:
    """Compare PoseLandmarker in IMAGE mode with the prediction of this project."""
    import cv2
    import numpy as np

    answer = run_script(args.python, "landmarker.py", "image", "1", bundle, *map(str, images))
    pairs, found = [], 0
    for file, theirs in zip(images, answer["images"]):
        image = cv2.imread(str(file))
        people = pose(image)
        found += bool(people)
        if people and theirs:
            # MediaPipe shows one person, which may be another one than our best.
            points = np.array(theirs[0]["landmarks"])[:, :2] * image.shape[1::-1]
            nearest = min(people, key=lambda p: np.linalg.norm(p.keypoints - points))
            pairs.append((nearest, theirs[0], image.shape[:2]))
    theirs = sum(bool(people) for people in answer["images"])
    both = f"of {len(images)} images MediaPipe finds a person in {theirs}, tfcpn in {found}"
    print(f"MediaPipe {answer['version']}, PoseLandmarker, IMAGE mode: {both}")
    if not pairs:
        raise InputError(f"{both}, none with a person in both: nothing to compare")
    away = differences(pairs)
    print(
        f"  landmarks {away.landmarks:.4f} of the region apart (median; at most {away.worst:.4f} "
        f"for a person), z {away.z:.4f} widths of the image, visibility {away.visibility:.4f}, "
        f"world landmarks {away.world:.4f} m"
    )
    return away


def check_video(args, pose, bundle: str) -> None:
    """Run PoseLandmarker in VIDEO mode and the tracker of this project on a video."""
    import cv2
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        capture, files, size = cv2.VideoCapture(args.video), [], (0, 0)
        while len(files) < MAX_FRAMES:
            is_read, frame = capture.read()
            if not is_read:
                break
            size = frame.shape[1::-1]
            files.append(str(Path(folder) / f"{len(files):04d}.png"))
            cv2.imwrite(files[-1], frame)
        if not files:
            raise InputError(f"{args.video}: cannot be read as a video")
        arguments = ["video", str(args.people), bundle, *files]
        answer = run_script(args.python, "landmarker.py", *arguments)
        tracked = [people for _, people in pose.video(cv2.imread(file) for file in files)]
    theirs = [[np.array(p["landmarks"])[:, :2] * size for p in f] for f in answer["images"]]
    ours = [[p.keypoints for p in people] for people in tracked]
    print(f"VIDEO mode, {len(files)} frames of {args.video}:")
    for name, frames in (("MediaPipe", theirs), ("tfcpn", ours)):
        people = np.mean([len(f) for f in frames])
        print(f"  {name}: {people:.2f} people a frame, jitter {jitter(frames):.2f} px")
    ids = {p.track_id for people in tracked for p in people}
    print(f"  tfcpn: {len(ids)} identities; MediaPipe has none")


def jitter(frames: list) -> float:
    """Return the median size of the second difference of landmarks in pixels.

    Args:
        frames: For each frame the landmarks (33, 2) of its people; the first person that is
            nearest to the one before is followed.
    """
    import numpy as np

    path: list = []
    for people in frames:
        if not people:
            path = path[-1:] if len(path) < 3 else path
            continue
        last = path[-1] if path else people[0]
        path.append(min(people, key=lambda p: np.linalg.norm(p - last)))
    if len(path) < 3:
        return float("nan")
    return float(np.median(np.linalg.norm(np.diff(np.array(path), n=2, axis=0), axis=-1)))


def check_legacy(args, pose, images: list[Path]) -> float:
    """Compare Pose of mediapipe 0.10.14 with the prediction of this project."""
    import cv2
    import numpy as np

    detected = run_script(args.legacy_python, "pose.py", args.model, *map(str, images))
    away = []
    for file, theirs in zip(images, detected):
        people = pose(cv2.imread(str(file)))
        if people and theirs:
            points = np.array(theirs)
            nearest = min(people, key=lambda p: np.linalg.norm(p.keypoints - points))
            distance = np.linalg.norm(nearest.keypoints - points, axis=1)
            away.append(float(np.median(distance)) / nearest.region[2])
    found = sum(t is not None for t in detected)
    if not away:
        raise InputError(
            f"of {len(images)} images Pose finds a person in {found}: nothing to compare"
        )
    median = float(np.median(away))
    print(f"MediaPipe 0.10.14, Pose: found in {found}; landmarks {median:.4f} of the region apart")
    return median


def main(options: Options) -> None:
    args = options.args
    images = sorted(p for p in Path(args.images).glob("*") if p.suffix.lower() in SUFFIXES)
    images = images[: args.count]
    if not images:
        raise InputError(f"--images={args.images}: there is no .jpg or .png")
    for python in filter(None, (args.python, args.legacy_python)):
        if not Path(python).exists():
            raise InputError(f"{python} not found; make mediapipe-check makes it")
    from tfcpn import Pose
    from tfcpn.models.blazepose.bundle import make_bundle
    from tfcpn.models.blazepose.detector import DETECTOR_MEMBER
    from tfcpn.models.blazepose.weights import LANDMARK_MEMBER
    from tfcpn.models.tflite import read_tflite_bytes

    with tempfile.TemporaryDirectory() as folder:
        bundle, detector = args.model, args.model
        if not args.model.endswith(".task"):
            bundle, detector = str(Path(folder) / "pose.task"), args.detector
            landmarks = read_tflite_bytes(args.model, LANDMARK_MEMBER)
            content = make_bundle(landmarks, read_tflite_bytes(detector, DETECTOR_MEMBER))
            Path(bundle).write_bytes(content)
        images = turned_images(images, Path(folder))
        pose = Pose.load(args.model, detector=detector)
        distances = [check_images(args, pose, bundle, images).landmarks]
        if args.video:
            check_video(args, pose, bundle)
        if args.legacy_python and not args.model.endswith(".task"):
            distances.append(check_legacy(args, pose, images))
    if max(distances) > args.max_distance:
        raise InputError(
            f"MediaPipe's landmarks are {max(distances):.4f} of the region away from tfcpn's, more "
            f"than {args.max_distance}"
        )


if __name__ == "__main__":
    COMMAND.run(main)
