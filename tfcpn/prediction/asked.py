"""What the flags of tfcpn.predict ask for: which network, whose boxes, a page or files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from tfcpn.base.errors import InputError
from tfcpn.base.files import file_fingerprint
from tfcpn.base.progress import status
from tfcpn.data.detections import read_detections
from tfcpn.networks.blazepose import DEFAULT_LANDMARK_MODEL
from tfcpn.prediction import loading
from tfcpn.prediction.job import BatchPredictor, PredictOptions, Summary
from tfcpn.prediction.journal import Journal
from tfcpn.prediction.pose import Pose
from tfcpn.prediction.saved import METADATA_FILE, is_saved_model
from tfcpn.prediction.server import Limits, serve
from tfcpn.prediction.sources import find_inputs
from tfcpn.prediction.whom import full_image_box
from tfcpn.prediction.written import check_output, image_ids_from_names
from tfcpn.run.snapshots import CheckpointManager


def settings_of(own: SimpleNamespace) -> dict:
    """What decides the results, which are kept from one call to the next only if it is the same: flags, and the files
    that they name as they are now.
    """
    beside = {"output", "overwrite", "csv", "draw"}
    settings = {name: value for name, value in vars(own).items() if name not in beside}
    files = [
        own.model or DEFAULT_LANDMARK_MODEL,
        own.init_weights,
        own.boxes,
        own.detector,
        own.skeleton,
    ]
    if own.model and is_saved_model(own.model):
        files.append(str(Path(own.model) / METADATA_FILE))
    if own.model_dir:
        # Of the one that is asked for: a training may be adding others.
        checkpoints = CheckpointManager(own.model_dir)
        files += [
            str(checkpoints.path(epoch) / "variables.index")
            for epoch in checkpoints.parse(own.epoch)
        ]
    return {
        **settings,
        "files": {file: file_fingerprint(file) for file in files if Path(file).is_file()},
    }


def check_given(own: SimpleNamespace, given: set[str]) -> None:
    """Raise InputError for flags that contradict each other, or that nothing would come of."""
    if sum(map(bool, (own.model, own.model_dir, own.network != "auto"))) > 1:
        raise InputError("want one of --model, --model_dir and --network")
    keras = own.model_dir or own.network == "blazepose"
    needs = {
        "epoch": (own.model_dir, "--model_dir"),
        "init_weights": (own.network != "auto", "--network=blazepose"),
    }
    needs |= dict.fromkeys(
        ("flip_test", "mixed_precision"), (keras, "--model_dir or --network=blazepose")
    )
    needs |= dict.fromkeys(
        ("detector", "score_threshold", "tiles", "nms"), (own.boxes == "detect", "--boxes=detect")
    )
    needs |= dict.fromkeys(("port", "max_upload_mb"), (own.serve, "--serve"))
    needs |= dict.fromkeys(("csv", "draw", "overwrite"), (not own.serve, "files, and not --serve"))
    needs["draw_regions"] = (
        own.draw and not own.serve,
        "files that are drawn, without --nodraw or --serve",
    )
    for flag in sorted(given & needs.keys()):
        there, what = needs[flag]
        if not there:
            raise InputError(f"--{flag} is for {what}, and would change nothing here")


def load_pose(own: SimpleNamespace) -> Pose:
    """The Pose that the flags name. Raises InputError."""
    find = (
        full_image_box
        if own.boxes != "detect"
        else loading.finder(own.detector, own.score_threshold, own.tiles)
    )
    how = own.skeleton, find, loading.NMS_OKS if own.nms else None
    if own.network == "blazepose":
        return Pose(*loading.of_weights(own.init_weights, *how, own.flip_test, own.mixed_precision))
    if own.model_dir:
        return Pose(
            *loading.of_folder(own.model_dir, own.epoch, *how, own.flip_test, own.mixed_precision)
        )
    if own.model and is_saved_model(own.model):
        return Pose(*loading.of_saved(own.model, *how))
    return Pose(*loading.of_file(own.model or DEFAULT_LANDMARK_MODEL, *how))


def _loaded(own: SimpleNamespace) -> Pose:
    with status("loading the network"):
        return load_pose(own)


def boxes_of(file: str, names: list[str]) -> Callable:
    """The function from an image's name, and itself, to its boxes in a COCO results file. Raises InputError."""
    ids = image_ids_from_names(names)
    if ids is None:
        raise InputError(
            f"--boxes={file}: its image_id is the number in an image's name; not all names are numbers"
        )
    boxes: dict[int, list] = {}
    for box in read_detections(file, dict.fromkeys(ids.values())):
        boxes.setdefault(box.image_id, []).append(box)
    return lambda name, image: boxes.get(ids[name], [])


def predict(own: SimpleNamespace, given: set[str], words: list[str]) -> Summary:
    """Images and videos into a folder. Raises InputError."""
    check_given(own, given)
    check_output(own.output)
    sources = find_inputs(words, own.output, sys.stdin if "-" in words else ())
    idle = sorted(given & {"detect_every", "smooth", "track_timeout", "max_frames"})
    if idle and not any(source.video for source in sources):
        raise InputError(f"--{idle[0]} is for videos, and would change nothing here")
    boxes = None
    if own.boxes not in ("detect", "image"):
        if any(source.video for source in sources):
            raise InputError(
                f"--boxes={own.boxes}: is for images; a video's people are found by the detector"
            )
        boxes = boxes_of(own.boxes, [source.name for source in sources])
    pose = _loaded(own)
    journal = Journal(
        own.output,
        settings_of(own),
        {source.name: source.path for source in sources},
        own.overwrite,
    )
    how = PredictOptions(
        own.draw,
        own.draw_regions,
        own.csv,
        own.max_frames,
        own.detect_every,
        own.smooth,
        own.track_timeout,
        boxes,
    )
    return BatchPredictor(pose, sources, own.output, how, journal).run()


def open_page(own: SimpleNamespace, given: set[str], words: list[str]) -> None:
    """--serve. Raises InputError."""
    check_given(own, given)
    if words or own.output:
        raise InputError(
            "--serve takes images from its page alone, and writes none: want no PATH and no --output"
        )
    if own.boxes not in ("detect", "image"):
        raise InputError(f"--boxes={own.boxes}: is for images that are named, want detect or image")
    how = PredictOptions(detect_every=own.detect_every, smooth=own.smooth, memory=own.track_timeout)
    serve(
        lambda: _loaded(own),
        how,
        Limits(own.max_upload_mb, own.max_frames or Limits().frames),
        own.port,
    )
