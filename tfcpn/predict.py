"""python -m tfcpn.predict --output=DIR PATH...: poses of the people in images and videos."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from tfcpn.cli import Command, Options, boolean, enum, float_, integer, path, string
from tfcpn.models.specs import (
    DEFAULT_DETECTION_MODEL,
    DEFAULT_LANDMARK_MODEL,
    DEFAULT_PERSON_DETECTOR,
)
from tfcpn.utils.console import import_tensorflow, status
from tfcpn.utils.errors import InputError

COMMAND = Command(
    "python -m tfcpn.predict",
    "Find the people of images and videos, draw their poses, and write results.json.",
    {
        "Network": [
            path("model_dir", "", "Folder of a run."),
            string("epoch", "latest", "Epoch of the run's checkpoint to use, or latest."),
            path(
                "model",
                "",
                "Instead of a run: a .tflite or .task file in MediaPipe's form, or a SavedModel of "
                f"tools/export.py; default: {DEFAULT_LANDMARK_MODEL}, which make models fetches.",
            ),
            enum(
                "network",
                "auto",
                ("auto", "blazepose"),
                "blazepose: MediaPipe's network as a Keras model, without a run; auto: that of the "
                "run or file.",
                advanced=True,
            ),
            path(
                "init_weights",
                DEFAULT_LANDMARK_MODEL,
                "Weights of --network=blazepose.",
                advanced=True,
            ),
            enum(
                "flip_test",
                "auto",
                ("auto", "yes", "no"),
                "Average with the mirrored crop; auto: as the run was validated.",
                advanced=True,
            ),
            enum(
                "mixed_precision",
                "auto",
                ("auto", "float32", "tf32", "bfloat16", "float16"),
                "Precision of a Keras model; auto: that of the run.",
                advanced=True,
            ),
            path(
                "skeleton",
                "auto",
                "Keypoints of BlazePose's networks: auto (those of the run, or MediaPipe's 33), a "
                "known definition such as coco, or a .json file.",
            ),
        ],
        "People": [
            path(
                "boxes",
                "detect",
                "detect: people found by the detector; image: each image is one person; or a COCO "
                "results file, whose image_id is the number in an image's name.",
            ),
            path(
                "detector",
                "auto",
                "MediaPipe's detector, a run that trained it, or another .onnx or .tflite file: "
                "YOLOX, YOLO, with or without suppression inside, or an SSD with four outputs. "
                "auto: that of a .task given as --model, else the one of tfcpn models download "
                "--detector if it is there, else MediaPipe's.",
            ),
            integer(
                "tiles",
                1,
                "Also search tiles of 2 x 2 to n x n for smaller people; 1: no tiles.",
                minimum=1,
                maximum=6,
            ),
            float_(
                "score_threshold",
                0.0,
                "Minimum score of a detected person; 0: .5 of MediaPipe's detector, .3 of others.",
                minimum=0,
                maximum=1,
            ),
            integer(
                "passes",
                1,
                "Number of times that a network with alignment points looks at a person that was "
                "detected: from the second time on in the region of its own landmarks.",
                minimum=1,
                maximum=3,
            ),
            boolean("nms", True, "Remove duplicate poses (OKS-NMS at 0.7).", advanced=True),
        ],
        "Output": [
            path("output", None, "Folder for the images, videos and results.json."),
            boolean("draw", True, "Write images and videos; else only results.json."),
            boolean("draw_regions", False, "Draw the region that the network saw of each person."),
            boolean("csv", False, "Write people.csv, with a row per person."),
            enum(
                "landmarks",
                "2d",
                ("2d", "full"),
                "full: also depth, presence and world landmarks of MediaPipe's network, in its "
                "units, in results.json and people.csv.",
            ),
            boolean("overwrite", False, "Recompute files that are already done."),
        ],
        "Video": [
            integer(
                "detect_every",
                10,
                "Frames between runs of the detector. It also runs while a person is lost.",
                minimum=1,
            ),
            boolean("smooth", True, "Smooth keypoints (One Euro filter, MediaPipe's parameters)."),
            float_(
                "track_timeout",
                1.0,
                "Seconds after which a lost person gets another id.",
                minimum=0,
            ),
            integer(
                "max_frames",
                0,
                "Maximum number of frames of a video; 0: all, with --serve 900.",
                minimum=0,
            ),
        ],
        "Page": [
            boolean("serve", False, "Open a page on this computer for images and short videos."),
            integer("port", 8000, "Port of the page.", minimum=1, maximum=65535, advanced=True),
            integer("max_upload_mb", 50, "Maximum size of an upload.", minimum=1, advanced=True),
        ],
    },
    positional="PATH...",
)
_VIDEO_FLAGS = {"detect_every", "smooth", "track_timeout", "max_frames"}


def check_flags_apply(args: SimpleNamespace, explicit: set[str]) -> None:
    """Refuse flags that contradict each other, or that would have no effect.

    Raises:
        InputError: Naming the flag.
    """
    if sum(map(bool, (args.model, args.model_dir, args.network != "auto"))) > 1:
        raise InputError("expected one of --model, --model_dir and --network")
    is_keras = args.model_dir or args.network == "blazepose"
    detects, serves = args.boxes == "detect", args.serve
    needs = {
        "epoch": (args.model_dir, "--model_dir"),
        "init_weights": (args.network != "auto", "--network=blazepose"),
        **dict.fromkeys(
            ("flip_test", "mixed_precision"), (is_keras, "--model_dir or --network=blazepose")
        ),
        **dict.fromkeys(
            ("detector", "score_threshold", "tiles", "nms"), (detects, "--boxes=detect")
        ),
        **dict.fromkeys(("port", "max_upload_mb"), (serves, "--serve")),
        **dict.fromkeys(
            ("csv", "draw", "overwrite", "landmarks"), (not serves, "files, not for --serve")
        ),
        "draw_regions": (args.draw and not serves, "drawn files, not for --nodraw or --serve"),
    }
    for flag in sorted(explicit & needs.keys()):
        is_met, what = needs[flag]
        if not is_met:
            raise InputError(f"--{flag} has no effect here: it is for {what}")


def cache_key(args: SimpleNamespace) -> dict:
    """Return what decides the results: settings, and the fingerprints of the files they name.

    Results of an earlier call are kept only if it is the same.
    """
    from tfcpn.checkpoints.manager import CheckpointManager
    from tfcpn.inference.backends import is_saved_model
    from tfcpn.models.specs import METADATA_FILE
    from tfcpn.utils.files import file_fingerprint

    ignored = {"output", "overwrite", "csv", "draw"}
    settings = {name: value for name, value in vars(args).items() if name not in ignored}
    model = args.model or DEFAULT_LANDMARK_MODEL
    files = [model, args.init_weights, args.boxes, args.detector, args.skeleton]
    if args.boxes == "detect":  # zoom uses MediaPipe's with any other
        files += [DEFAULT_DETECTION_MODEL, DEFAULT_PERSON_DETECTOR]
    if args.model and is_saved_model(args.model):
        files.append(str(Path(args.model) / METADATA_FILE))
    # Only the selected checkpoints: a training may be adding others.
    for run, epoch in ((args.model_dir, args.epoch), (args.detector, "latest")):
        if run and Path(run).is_dir():
            checkpoints = CheckpointManager(run)
            epochs = checkpoints.parse_epochs(epoch)
            files += [str(checkpoints.path(epoch) / "variables.index") for epoch in epochs]
    existing = [file for file in files if Path(file).is_file()]
    return {**settings, "files": {file: file_fingerprint(file) for file in existing}}


def network_path(args: SimpleNamespace) -> str:
    """Return the run, file or export whose network predicts."""
    if args.network == "blazepose":
        return args.init_weights
    return args.model_dir or args.model or DEFAULT_LANDMARK_MODEL


def load_pose(args: SimpleNamespace):
    """Load the Pose that the flags describe."""
    from tfcpn.inference.estimator import NMS_OKS
    from tfcpn.inference.pose import Pose

    as_keras = args.network == "blazepose"
    detector = None if args.detector == "auto" else args.detector
    with status("loading the network"):
        return Pose.load(
            network_path(args),
            detector=detector if args.boxes == "detect" else "none",
            score_threshold=args.score_threshold or None,
            passes=args.passes,
            tiles=args.tiles,
            nms_oks=NMS_OKS if args.nms else None,
            skeleton=args.skeleton,
            epoch=args.epoch,
            flip_test=None if args.flip_test == "auto" else args.flip_test == "yes",
            mixed_precision=args.mixed_precision,
            as_keras=as_keras,
        )


def boxes_from_file(file: str, names: list[str]) -> Callable:
    """Return the function from an image's name, and the image, to its boxes in a results file.

    Raises:
        InputError: If not all names are numbers.
    """
    from tfcpn.data.detections import read_detections
    from tfcpn.inference.outputs import image_ids_from_names

    ids = image_ids_from_names(names)
    if ids is None:
        raise InputError(
            f"--boxes={file}: its image_id is the number in an image's name; not all names are "
            "numbers"
        )
    boxes: dict[int, list] = {}
    for box in read_detections(file, frozenset(ids.values())):
        boxes.setdefault(box.image_id, []).append(box)
    return lambda name, image: boxes.get(ids[name], [])


def predict_files(args: SimpleNamespace, explicit: set[str], paths: list[str]):
    """Predict images and videos into a folder; return a `Summary`."""
    from tfcpn.inference.batch import BatchPredictor, Journal, PredictOptions, find_inputs
    from tfcpn.inference.outputs import check_output

    check_flags_apply(args, explicit)
    check_output(args.output)
    inputs = find_inputs(paths, args.output, sys.stdin if "-" in paths else ())
    has_video = any(file.is_video for file in inputs)
    unused = sorted(explicit & _VIDEO_FLAGS)
    if unused and not has_video:
        raise InputError(f"--{unused[0]} has no effect here: it is for videos")
    boxes = None
    if args.boxes not in ("detect", "image"):
        if has_video:
            raise InputError(
                f"--boxes={args.boxes}: is for images; people of a video are found by the detector"
            )
        boxes = boxes_from_file(args.boxes, [file.name for file in inputs])
    pose = load_pose(args)
    if args.landmarks == "full" and not pose.backend.has_depth:
        raise InputError("--landmarks=full: this network predicts no depth; MediaPipe's does")
    sources = {file.name: file.path for file in inputs}
    journal = Journal(args.output, cache_key(args), sources, overwrite=args.overwrite)
    options = PredictOptions(
        draw=args.draw,
        draw_regions=args.draw_regions,
        csv=args.csv,
        full_landmarks=args.landmarks == "full",
        max_frames=args.max_frames,
        detect_every=args.detect_every,
        smooth=args.smooth,
        track_timeout=args.track_timeout,
        boxes=boxes,
    )
    return BatchPredictor(pose, inputs, args.output, options, journal).run()


def detectors_to_choose(args: SimpleNamespace) -> dict[str, Callable]:
    """Return the detectors of the page by name; the first is the one that the flags describe.

    Each is a function from a pose and a threshold.
    """
    from tfcpn.inference.detectors import load_detector
    from tfcpn.models.blazepose.bundle import has_detector

    if args.boxes != "detect":
        return {}
    names = {DEFAULT_PERSON_DETECTOR: "people of any size", DEFAULT_DETECTION_MODEL: "MediaPipe's"}
    files = {file: name for file, name in names.items() if Path(file).exists()}
    asked, network = args.detector, network_path(args)
    if asked == "auto" and has_detector(network):
        asked = network
    if asked != "auto":
        name = "the whole image" if asked == "none" else Path(asked).name
        files = {asked: files.pop(asked, name), **files}
    return {
        name: lambda pose, threshold, file=file: load_detector(
            file, threshold, args.tiles, zoom=pose.alignment.uses_points
        )
        for file, name in files.items()
    }


def serve_page(args: SimpleNamespace, explicit: set[str], paths: list[str]) -> None:
    """Run --serve."""
    from tfcpn.inference.batch import PredictOptions
    from tfcpn.inference.server import Limits, serve

    check_flags_apply(args, explicit)
    if paths or args.output:
        raise InputError(
            "--serve takes images from its page only and writes none: expected no PATH and no "
            "--output"
        )
    if args.boxes not in ("detect", "image"):
        raise InputError(f"--boxes={args.boxes}: is for named images, expected detect or image")
    options = PredictOptions(
        detect_every=args.detect_every, smooth=args.smooth, track_timeout=args.track_timeout
    )
    limits = Limits(args.max_upload_mb, args.max_frames or Limits().frames)
    serve(lambda: load_pose(args), options, limits, args.port, detectors_to_choose(args))


def main(options: Options) -> None:
    """Run the command."""
    args = options.args
    if args.serve:
        import_tensorflow()
        serve_page(args, options.explicit, options.positional)
        return
    if not args.output:
        raise InputError("--output is missing; see python -m tfcpn.predict --help")
    if not options.positional:
        raise InputError(
            "expected images, videos, folders, a camera's number, or - for a list on standard input"
        )
    import_tensorflow()
    summary = predict_files(args, options.explicit, options.positional)
    print(f"written: {args.output}/results.json, {summary.files} files, {summary.people} people")
    if summary.failed:
        count = len(summary.failed)
        more = f"; and {count - 3} more, listed above" if count > 3 else ""
        raise InputError(f"{count} files failed: {'; '.join(summary.failed[:3])}{more}")


if __name__ == "__main__":
    COMMAND.run(main)
