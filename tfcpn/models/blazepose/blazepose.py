"""BlazePose as a trainable network: from MediaPipe's weights with distillation, or from scratch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import tensorflow as tf

from tfcpn.codecs.landmarks import Landmarks, LandmarkTargets
from tfcpn.models.batchnorm_folding import calibrate_norms
from tfcpn.models.blazepose.losses import (
    distillation_loss,
    labeled_losses,
    mean_distance,
    person_loss,
)
from tfcpn.models.blazepose.model import BlazePoseOutputs, build_blazepose, first_quarter
from tfcpn.models.blazepose.weights import load_landmark_weights, read_landmark_model
from tfcpn.models.model import Network, conv_kernels, variables_by_layer
from tfcpn.models.specs import BLAZEPOSE_SPECS, DEFAULT_LANDMARK_MODEL
from tfcpn.transforms.normalize import Preprocessing
from tfcpn.utils.errors import InputError

# RGB from 0 to 1; the border is repeated outside the image.
MEDIAPIPE_PREPROCESSING = Preprocessing((0.0, 0.0, 0.0), 255.0, rgb=True, pad_color=None)
# A network whose distance to the labels exceeds that of its teacher by this factor does not
# recover, unless it is within this fraction of the crop, the accuracy of labels themselves.
DIVERGENCE_RATIO, DIVERGENCE_FLOOR = 1.5, 0.02
_log = logging.getLogger(__name__)


def find_weights(init_weights: str, size: str) -> str:
    """Resolve --init_weights to a file of MediaPipe's or "none".

    Args:
        init_weights: Value of the flag.
        size: Size of the network.

    Raises:
        InputError: If the file does not fit.
    """
    if init_weights == "none":
        return init_weights
    if init_weights == "auto":
        init_weights = DEFAULT_LANDMARK_MODEL
    elif init_weights == "keras":
        raise InputError(
            "--init_weights=keras is for --network=cpn; expected a .tflite or .task file, or none"
        )
    _, spec = read_landmark_model(init_weights)
    if spec.name != size:
        raise InputError(
            f"{init_weights} is the {spec.name} network: use --blazepose_size={spec.name}"
        )
    return init_weights


def load_weights(model: tf.keras.Model, init_weights: str) -> None:
    """Load initial weights as returned by `find_weights`."""
    if init_weights == "none":
        return
    load_landmark_weights(model, init_weights)
    count = sum(int(tf.size(w)) for w in model.trainable_weights)
    _log.info("%s: %s weights restored", init_weights, f"{count:,}")


def build_teacher(init_weights: str, size: str) -> Callable | None:
    """Return the function from images to the original model's outputs.

    It predicts the first quarter of the images only: enough for a regularizing loss, and it saves a
    third of a step's time.

    Args:
        init_weights: MediaPipe's file, or "none" for no teacher.
        size: Size of the network.

    Raises:
        InputError: If the file does not exist.
    """
    if init_weights == "none":
        return None
    if not Path(init_weights).exists():
        raise InputError(f"{init_weights} not found: the run needs it as its teacher; restore it")
    model = build_blazepose(BLAZEPOSE_SPECS[size])
    load_landmark_weights(model, init_weights)
    return teacher_of(model)


def teacher_of(model: tf.keras.Model) -> Callable:
    """Return the function from images to the outputs of a model for their first quarter."""
    model.trainable = False
    return lambda images: model(first_quarter(images), training=False)


def _losses(
    outputs: BlazePoseOutputs,
    targets: LandmarkTargets,
    teacher_outputs: BlazePoseOutputs | None,
    *,
    weights: dict[str, float],
    distillation_weight: float,
    presence_weight: float,
    has_background: bool,
) -> dict[str, tf.Tensor]:
    labeled = labeled_losses(outputs, targets)
    losses = {name: weights[name] * loss for name, loss in labeled.items()}
    if presence_weight:
        losses["person"] = presence_weight * person_loss(outputs, targets, has_background)
    if teacher_outputs is None:
        return losses
    # Masks are predicted for the first quarter only.
    outputs = BlazePoseOutputs(
        **{
            name: value if name == "mask" else first_quarter(value)
            for name, value in outputs._asdict().items()
        }
    )
    targets = LandmarkTargets(*map(first_quarter, targets))
    is_labeled = tf.cast(targets.visibility > 0, tf.float32)
    distillation = distillation_loss(outputs, teacher_outputs, targets)
    losses["distillation"] = distillation_weight * distillation
    losses["teacher_distance"] = mean_distance(teacher_outputs.landmarks, targets.xy, is_labeled)
    losses["student_distance"] = mean_distance(outputs.landmarks, targets.xy, is_labeled)
    return losses


def check_diverged(losses: dict[str, float]) -> str:
    """Return what is wrong with a distilled network; "" if nothing is.

    Args:
        losses: Means over some steps.
    """
    student, teacher = losses["student_distance"], losses["teacher_distance"]
    if not teacher or student <= max(DIVERGENCE_RATIO * teacher, DIVERGENCE_FLOOR):
        return ""
    return (
        f"the network diverges: its labeled keypoints are {student:.1%} of the crop off, those of "
        f"the original model {teacher:.1%} on the same crops; lower --learning_rate"
    )


def blazepose_network(
    size: str,
    *,
    norm: str,
    seed: int,
    from_teacher: bool,
    distillation_weight: float,
    heatmap_weight: float,
    presence_weight: float = 0.0,
    has_background: bool = False,
    freeze: int = 0,
) -> Network:
    """Return BlazePose as a value.

    Args:
        size: "full" or "lite".
        norm: See `BlazeLayers`; "auto" for the one that fits the initial weights.
        seed: Seed of random weights.
        from_teacher: Start from MediaPipe's weights and distill from them; else from scratch.
        distillation_weight: Weight of the distillation loss.
        heatmap_weight: Weight of the heatmap loss.
        presence_weight: Weight of the loss of whether a crop shows a person, besides the
            distillation of the person score.
        has_background: Whether views without keypoints show background, rather than a person.
        freeze: Number of leading convolutions to freeze.
    """
    if norm == "auto":
        norm = "scaled" if from_teacher else "batch"
    weights = {"landmarks": 1.0, "visibility": 0.01, "heatmaps": heatmap_weight}
    logged = ("teacher_distance", "student_distance") if from_teacher else ()
    distilled = ("distillation", *logged) if from_teacher else ()
    person = ("person",) if presence_weight else ()
    return Network(
        name="blazepose",
        preprocessing=MEDIAPIPE_PREPROCESSING,
        build=partial(
            build_blazepose,
            BLAZEPOSE_SPECS[size],
            norm,
            seed,
            stop_gradient=not from_teacher,
            freeze=freeze,
        ),
        prediction=lambda outputs: Landmarks(outputs.landmarks, outputs.heatmaps),
        losses=partial(
            _losses,
            weights=weights,
            distillation_weight=distillation_weight,
            presence_weight=presence_weight,
            has_background=has_background,
        ),
        loss_names=("landmarks", "visibility", "heatmaps", *person, *distilled),
        logged_losses=logged,
        variables=variables_by_layer,
        kernels=conv_kernels,
        find_weights=partial(find_weights, size=size),
        load_weights=load_weights,
        teacher=partial(build_teacher, size=size),
        prepare=calibrate_norms if from_teacher else None,
        check_diverged=check_diverged if from_teacher else None,
        # From scratch, nothing trains these outputs.
        presence_score=_presence_score if from_teacher or presence_weight else None,
        spatial_landmarks=_spatial_landmarks if from_teacher else None,
        corner_to_corner=True,
    )


def _presence_score(outputs: BlazePoseOutputs) -> tf.Tensor:
    return tf.sigmoid(outputs.person[:, 0])


def _spatial_landmarks(outputs: BlazePoseOutputs) -> tuple[tf.Tensor, tf.Tensor]:
    return outputs.landmarks, outputs.world
