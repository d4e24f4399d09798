"""From the folder of a run, or a file in MediaPipe's form, to what a Pose is made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from tfcpn.base import device
from tfcpn.base.errors import InputError
from tfcpn.codecs.landmarks import LandmarkCodec
from tfcpn.data.skeleton_file import skeleton_from_flag
from tfcpn.geometry.alignment import Alignment
from tfcpn.networks.blazepose import MEDIAPIPE_PREPROCESSING
from tfcpn.networks.blazepose_table import INPUT_SIZE, NUM_LANDMARKS
from tfcpn.networks.blazepose_weights import read_file
from tfcpn.networks.pose_detection import PoseDetector
from tfcpn.parts import Parts, make_parts
from tfcpn.picture.cut import CropSpec
from tfcpn.prediction.estimator import NMS_OKS
from tfcpn.prediction.reading import Backend, KerasBackend, TfliteBackend
from tfcpn.prediction.saved import is_saved_model, load_saved_model
from tfcpn.prediction.whom import Detector, FileDetector, detect_people, full_image_box
from tfcpn.run import config_file
from tfcpn.run.snapshots import INITIAL_EPOCH, CheckpointManager
from tfcpn.settings.config import BLAZEPOSE, Config
from tfcpn.skeleton import MEDIAPIPE, Skeleton

DETECTOR = "data/mediapipe/pose_detection.tflite"
FILES = (".tflite", ".task")


class PoseParts(NamedTuple):
    """What a `PoseEstimator` is made of."""

    reader: Backend
    skeleton: Skeleton
    alignment: Alignment
    find: Detector
    nms_oks: float | None


def finder(detector: str, least: float = 0.5, tiles: int = 1) -> Detector:
    """detector: "none", the whole image is one person; MediaPipe's .tflite or .task; another's .onnx or .tflite.
    tiles: of MediaPipe's, as in `whom.detected`.

    Raises InputError.
    """
    if detector == "none":
        return full_image_box
    if detector.endswith(".onnx"):
        return _another(detector, least, tiles)
    try:
        own = PoseDetector(detector, least)
    except InputError:
        if not Path(detector).exists() or not detector.endswith(".tflite"):
            raise
        return _another(detector, least, tiles)
    return lambda image: detect_people(own, image, tiles)


def _another(detector: str, least: float, tiles: int) -> FileDetector:
    """Another detector than MediaPipe's. Raises InputError if it is to look at parts of the image."""
    if tiles > 1:
        raise InputError(
            f"--tiles={tiles} is for MediaPipe's detector; {detector} looks at the whole image"
        )
    return FileDetector(detector, least)


def load(
    model: str,
    *,
    detector: str = DETECTOR,
    keypoints: str = "auto",
    epoch: str = "latest",
    least: float = 0.5,
    tiles: int = 1,
    nms_oks: float | None = NMS_OKS,
    threads: int | None = None,
) -> PoseParts:
    """model: the folder of a run, a .tflite or .task file in MediaPipe's form, or a SavedModel of tools/export.py.

    detector: as in `finder`. keypoints: of BlazePose's networks which keypoints to return: auto, those of the run or
    MediaPipe's 33; or coco, lsp, mediapipe or a .json file, by name. epoch: which checkpoint of a run. least: score of
    a person whom the detector finds. tiles: as in `whom.detected`. alike: as in `PoseEstimator`. threads: of a file's
    network; None: one an idle core, at most four. Raises InputError for what is not there or does not fit.
    """
    if Path(model).suffix in FILES:
        return of_file(model, keypoints, finder(detector, least, tiles), nms_oks, threads)
    if is_saved_model(model):
        return of_saved(model, keypoints, finder(detector, least, tiles), nms_oks)
    return of_folder(model, epoch, keypoints, finder(detector, least, tiles), nms_oks)


def _keypoints(asked: str) -> Skeleton | None:
    return skeleton_from_flag(asked)


def of_file(
    path: str, keypoints: str, find: Detector, nms_oks: float | None, threads: int | None = None
) -> PoseParts:
    """MediaPipe's file as MediaPipe uses it: its alignment, its keypoints, its refinement, no flip test."""
    device.grow_memory()
    skeleton = (_keypoints(keypoints) or MEDIAPIPE).with_align_points()
    codec = LandmarkCodec(skeleton, NUM_LANDMARKS, INPUT_SIZE[1], refine=True)
    crop_spec = CropSpec(INPUT_SIZE, True, MEDIAPIPE_PREPROCESSING.pad_color)
    return PoseParts(
        TfliteBackend(path, codec, crop_spec, threads),
        skeleton,
        Alignment("blazepose"),
        find,
        nms_oks,
    )


