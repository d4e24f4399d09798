"""Start a new run from the weights of another one, also with other keypoints."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn import skeleton as skeletons
from tfcpn.builders import Components
from tfcpn.checkpoints.manager import CheckpointManager, TrainingPosition, find_corruption
from tfcpn.checkpoints.run_config import FILE, load_run
from tfcpn.models.batchnorm_folding import calibrate_norms, norms_of_convolutions
from tfcpn.models.blazepose.blazepose import teacher_of
from tfcpn.models.model import Network
from tfcpn.models.specs import METADATA_FILE
from tfcpn.skeleton import Skeleton, match_keypoints
from tfcpn.utils.errors import InputError

_CHECKPOINT_NAME = re.compile(r"(?:epoch|snapshot)_(\d{4,})(?:_step_(\d+))?")
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_log = logging.getLogger(__name__)


class Source(NamedTuple):
    """A trained network to start from.

    Attributes:
        path: A checkpoint's folder, or that of a SavedModel.
        skeleton: Keypoints of its outputs.
        heatmap_scale: Peak of its heatmaps; None if unknown.
        folded: Whether batch norms are folded into its convolutions.
    """

    path: Path
    skeleton: Skeleton
    heatmap_scale: float | None
    folded: bool

    @property
    def index_file(self) -> Path:
        """The index of its variables, which has their checksums."""
        return self.path / ("variables/variables.index" if self.folded else "variables.index")


def is_trained_network(init_weights: str) -> bool:
    """Return whether a value of --init_weights is a folder, and so a network of one's own."""
    return Path(init_weights).is_dir()


def find_source(init_weights: str) -> Source:
    """Return the network of a folder: a run, a checkpoint of one, or an exported SavedModel.

    Raises:
        InputError: For another folder, and for a damaged checkpoint.
    """
    folder = Path(init_weights)
    if (folder / "saved_model.pb").exists():
        return _saved_model(folder)
    match = _CHECKPOINT_NAME.fullmatch(folder.resolve().name)
    model_dir = folder.resolve().parents[1] if match else folder
    if folder.resolve().name in ("checkpoints", "snapshots"):
        model_dir = folder.resolve().parent
    if not (model_dir / FILE).exists():
        raise InputError(
            f"--init_weights={init_weights}: neither a run, nor a checkpoint of one, nor a "
            "SavedModel of tfcpn export"
        )
    manager = CheckpointManager(model_dir)
    if match:
        position = TrainingPosition(int(match[1]), int(match[2] or 0))
        problem = find_corruption(folder, position.steps)
        if problem:
            raise InputError(f"{folder}: is damaged ({problem})")
    else:
        position = manager.latest_valid()
        if not any(position):
            raise InputError(f"--init_weights={init_weights}: the run has no checkpoint yet")
    run = load_run(model_dir)
    skeleton = run.skeleton
    if run.config.predict_align_points:
        skeleton = skeleton.with_align_points()
    path = folder if match else manager.path(*position)
    return Source(path, skeleton, run.config.heatmap_scale, folded=False)


