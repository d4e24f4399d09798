"""From the folder of a run, or a file in MediaPipe's form, to what a Pose is made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from tfcpn.base import device
from tfcpn.base.errors import InputError
from tfcpn.codecs.landmarks import LandmarkCodec
from tfcpn.data.skeleton_file import choose_skeleton
from tfcpn.geometry.alignment import Alignment
from tfcpn.networks.blazepose import MEDIAPIPE_LOOK
from tfcpn.networks.blazepose_table import INPUT_SIZE, LANDMARKS
from tfcpn.networks.blazepose_weights import read_file
from tfcpn.networks.pose_detection import PoseDetector
from tfcpn.parts import Parts, make_parts
from tfcpn.picture.cut import CropFormat
from tfcpn.prediction.estimator import ALIKE
from tfcpn.prediction.reading import KerasReader, Reader, TfliteReader
from tfcpn.prediction.saved import is_saved, read_saved
from tfcpn.prediction.whom import FileDetector, Finder, detected, whole
from tfcpn.run import config_file
from tfcpn.run.snapshots import FIRST_WEIGHTS, Snapshots
from tfcpn.settings.config import BLAZEPOSE, Config
from tfcpn.skeleton import MEDIAPIPE, Skeleton

DETECTOR = "data/mediapipe/pose_detection.tflite"
FILES = (".tflite", ".task")


class Made(NamedTuple):
    """What a `PoseEstimator` is made of."""

    reader: Reader
    skeleton: Skeleton
    alignment: Alignment
    find: Finder
    alike: float | None


def finder(detector: str, least: float = 0.5, tiles: int = 1) -> Finder:
    """detector: "none", the whole picture is one person; MediaPipe's .tflite or .task; another's .onnx or .tflite.
    tiles: of MediaPipe's, as in `whom.detected`.

    Raises InputError.
    """
    if detector == "none":
        return whole
    if detector.endswith(".onnx"):
        return _another(detector, least, tiles)
    try:
        own = PoseDetector(detector, least)
    except InputError:
        if not Path(detector).exists() or not detector.endswith(".tflite"):
            raise
        return _another(detector, least, tiles)
    return lambda picture: detected(own, picture, tiles)


def _another(detector: str, least: float, tiles: int) -> FileDetector:
    """Another detector than MediaPipe's. Raises InputError if it is to look at parts of the picture."""
    if tiles > 1:
        raise InputError(f"--tiles={tiles} is for MediaPipe's detector; {detector} looks at the whole picture")
    return FileDetector(detector, least)


def load(
    model: str,
    *,
    detector: str = DETECTOR,
    joints: str = "auto",
    epoch: str = "latest",
    least: float = 0.5,
    tiles: int = 1,
    alike: float | None = ALIKE,
    threads: int | None = None,
) -> Made:
    """model: the folder of a run, a .tflite or .task file in MediaPipe's form, or a SavedModel of tools/export.py.

    detector: as in `finder`. joints: of BlazePose's networks which joints to return: auto, those of the run or
    MediaPipe's 33; or coco, lsp, mediapipe or a .json file, by name. epoch: which snapshot of a run. least: score of
    a person whom the detector finds. tiles: as in `whom.detected`. alike: as in `PoseEstimator`. threads: of a file's
    network; None: one an idle core, at most four. Raises InputError for what is not there or does not fit.
    """
    if Path(model).suffix in FILES:
        return of_file(model, joints, finder(detector, least, tiles), alike, threads)
    if is_saved(model):
        return of_saved(model, joints, finder(detector, least, tiles), alike)
    return of_folder(model, epoch, joints, finder(detector, least, tiles), alike)


def _joints(asked: str) -> Skeleton | None:
    try:
        return choose_skeleton(asked)
    except InputError as error:
        raise InputError(str(error).replace("--skeleton=", "--joints=")) from error


def of_file(path: str, joints: str, find: Finder, alike: float | None, threads: int | None = None) -> Made:
    """MediaPipe's file as MediaPipe uses it: its alignment, its joints, its refinement, no flip test."""
    device.grow_memory()
    skeleton = (_joints(joints) or MEDIAPIPE).with_align_points()
    codec = LandmarkCodec(skeleton, LANDMARKS, INPUT_SIZE[1], refine=True)
    crop_format = CropFormat(INPUT_SIZE, True, MEDIAPIPE_LOOK.outside)
    return Made(TfliteReader(path, codec, crop_format, threads), skeleton, Alignment("blazepose"), find, alike)


