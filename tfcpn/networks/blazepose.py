"""BlazePose as a network to train: from MediaPipe's file and held to it, or from random weights as in the paper."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.codecs.landmarks import Landmarks, LandmarkTargets
from tfcpn.networks.blazepose_layers import first_part
from tfcpn.networks.blazepose_losses import distance, held_loss, labelled_losses
from tfcpn.networks.blazepose_model import BlazePoseOutputs, build_blazepose
from tfcpn.networks.blazepose_norms import measure_norms
from tfcpn.networks.blazepose_table import TABLES
from tfcpn.networks.blazepose_weights import load_file, read_file
from tfcpn.networks.network import Network
from tfcpn.networks.variables import conv_kernels
from tfcpn.picture.look import Look

SHIPPED = "data/mediapipe/pose_landmark_full.tflite"
# RGB from 0 to 1; what lies outside the image repeats its border.
MEDIAPIPE_LOOK = Look((0.0, 0.0, 0.0), 255.0, rgb=True, outside=None)
# A network that is this much farther from the labels than the one it began as does not come back, unless both are
# within so little of the crop that labels themselves are no better.
RUINED, NO_MATTER = 1.5, 0.02
_log = logging.getLogger(__name__)


def find(init_weights: str, size: str) -> str:
    """--init_weights with "auto" decided: a file of MediaPipe's, or "none". Raises InputError if it does not fit."""
    if init_weights == "none":
        return init_weights
    if init_weights == "auto":
        init_weights = SHIPPED
    elif init_weights == "keras":
        raise InputError("--init_weights=keras is for --network=cpn; want a .tflite or .task file, or none")
    _, table = read_file(init_weights)
    if table.name != size:
        raise InputError(f"{init_weights} is the {table.name} network: want --blazepose_size={table.name}")
    return init_weights


def load(model: tf.keras.Model, found: str) -> None:
    """Give a model its first weights. found: as from `find`."""
    if found == "none":
        return
    load_file(model, found)
    _log.info("%s: %s weights restored", found, f"{sum(int(tf.size(w)) for w in model.trainable_weights):,}")


def variables_of(model: tf.keras.Model) -> dict[str, tf.Variable]:
    return {weight.name.split(":")[0]: weight for weight in model.weights}


def shipped(found: str, size: str):
    """The function that the trained network is held to: of the first quarter of the images the `BlazePoseOutputs` of
    the file that it began as. They are enough for a loss that holds back, and a third of a step's time is saved.
    """
    if found == "none":
        return None
    if not Path(found).exists():
        raise InputError(f"{found} not found: the run is held to what the network in it says; put it there again")
    model = build_blazepose(TABLES[size])
    load_file(model, found)
    model.trainable = False
    return lambda images: model(first_part(images), training=False)


def _losses(
    held_weight: float,
    outputs: BlazePoseOutputs,
    targets: LandmarkTargets,
    theirs: BlazePoseOutputs | None,
    weights: dict[str, float],
) -> dict[str, tf.Tensor]:
    losses = {name: weights[name] * loss for name, loss in labelled_losses(outputs, targets).items()}
    if theirs is None:
        return losses
    # The masks are of the first part already.
    part = BlazePoseOutputs(*(o if name == "mask" else first_part(o) for name, o in outputs._asdict().items()))
    targets = LandmarkTargets(*map(first_part, targets))
    labelled = tf.cast(targets.visibility > 0, tf.float32)
    losses["held"] = held_weight * held_loss(part, theirs, targets)
    losses["shipped"] = distance(theirs.landmarks, targets.xy, labelled)
    losses["beside_shipped"] = distance(part.landmarks, targets.xy, labelled)
    return losses


def why_ruined(losses: dict[str, float]) -> str:
    """What is wrong with a network that is held to the shipped one, by means over some steps; empty if nothing is."""
    ours, theirs = losses["beside_shipped"], losses["shipped"]
    if not theirs or ours <= max(RUINED * theirs, NO_MATTER):
        return ""
    return (
        f"the network is being ruined: its labelled joints are {ours:.1%} of the crop off, those of the network that "
        f"it began as {theirs:.1%} on the same crops, and it does not come back from there; lower --learning_rate"
    )


def blazepose(
    size: str, norm: str, seed: int, held: bool, held_weight: float, heatmap_weight: float, frozen: int = 0
) -> Network:
    """The network as a value. held: whether it begins as MediaPipe's and is held to it, or from random weights.
    frozen: how many of the first convolutions keep their weights.
    """
    names = ("landmarks", "visibility", "heatmaps", *(("held", "shipped", "beside_shipped") if held else ()))
    weights = {"landmarks": 1.0, "visibility": 0.01, "heatmaps": heatmap_weight}
    return Network(
        name="blazepose",
        look=MEDIAPIPE_LOOK,
        build=partial(build_blazepose, TABLES[size], norm, seed, stop_gradient=not held, frozen=frozen),
        prediction=lambda outputs: Landmarks(outputs.landmarks, outputs.heatmaps),
        losses=partial(_losses, held_weight, weights=weights),
        loss_names=names,
        variables=variables_of,
        kernels=conv_kernels,
        find_weights=partial(find, size=size),
        load_weights=load,
        told=("shipped", "beside_shipped") if held else (),
        teacher=partial(shipped, size=size),
        prepare=measure_norms if held else None,
        why_ruined=why_ruined if held else None,
        # From random weights nothing teaches it.
        person=(lambda outputs: tf.sigmoid(outputs.person[:, 0])) if held else None,
    )
