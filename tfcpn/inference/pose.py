"""Pose: poses of people in images and videos, for programs. `from tfcpn import Pose`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.builders import Components, build_components
from tfcpn.checkpoints.manager import INITIAL_EPOCH, CheckpointManager, TrainingPosition
from tfcpn.checkpoints.run_config import load_run
from tfcpn.checkpoints.transfer import start_from
from tfcpn.codecs.landmarks import LandmarkCodec
from tfcpn.config import Config, make_config
from tfcpn.inference.backends import (
    KerasBackend,
    TfliteBackend,
    is_saved_model,
    load_saved_model,
)
from tfcpn.inference.detectors import Detector, load_detector
from tfcpn.inference.estimator import NMS_OKS, Person, PoseEstimator
from tfcpn.inference.tracker import track_video
from tfcpn.models.blazepose.blazepose import MEDIAPIPE_PREPROCESSING
from tfcpn.models.blazepose.bundle import has_detector
from tfcpn.models.blazepose.weights import read_landmark_model
from tfcpn.models.specs import (
    BLAZEPOSE_INPUT_SIZE,
    DEFAULT_LANDMARK_MODEL,
    NUM_LANDMARKS,
)
from tfcpn.skeleton import MEDIAPIPE, Skeleton, skeleton_from_flag
from tfcpn.transforms.alignment import Alignment
from tfcpn.transforms.cropping import CropSpec
from tfcpn.utils import device
from tfcpn.utils.errors import InputError

_MEDIAPIPE_SUFFIXES = (".tflite", ".task")


class Pose(PoseEstimator):
    """A network and a detector: `pose(image)` for an image, `pose.video(file)` for a video.

    Thread-safe; calls wait for each other.
    """

    @classmethod
    def load(
        cls,
        model: str | Path = DEFAULT_LANDMARK_MODEL,
        *,
        detector: str | Detector | None = None,
        score_threshold: float | None = None,
        passes: int = 1,
        tiles: int = 1,
        nms_oks: float | None = NMS_OKS,
        skeleton: str = "auto",
        epoch: str = "latest",
        flip_test: bool | None = None,
        mixed_precision: str = "auto",
        threads: int | None = None,
        as_keras: bool = False,
    ) -> Pose:
        """Load a Pose.

        Args:
            model: Folder of a run, a .tflite or .task file in MediaPipe's form, or a SavedModel of
                tools/export.py.
            detector: None: that of a .task bundle, else "auto". "none": each image is one person; a
                file or a run, see `detectors.load_detector`; or a function from an image to boxes.
            score_threshold: Minimum score of a detected person; None for that of the detector.
            passes: See `PoseEstimator`.
            tiles: Above 1, search tiles of the image too, see `detectors.detect_people`.
            nms_oks: OKS above which of two people the less confident one is dropped; None keeps
            all.
            skeleton: Keypoints of BlazePose's networks: auto (those of the run, or MediaPipe's 33),
                a known definition such as coco, or a .json file.
            epoch: Which checkpoint of a run.
            flip_test: Average with the mirrored crop; None as the run was validated.
            mixed_precision: Precision of a Keras model; "auto": that of the run.
            threads: Threads of a .tflite file; None for at most four.
            as_keras: Load MediaPipe's file into a Keras model.

        Raises:
            InputError: For a model or a detector that does not exist or does not fit.
        """
        path = str(model)
        device.grow_memory()
        if is_saved_model(path):
            parts = _from_saved_model(path, skeleton)
        elif Path(path).suffix in _MEDIAPIPE_SUFFIXES and not as_keras:
            parts = _from_tflite(path, skeleton, threads)
        else:
            cfg, annotated = _keras_config(path, epoch, flip_test, mixed_precision, as_keras)
            parts = _from_keras(cfg, annotated, skeleton)
        backend, keypoints, alignment = parts
        if passes > 1 and not alignment.uses_points:
            raise InputError("--passes has no effect here: this network's region is a box")
        if detector is None:
            detector = path if has_detector(path) else "auto"
        if isinstance(detector, str):
            detector = load_detector(detector, score_threshold, tiles, zoom=alignment.uses_points)
        return cls(backend, keypoints, alignment, detector, nms_oks, passes)

    def batch(self, images: Iterable[np.ndarray]) -> list[list[Person]]:
        """Return the people of each of several images."""
        return [self(image) for image in images]

    def video(
        self, frames: str | Path | int | Iterable[np.ndarray], **options
    ) -> Iterator[tuple[np.ndarray, list[Person]]]:
        """Yield each frame of a video, (H, W, 3) uint8 BGR, with its people.

        Args:
            frames: A file, the number of a camera, or frames, with rate=30.0 of them per second.
            options: Arguments of `Tracker`, such as detect_every and smooth.
        """
        return track_video(self, frames, **options)


def _from_tflite(
    path: str, skeleton: str, threads: int | None
) -> tuple[TfliteBackend, Skeleton, Alignment]:
    """Return MediaPipe's file as MediaPipe uses it: its alignment, keypoints and refinement."""
    keypoints = (skeleton_from_flag(skeleton) or MEDIAPIPE).with_align_points()
    codec = LandmarkCodec(keypoints, NUM_LANDMARKS, width=BLAZEPOSE_INPUT_SIZE[1], refine=True)
    crop_spec = CropSpec(
        BLAZEPOSE_INPUT_SIZE,
        rotated=True,
        pad_color=MEDIAPIPE_PREPROCESSING.pad_color,
        corner_to_corner=True,
    )
    return TfliteBackend(path, codec, crop_spec, threads), keypoints, Alignment("blazepose")


