"""BlazePose as a network to train: from MediaPipe's file and held to it, or from random weights as in the paper."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.codecs.landmarks import Landmarks, LandmarkTargets
from tfcpn.networks.blazepose_layers import first_quarter
from tfcpn.networks.blazepose_losses import distance, distillation_loss, labeled_losses
from tfcpn.networks.blazepose_model import BlazePoseOutputs, build_blazepose
from tfcpn.networks.blazepose_norms import calibrate_norms
from tfcpn.networks.blazepose_table import BLAZEPOSE_SPECS
from tfcpn.networks.blazepose_weights import load_landmark_weights, read_file
from tfcpn.networks.network import Network
from tfcpn.networks.variables import conv_kernels
from tfcpn.picture.look import Preprocessing

DEFAULT_LANDMARK_MODEL = "data/mediapipe/pose_landmark_full.tflite"
# RGB from 0 to 1; what lies outside the image repeats its border.
MEDIAPIPE_PREPROCESSING = Preprocessing((0.0, 0.0, 0.0), 255.0, rgb=True, pad_color=None)
# A network that is this much farther from the labels than the one it began as does not come back, unless both are
# within so little of the crop that labels themselves are no better.
DIVERGENCE_RATIO, DIVERGENCE_FLOOR = 1.5, 0.02
_log = logging.getLogger(__name__)


def find(init_weights: str, size: str) -> str:
    """--init_weights with "auto" decided: a file of MediaPipe's, or "none". Raises InputError if it does not fit."""
    if init_weights == "none":
        return init_weights
    if init_weights == "auto":
        init_weights = DEFAULT_LANDMARK_MODEL
    elif init_weights == "keras":
        raise InputError(
            "--init_weights=keras is for --network=cpn; want a .tflite or .task file, or none"
        )
    _, table = read_file(init_weights)
    if table.name != size:
        raise InputError(
            f"{init_weights} is the {table.name} network: want --blazepose_size={table.name}"
        )
    return init_weights


def load(model: tf.keras.Model, found: str) -> None:
    """Give a model its first weights. found: as from `find`."""
    if found == "none":
        return
    load_landmark_weights(model, found)
    _log.info(
        "%s: %s weights restored",
        found,
        f"{sum(int(tf.size(w)) for w in model.trainable_weights):,}",
    )


def named_variables(model: tf.keras.Model) -> dict[str, tf.Variable]:
    return {weight.name.split(":")[0]: weight for weight in model.weights}


def build_teacher(found: str, size: str):
    """The function that the trained network is held to: of the first quarter of the images the `BlazePoseOutputs` of
    the file that it began as. They are enough for a loss that holds back, and a third of a step's time is saved.
    """
    if found == "none":
        return None
    if not Path(found).exists():
        raise InputError(
            f"{found} not found: the run is held to what the network in it says; put it there again"
        )
    model = build_blazepose(BLAZEPOSE_SPECS[size])
    load_landmark_weights(model, found)
    model.trainable = False
    return lambda images: model(first_quarter(images), training=False)


def _losses(
    distillation_weight: float,
    outputs: BlazePoseOutputs,
    targets: LandmarkTargets,
    theirs: BlazePoseOutputs | None,
    weights: dict[str, float],
) -> dict[str, tf.Tensor]:
    losses = {name: weights[name] * loss for name, loss in labeled_losses(outputs, targets).items()}
    if theirs is None:
        return losses
    # The masks are of the first part already.
    part = BlazePoseOutputs(
        *(o if name == "mask" else first_quarter(o) for name, o in outputs._asdict().items())
    )
    targets = LandmarkTargets(*map(first_quarter, targets))
    labeled = tf.cast(targets.visibility > 0, tf.float32)
    losses["held"] = distillation_weight * distillation_loss(part, theirs, targets)
    losses["shipped"] = distance(theirs.landmarks, targets.xy, labeled)
    losses["beside_shipped"] = distance(part.landmarks, targets.xy, labeled)
    return losses


def check_diverged(losses: dict[str, float]) -> str:
    """What is wrong with a network that is held to the shipped one, by means over some steps; empty if nothing is."""
    ours, theirs = losses["beside_shipped"], losses["shipped"]
    if not theirs or ours <= max(DIVERGENCE_RATIO * theirs, DIVERGENCE_FLOOR):
        return ""
    return (
        f"the network is being ruined: its labeled keypoints are {ours:.1%} of the crop off, those of the network that "
        f"it began as {theirs:.1%} on the same crops, and it does not come back from there; lower --learning_rate"
    )


def blazepose(
    size: str,
    norm: str,
    seed: int,
    held: bool,
    distillation_weight: float,
    heatmap_weight: float,
    frozen: int = 0,
) -> Network:
    """The network as a value. held: whether it begins as MediaPipe's and is held to it, or from random weights.
    frozen: how many of the first convolutions keep their weights.
    """
    names = (
        "landmarks",
        "visibility",
        "heatmaps",
        *(("held", "shipped", "beside_shipped") if held else ()),
    )
    weights = {"landmarks": 1.0, "visibility": 0.01, "heatmaps": heatmap_weight}
    return Network(
        name="blazepose",
        preprocessing=MEDIAPIPE_PREPROCESSING,
        build=partial(
            build_blazepose,
            BLAZEPOSE_SPECS[size],
            norm,
            seed,
            stop_gradient=not held,
            frozen=frozen,
        ),
        prediction=lambda outputs: Landmarks(outputs.landmarks, outputs.heatmaps),
        losses=partial(_losses, distillation_weight, weights=weights),
        loss_names=names,
        variables=named_variables,
        kernels=conv_kernels,
        find_weights=partial(find, size=size),
        load_weights=load,
        told=("shipped", "beside_shipped") if held else (),
        teacher=partial(build_teacher, size=size),
        prepare=calibrate_norms if held else None,
        check_diverged=check_diverged if held else None,
        # From random weights nothing teaches it.
        person=(lambda outputs: tf.sigmoid(outputs.person[:, 0])) if held else None,
    )
