"""A network as a value: all that training, evaluation and the tools need to know of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import tensorflow as tf

from tfcpn.picture.look import Preprocessing


class Network(NamedTuple):
    """How a network is built and used. Another one joins as a module that makes such a value, and a line in `parts`.

    name: as in --network. look: what it sees of a crop. build: makes the Keras model, under the current precision
    policy and strategy; it takes (N, H, W, 3) images and returns `outputs` of any structure. prediction: of the
    outputs what the codec decodes. losses: (outputs, the codec's targets, the teacher's outputs) -> scalars by name,
    means over the crops. loss_names: those names, in order. told: those of them that are told but not learnt from.
    variables: the model's variables under
    the names that checkpoints keep them by. kernels: the variables that weight decay acts on. find_weights:
    --init_weights -> what to start from ("none", a path, ...); raises InputError if it is not there. load_weights:
    gives a model those first weights. teacher: of those weights a function from images to outputs that the losses
    compare with, or None. prepare: gets the model and batches of training images before the first step. why_ruined:
    what is wrong with losses, empty if nothing is. person: of the outputs how sure the network is that each crop
    shows a person, (N,) from 0 to 1; None for a network that does not tell. build_lean: as build, by less work, with
    layers of the same names and, once they have the same weights, the same outputs to rounding; its own weights are
    zero. None if there is nothing to save.
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
    told: tuple[str, ...] = ()
    teacher: Callable[[str], Callable | None] = lambda found: None
    prepare: Callable[[tf.keras.Model, Iterable], None] | None = None
    check_diverged: Callable[[dict[str, float]], str] | None = None
    person: Callable[[Any], tf.Tensor] | None = None
    build_for_inference: Callable[[], tf.keras.Model] | None = None