def _from_saved_model(path: str, skeleton: str):
    backend, keypoints, alignment = load_saved_model(path)
    wanted = skeleton_from_flag(skeleton)
    actual = keypoints.keypoints[: keypoints.num_annotated]
    if wanted is not None and wanted.keypoints != actual:
        raise InputError(
            f"--skeleton={skeleton}: {path} returns the keypoints it was exported with"
        )
    return backend, keypoints, alignment


def _keras_config(
    path: str, epoch: str, flip_test: bool | None, mixed_precision: str, as_keras: bool
) -> tuple[Config, Skeleton]:
    """Return the settings of a run, or those of MediaPipe's file as a Keras model."""
    if as_keras:
        values = {"network": "blazepose", "blazepose_size": read_landmark_model(path)[1].name}
        values |= {"init_weights": path, "epoch": str(INITIAL_EPOCH)}
        values |= {"flip_test": False, "refine_landmarks": True}
        cfg, annotated = make_config(values), MEDIAPIPE
    else:
        run = load_run(path)
        cfg, annotated = dataclasses.replace(run.config, model_dir=path, epoch=epoch), run.skeleton
        if cfg.network == "blazepose_detector":
            raise InputError(f"{path} is the run of a detector: give it as --detector")
    if flip_test is not None:
        cfg = dataclasses.replace(cfg, flip_test=flip_test)
    if mixed_precision != "auto":
        cfg = dataclasses.replace(cfg, mixed_precision=mixed_precision)
    return cfg, annotated


def _from_keras(
    cfg: Config, annotated: Skeleton, skeleton: str
) -> tuple[KerasBackend, Skeleton, Alignment]:
    wanted = skeleton_from_flag(skeleton)
    if cfg.network == "blazepose":
        annotated = wanted or annotated
        cfg = with_align_points(cfg)
    elif wanted is not None and wanted != annotated:
        raise InputError(
            f"--skeleton={skeleton}: a CPN has the keypoints that it was trained on, "
            f"{', '.join(annotated.keypoints)}"
        )
    components, model = load_model(cfg, annotated)
    backend = KerasBackend(
        model,
        components.network,
        components.codec,
        components.crop_spec,
        flip_test=cfg.flip_test,
        batch_size=cfg.eval_batch_size,
    )
    return backend, components.skeleton, components.alignment


def with_align_points(cfg: Config) -> Config:
    """Return a Config in which MediaPipe's network predicts alignment points, for tracking.

    The network predicts them in any case.
    """
    from_teacher = cfg.init_weights != "none"
    if cfg.network == "blazepose" and cfg.align == "blazepose" and from_teacher:
        return dataclasses.replace(cfg, predict_align_points=True)
    return cfg


def load_model(cfg: Config, annotated: Skeleton) -> tuple[Components, tf.keras.Model]:
    """Build the model of a Config and restore its one checkpoint, or its initial weights.

    Args:
        cfg: The settings; `epoch` selects the checkpoint.
        annotated: Keypoints of the data.

    Raises:
        InputError: For several epochs, and for a checkpoint that does not exist.
    """
    device.grow_memory()
    checkpoints = CheckpointManager(cfg.model_dir)
    epochs = checkpoints.parse_epochs(cfg.epoch)
    if len(epochs) > 1:
        raise InputError(f"--epoch={cfg.epoch}: expected one")
    components = start_from(build_components(cfg, annotated), cfg.init_weights)
    device.set_precision(device.resolve_precision(cfg.mixed_precision))
    network = components.network
    model = network.build()
    if epochs[0] == INITIAL_EPOCH:
        network.load_weights(model, network.find_weights(cfg.init_weights))
    else:
        checkpoints.restore(TrainingPosition(epochs[0]), network.variables(model))
    return components, model