def of_saved(folder: str, keypoints: str, find: Detector, nms_oks: float | None) -> PoseParts:
    """What `tools/export.py --format=savedmodel` wrote."""
    device.grow_memory()
    saved = load_saved_model(folder)
    asked = _keypoints(keypoints)
    if (
        asked is not None
        and asked.keypoints != saved.skeleton.keypoints[: saved.skeleton.num_annotated]
    ):
        raise InputError(
            f"--keypoints={keypoints}: {folder} returns the keypoints that it was exported with"
        )
    return PoseParts(*saved, find, nms_oks)


def of_folder(
    folder: str,
    epoch: str,
    keypoints: str,
    find: Detector,
    nms_oks: float | None,
    flip: str = "auto",
    precision: str = "auto",
) -> PoseParts:
    """A checkpoint of the run in a folder. flip: "yes", "no" or, as it was validated, "auto". precision: of the layers;
    "auto": the run's.
    """
    run = config_file.load(folder)
    cfg = dataclasses.replace(run.config, model_dir=folder, epoch=epoch)
    return of_run(_changed(cfg, flip, precision), run.skeleton, keypoints, find, nms_oks)


def of_weights(
    init_weights: str,
    keypoints: str,
    find: Detector,
    nms_oks: float | None,
    flip: str = "auto",
    precision: str = "auto",
) -> PoseParts:
    """MediaPipe's file as a Keras model, used as MediaPipe does unless `flip` says otherwise."""
    size = read_file(init_weights)[1].name
    cfg = Config(
        network="blazepose",
        blazepose_size=size,
        blazepose_norm="scaled",
        init_weights=init_weights,
        **BLAZEPOSE,
    )
    cfg = dataclasses.replace(cfg, epoch=str(INITIAL_EPOCH), flip_test=False, refine_landmarks=True)
    return of_run(_changed(cfg, flip, precision), MEDIAPIPE, keypoints, find, nms_oks)


def _changed(cfg: Config, flip: str, precision: str) -> Config:
    flip_test = cfg.flip_test if flip == "auto" else flip == "yes"
    return dataclasses.replace(
        cfg,
        flip_test=flip_test,
        mixed_precision=cfg.mixed_precision if precision == "auto" else precision,
    )


def of_run(
    cfg: Config, annotated: Skeleton, keypoints: str, find: Detector, nms_oks: float | None
) -> PoseParts:
    """A checkpoint of a run, or the first weights that `cfg` tells, as it was validated."""
    asked = _keypoints(keypoints)
    if cfg.network == "blazepose":
        annotated = asked or annotated
        cfg = with_points(cfg)
    elif asked is not None and asked != annotated:
        raise InputError(
            f"--keypoints={keypoints}: a CPN has the keypoints that it was trained on, {', '.join(annotated.keypoints)}"
        )
    parts, model = load_model(cfg, annotated)
    network = parts.network
    reader = KerasBackend(
        model, network, parts.codec, parts.crop_spec, cfg.flip_test, cfg.eval_batch_size
    )
    return PoseParts(reader, parts.skeleton, parts.alignment, find, nms_oks)


def with_points(cfg: Config) -> Config:
    """MediaPipe's network predicts the alignment points in any case, and the next frame of a video wants them."""
    held = cfg.network == "blazepose" and cfg.align == "blazepose" and cfg.init_weights != "none"
    return dataclasses.replace(cfg, predict_align_points=True) if held else cfg


def load_model(cfg: Config, annotated: Skeleton) -> tuple[Parts, tf.keras.Model]:
    """The model of the one checkpoint, or of the first weights, that `cfg` tells. Raises InputError."""
    device.grow_memory()
    checkpoints = CheckpointManager(cfg.model_dir)
    epochs = checkpoints.parse(cfg.epoch)
    if len(epochs) > 1:
        raise InputError(f"--epoch={cfg.epoch}: want one")
    parts = make_parts(cfg, annotated)
    device.set_precision(device.resolve_precision(cfg.mixed_precision))
    network = parts.network
    model = network.build()
    if epochs[0] == INITIAL_EPOCH:
        network.load_weights(model, network.find_weights(cfg.init_weights))
    else:
        checkpoints.restore(epochs[0], network.variables(model))
    return parts, model