def _saved_model(folder: Path) -> Source:
    try:
        about = json.loads((folder / METADATA_FILE).read_text())
        skeleton = skeletons.from_dict(about["joints"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{folder}: is no SavedModel of tfcpn export") from error
    return Source(folder, skeleton, None, folded=True)


def start_from(components: Components, init_weights: str) -> Components:
    """Return components whose network starts from another trained network.

    Any other value of --init_weights leaves the components as they are.

    Args:
        components: The components of the new run.
        init_weights: Value of --init_weights.
    """
    if not is_trained_network(init_weights):
        return components
    network = components.network

    def load(model: tf.keras.Model, path: str) -> None:
        scale = getattr(components.codec, "scale", None)
        transfer_weights(model, network, find_source(path), components.skeleton, scale)

    def teacher(path: str) -> Callable | None:
        if not network.logged_losses and not network.whole_images:
            return None
        model = network.build()
        transfer_weights(model, network, find_source(path), components.skeleton, log=False)
        if network.whole_images:
            model.trainable = False
            return lambda images: model(images, training=False)
        return teacher_of(model)

    folded = (Path(init_weights) / "saved_model.pb").exists()
    return components._replace(
        network=network._replace(
            find_weights=lambda path: str(find_source(path).path),
            load_weights=load,
            teacher=teacher,
            prepare=calibrate_norms if folded else network.prepare,
        )
    )


def _values_of_checkpoint(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    try:
        reader = tf.train.load_checkpoint(str(path / "variables"))
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a checkpoint") from error
    keys = {name: f"model/{name.replace('/', '.S')}{_VALUE}" for name in names}
    return {n: reader.get_tensor(key) for n, key in keys.items() if reader.has_tensor(key)}


def _values_of_saved_model(path: Path, model: tf.keras.Model) -> dict[str, np.ndarray]:
    """Return values by the names of a model's variables, whose batch norms have to be neutral.

    A neutral batch norm divides by 1: its moving variance is 1 - epsilon. Its offset is the bias
    into which it was folded.
    """
    if any(hasattr(layer, "kernel_unit") for layer in model.layers):
        raise InputError(
            f"{path}: a SavedModel of --network=blazepose cannot be trained on; give its run, or "
            "the .tflite file that tfcpn export makes of it"
        )
    try:
        loaded = tf.saved_model.load(str(path))
        stored = {v.name.split(":")[0]: v.numpy() for v in loaded.model.variables}
    except (OSError, ValueError, AttributeError, tf.errors.OpError) as error:
        raise InputError(f"{path}: its weights cannot be read ({error})") from error
    values = {}
    for convolution, name in norms_of_convolutions(model).items():
        norm, bias = model.get_layer(name), stored.get(f"{convolution}/bias")
        if bias is None:
            continue
        neutral = {
            "gamma": np.ones_like(bias),
            "beta": bias,
            "moving_mean": np.zeros_like(bias),
            "moving_variance": np.full_like(bias, 1 - norm.epsilon),
        }
        values |= {f"{name}/{part}": value for part, value in neutral.items()}
    return stored | values


def transfer_weights(
    model: tf.keras.Model,
    network: Network,
    source: Source,
    skeleton: Skeleton,
    heatmap_scale: float | None = None,
    log: bool = True,
) -> None:
    """Set the variables of a model to those of another network, as far as they fit.

    In variables whose last axis is the keypoints, keypoints are matched by name; those that the
    source does not have keep their initial values.

    Args:
        model: The model.
        network: Its network.
        source: The network to start from.
        skeleton: Keypoints of the model.
        heatmap_scale: Peak of the model's heatmaps; outputs of a source with another peak are
            scaled to it.
        log: Whether to log what was taken.

    Raises:
        InputError: If nothing fits.
    """
    variables = network.variables(model)
    if source.folded:
        kernels = {v.name.split(":")[0]: v for v in model.weights}
        stored = _values_of_saved_model(source.path, model)
        by_identity = {id(v): name for name, v in variables.items()}
        stored = {by_identity[id(v)]: stored[n] for n, v in kernels.items() if n in stored}
    else:
        stored = _values_of_checkpoint(source.path, list(variables))
    order = match_keypoints(skeleton.keypoints, source.skeleton.keypoints)
    rows = [(new, old) for new, old in enumerate(order) if old >= 0]
    factor = 1.0
    if heatmap_scale and source.heatmap_scale:
        factor = heatmap_scale / source.heatmap_scale
    taken, left = 0, []
    for name, variable in variables.items():
        value = stored.get(name)
        if value is not None and name.startswith(network.keypoint_variables or ("\0",)):
            value = _rows_of_keypoints(
                variable, value, rows, len(source.skeleton.keypoints), skeleton.num_keypoints
            )
            if value is not None and name.rsplit("/", 1)[-1] in ("gamma", "beta"):
                value = _scaled(variable, value, rows, factor)
        if value is None or tuple(value.shape) != tuple(variable.shape):
            left.append(name)
            continue
        variable.assign(value.astype(variable.dtype.as_numpy_dtype))
        taken += 1
    if not taken:
        raise InputError(
            f"{source.path}: none of its {len(stored)} variables fits this network; is it of "
            "another --network, --backbone or --blazepose_norm?"
        )
    if log:
        _report(network, source, skeleton, order, taken, left, factor)


def _rows_of_keypoints(
    variable: tf.Variable, value: np.ndarray, rows: list, in_source: int, in_model: int
) -> np.ndarray | None:
    """Return a variable's own value with the last axis of shared keypoints from another one."""
    own = variable.numpy()
    if value.shape[-1] != in_source or own.shape[-1] != in_model:
        return value if value.shape == own.shape else None
    if value.shape[:-1] != own.shape[:-1]:
        return None
    for new, old in rows:
        own[..., new] = value[..., old]
    return own


def _scaled(variable: tf.Variable, value: np.ndarray, rows: list, factor: float) -> np.ndarray:
    if factor != 1:
        value = value.copy()
        value[[new for new, _ in rows]] *= factor
    return value


def _report(
    network: Network,
    source: Source,
    skeleton: Skeleton,
    order: list[int],
    taken: int,
    left: list[str],
    factor: float,
) -> None:
    def some(names: list[str]) -> str:
        return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")

    _log.info("%s: %d of %d variables taken", source.path, taken, taken + len(left))
    if left:
        _log.warning("%d variables start anew: %s", len(left), some(left))
    if network.keypoint_variables and source.skeleton.keypoints != skeleton.keypoints:
        new = [name for name, old in zip(skeleton.keypoints, order) if old < 0]
        unused = [n for i, n in enumerate(source.skeleton.keypoints) if i not in order]
        _log.info(
            "keypoints: %d of %d taken by name; start anew: %s; not used: %s",
            len(order) - len(new),
            len(order),
            some(new) or "none",
            some(unused) or "none",
        )
    if factor != 1:
        _log.info("the output batch norms were scaled by %g to the new --heatmap_scale", factor)