def of_saved(folder: str, joints: str, find: Finder, alike: float | None) -> Made:
    """What `tools/export.py --format=savedmodel` wrote."""
    device.grow_memory()
    saved = read_saved(folder)
    asked = _joints(joints)
    if asked is not None and asked.joints != saved.skeleton.joints[: saved.skeleton.annotated]:
        raise InputError(f"--joints={joints}: {folder} returns the joints that it was exported with")
    return Made(*saved, find, alike)


def of_folder(
    folder: str,
    epoch: str,
    joints: str,
    find: Finder,
    alike: float | None,
    flip: str = "auto",
    precision: str = "auto",
) -> Made:
    """A snapshot of the run in a folder. flip: "yes", "no" or, as it was validated, "auto". precision: of the layers;
    "auto": the run's.
    """
    run = config_file.load(folder)
    cfg = dataclasses.replace(run.config, model_dir=folder, epoch=epoch)
    return of_run(_changed(cfg, flip, precision), run.skeleton, joints, find, alike)


def of_weights(
    init_weights: str, joints: str, find: Finder, alike: float | None, flip: str = "auto", precision: str = "auto"
) -> Made:
    """MediaPipe's file as a Keras model, used as MediaPipe does unless `flip` says otherwise."""
    size = read_file(init_weights)[1].name
    cfg = Config(
        network="blazepose", blazepose_size=size, blazepose_norm="scaled", init_weights=init_weights, **BLAZEPOSE
    )
    cfg = dataclasses.replace(cfg, epoch=str(FIRST_WEIGHTS), flip_test=False, refine_landmarks=True)
    return of_run(_changed(cfg, flip, precision), MEDIAPIPE, joints, find, alike)


def _changed(cfg: Config, flip: str, precision: str) -> Config:
    flip_test = cfg.flip_test if flip == "auto" else flip == "yes"
    return dataclasses.replace(
        cfg, flip_test=flip_test, mixed_precision=cfg.mixed_precision if precision == "auto" else precision
    )


def of_run(cfg: Config, annotated: Skeleton, joints: str, find: Finder, alike: float | None) -> Made:
    """A snapshot of a run, or the first weights that `cfg` tells, as it was validated."""
    asked = _joints(joints)
    if cfg.network == "blazepose":
        annotated = asked or annotated
        cfg = with_points(cfg)
    elif asked is not None and asked != annotated:
        raise InputError(
            f"--joints={joints}: a CPN has the joints that it was trained on, {', '.join(annotated.joints)}"
        )
    parts, model = restored(cfg, annotated)
    network = parts.network
    reader = KerasReader(model, network, parts.codec, parts.crop_format, cfg.flip_test, cfg.eval_batch_size)
    return Made(reader, parts.skeleton, parts.alignment, find, alike)


def with_points(cfg: Config) -> Config:
    """MediaPipe's network predicts the alignment points in any case, and the next frame of a video wants them."""
    held = cfg.network == "blazepose" and cfg.align == "blazepose" and cfg.init_weights != "none"
    return dataclasses.replace(cfg, predict_align_points=True) if held else cfg


def restored(cfg: Config, annotated: Skeleton) -> tuple[Parts, tf.keras.Model]:
    """The model of the one snapshot, or of the first weights, that `cfg` tells. Raises InputError."""
    device.grow_memory()
    snapshots = Snapshots(cfg.model_dir)
    epochs = snapshots.parse(cfg.epoch)
    if len(epochs) > 1:
        raise InputError(f"--epoch={cfg.epoch}: want one")
    parts = make_parts(cfg, annotated)
    device.set_precision(device.resolve_precision(cfg.mixed_precision))
    network = parts.network
    model = network.build()
    if epochs[0] == FIRST_WEIGHTS:
        network.load_weights(model, network.find_weights(cfg.init_weights))
    else:
        snapshots.restore(epochs[0], network.variables(model))
    return parts, model
