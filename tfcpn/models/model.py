"""A network as a value: all that training, evaluation and export need to know of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import tensorflow as tf

from tfcpn.transforms.normalize import Preprocessing

_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


class Network(NamedTuple):
    """How a network is built and used.

    To add a network, write a module that returns such a value and list it in `builders`, or pass it
    to `builders.build_components`.

    Attributes:
        name: Value of --network.
        preprocessing: How pixels become inputs.
        build: Builds the Keras model under the current precision policy and strategy. It maps
            (N, H, W, 3) images to `outputs` of any structure.
        prediction: outputs -> what the codec decodes.
        losses: (outputs, targets of the codec, outputs of the teacher) -> scalars by name, means
            over the crops.
        loss_names: Their names, in order.
        variables: model -> variables by their names in checkpoints.
        kernels: model -> variables that weight decay applies to.
        find_weights: --init_weights -> initial weights ("none", a path, ...). Raises InputError if
            they do not exist.
        load_weights: (model, initial weights): loads them.
        logged_losses: Names of losses that are logged but not optimized.
        teacher: initial weights -> function from images to outputs that the losses compare with;
            None for no teacher.
        prepare: (model, batches of training images): called before the first step.
        check_diverged: mean losses -> what is wrong with them; "" if nothing is.
        presence_score: outputs -> probability (N,) that each crop shows a person; None for a
            network without one.
        spatial_landmarks: outputs -> landmarks (N, L, 5) as x, y, z in crop pixels and logits of
            visibility and presence, and world landmarks (N, L, 3); None for a network without
            depth.
        keypoint_variables: Prefixes of the variables whose last axis is the keypoints.
        template: MediaPipe's file whose layout an exported file keeps; "" for none.
        whole_images: Whether it is a detector, which sees whole images and finds their people,
            rather than a network of keypoints, which sees a crop of each person.
        corner_to_corner: Whether it samples rotated crops as MediaPipe does; see `CropSpec`.
        build_for_inference: Builds a cheaper but mathematically equivalent model with the same
            layer names (weights are copied in afterwards); None if there is no cheaper form.
    """

    name: str
    preprocessing: Preprocessing
    build: Callable[[], tf.keras.Model]
    prediction: Callable[[Any], Any]
    losses: Callable[[Any, Any, Any], dict[str, tf.Tensor]]
    loss_names: tuple[str, ...]
    variables: Callable[[tf.keras.Model], dict[str, tf.Variable]]
    kernels: Callable[[tf.keras.Model], list[tf.Variable]]
    find_weights: Callable[[str], str]
    load_weights: Callable[[tf.keras.Model, str], None]
    logged_losses: tuple[str, ...] = ()
    teacher: Callable[[str], Callable | None] = lambda init_weights: None
    prepare: Callable[[tf.keras.Model, Iterable], None] | None = None
    check_diverged: Callable[[dict[str, float]], str] | None = None
    presence_score: Callable[[Any], tf.Tensor] | None = None
    spatial_landmarks: Callable[[Any], tuple[tf.Tensor, tf.Tensor]] | None = None
    build_for_inference: Callable[[], tf.keras.Model] | None = None
    keypoint_variables: tuple[str, ...] = ()
    template: str = ""
    whole_images: bool = False
    corner_to_corner: bool = False


def variables_by_name(model: tf.keras.Model) -> dict[str, tf.Variable]:
    """Return the variables of a model by their names in tf-cpn's checkpoints, in graph order."""

    def tf1_name(variable: tf.Variable) -> str:
        name = variable.name.split(":")[0]
        return name.replace("/kernel", "/weights").replace("/bias", "/biases")

    return {tf1_name(variable): variable for variable in model.weights}


def variables_by_layer(model: tf.keras.Model) -> dict[str, tf.Variable]:
    """Return the variables of a model by layer and name, as Keras names them."""
    return {variable.name.split(":")[0]: variable for variable in model.weights}


def conv_kernels(model: tf.keras.Model) -> list[tf.Variable]:
    """Return all convolution kernels, to which weight decay applies; no biases, no batch norms."""
    return [v for v in model.weights if v.name.split(":")[0].rsplit("/", 1)[-1] in _KERNELS]
