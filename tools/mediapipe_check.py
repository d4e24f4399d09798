"""Check that MediaPipe's own Pose runs a network of this project, and compare the landmarks."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

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
                "The network, such as tools/export.py writes.",
            ),
            path("images", None, "Folder of images of people.", required=True),
            integer("count", 20, "How many of them, by name.", minimum=1),
            path("detector", "data/mediapipe/pose_detection.tflite", "MediaPipe's detector."),
        ],
        "How": [
            path(
                "python",
                ".venv-mediapipe/bin/python",
                "A Python that has mediapipe 0.10.14; make mediapipe-check.",
            ),
            float_(
                "most",
                0.02,
                "Allowed median distance of landmarks, in parts of the person's region.",
                minimum=0,
            ),
        ],
    },
)
SUFFIXES = {".jpg", ".jpeg", ".png"}


def mediapipe_landmarks(python: str, model: str, images: list[Path]) -> list:
    """Return MediaPipe's 33 landmarks [x, y] in pixels of each image, or None."""
    script = Path(__file__).parent / "with_mediapipe" / "pose.py"
    done = subprocess.run(
        [python, str(script), model, *map(str, images)], capture_output=True, text=True
    )
    if done.returncode:
        raise InputError(
            f"{python}: MediaPipe failed: {(done.stderr.strip().splitlines() or ['no output'])[-1]}"
        )
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(options: Options) -> None:
    args = options.args
    images = sorted(p for p in Path(args.images).glob("*") if p.suffix.lower() in SUFFIXES)[
        : args.count
    ]
    if not images:
        raise InputError(f"--images={args.images}: there is no .jpg or .png")
    if not Path(args.python).exists():
        raise InputError(f"--python={args.python} not found; make mediapipe-check makes it")
    import cv2
    import numpy as np

    from tfcpn.codecs.landmarks import LandmarkCodec
    from tfcpn.data.coco import CocoImage
    from tfcpn.data.images import find_image
    from tfcpn.evaluation.estimate import estimate
    from tfcpn.evaluation.predictor import Predictor
    from tfcpn.models.blazepose.blazepose import blazepose_network
    from tfcpn.models.blazepose.detector import PoseDetector
    from tfcpn.models.blazepose.weights import read_landmark_model
    from tfcpn.models.specs import BLAZEPOSE_INPUT_SIZE, NUM_LANDMARKS
    from tfcpn.skeleton import MEDIAPIPE
    from tfcpn.transforms.cropping import CropSpec
    from tfcpn.transforms.regions import region_from_points

    _, table = read_landmark_model(args.model)
    network = blazepose_network(
        table.name, norm="none", seed=0, from_teacher=True, distillation_weight=0, heatmap_weight=0
    )
    model = network.build()
    network.load_weights(model, args.model)
    codec = LandmarkCodec(MEDIAPIPE, NUM_LANDMARKS, BLAZEPOSE_INPUT_SIZE[1], refine=True)
    predictor = Predictor(
        model,
        network,
        codec,
        CropSpec(BLAZEPOSE_INPUT_SIZE, True, network.preprocessing.pad_color),
        flip_test=False,
    )
    detector, found = PoseDetector(args.detector), 0
    places, regions, expected = [], [], []
    detected = mediapipe_landmarks(args.python, args.model, images)
    for file, landmarks in zip(images, detected):
        image = cv2.imread(str(file))
        people = detector(image)
        found += bool(people)
        if not people or landmarks is None:
            continue
        regions.append(region_from_points(people[0].points, 1.25).numpy())
        places.append(find_image(str(file.parent), CocoImage(0, file.name, *image.shape[:2])))
        expected.append(landmarks)
    by_mediapipe = sum(t is not None for t in detected)
    both = f"of {len(images)} images MediaPipe finds a person in {by_mediapipe}, tfcpn in {found}"
    if not places:
        raise InputError(f"{both}, none with a person in both: nothing to compare")
    keypoints, _ = estimate(predictor, places, np.stack(regions), label="landmarks")
    away = np.median(np.linalg.norm(keypoints - np.array(expected), axis=2), axis=1)
    distances = away / np.stack(regions)[:, 2]
    median, worst = float(np.median(distances)), float(np.max(distances))
    print(f"{args.model}: {both}")
    print(
        f"distance of a person's landmarks, in parts of its region: median {median:.4f}, greatest "
        f"{worst:.4f}"
    )
    if median > args.most:
        raise InputError(
            f"MediaPipe's landmarks are {median:.4f} of the region away from tfcpn's, more than "
            f"{args.most}"
        )


if __name__ == "__main__":
    COMMAND.run(main)
