"""Load MediaPipe's weights, and export weights into copies of MediaPipe's files."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfcpn.models.batchnorm_folding import folded_weights
from tfcpn.models.blazepose.model import NORM_EPSILON, build_blazepose, convolutions, norm_of
from tfcpn.models.specs import (
    BLAZEPOSE_HEATMAP_SIZE,
    BLAZEPOSE_INPUT_SIZE,
    BLAZEPOSE_SPECS,
    NUM_LANDMARKS,
    VALUES_PER_LANDMARK,
    BlazePoseSpec,
)
from tfcpn.models.tflite import TfliteGraph, read_tflite_bytes
from tfcpn.utils.errors import InputError

LANDMARK_MEMBER = "pose_landmark"  # what the landmark network's file is called in a .task bundle
_OUTPUTS = [
    (1, NUM_LANDMARKS * VALUES_PER_LANDMARK),
    (1, 1),
    (1, *BLAZEPOSE_INPUT_SIZE, 1),
    (1, *BLAZEPOSE_HEATMAP_SIZE, NUM_LANDMARKS),
    (1, NUM_LANDMARKS * 3),
]


def read_landmark_model(path: str) -> tuple[TfliteGraph, BlazePoseSpec]:
    """Read MediaPipe's landmark network and its spec; InputError for any other file."""
    graph = TfliteGraph(read_tflite_bytes(path, LANDMARK_MEMBER), path)
    for spec in BLAZEPOSE_SPECS.values():
        if _shapes(graph) == spec_shapes(spec) and graph.outputs() == _OUTPUTS:
            return graph, spec
    raise InputError(
        f"{path}: its {len(graph.convolutions)} convolutions are not those of MediaPipe's pose "
        f"landmark network {' or '.join(BLAZEPOSE_SPECS)} of 0.10"
    )


def _shapes(graph: TfliteGraph) -> list:
    return [(c.depthwise, c.stride, c.kernel.shape) for c in graph.convolutions]


_SHAPES: dict[str, list] = {}


def spec_shapes(spec: BlazePoseSpec) -> list:
    """Return whether each convolution of a spec is depthwise, its stride and its kernel shape."""
    if spec.name not in _SHAPES:
        layers = convolutions(build_blazepose(spec))
        _SHAPES[spec.name] = [
            (
                isinstance(c, tf.keras.layers.DepthwiseConv2D),
                c.strides[0],
                tuple(c.weights[0].shape),
            )
            for c in layers
        ]
    return _SHAPES[spec.name]


def load_landmark_weights(model: tf.keras.Model, path: str, share: float = 1.0) -> None:
    """Load the weights of a file, or their mean with those of the model.

    A batch norm gets the bias as its offset and is otherwise neutral.

    Args:
        model: The model.
        path: The file.
        share: Share of the file in the mean (WiSE-FT, arXiv 2109.01903); 1 replaces the weights.

    Raises:
        InputError: For a file of another network.
    """
    graph, _ = read_landmark_model(path)
    layers = convolutions(model)
    if len(layers) != len(graph.convolutions):
        raise InputError(
            f"{path}: has {len(graph.convolutions)} convolutions, the network {len(layers)}"
        )
    weights = [(read.kernel, read.bias) for read in graph.convolutions]
    if share < 1:
        weights = [
            tuple((1 - share) * ours + share * theirs for ours, theirs in zip(*both))
            for both in zip(folded_convolutions(model), weights)
        ]
    for layer, read, (kernel, bias) in zip(layers, graph.convolutions, weights):
        norm = norm_of(model, layer)
        if hasattr(layer, "kernel_unit"):
            unit = np.sqrt((kernel**2).mean(axis=(0, 1, 3) if read.depthwise else (0, 1, 2)))
            unit = np.where(unit > 0, unit, 1).astype(np.float32)
            relative = kernel / (unit[:, None] if read.depthwise else unit)
            layer.set_weights([relative, bias, unit, np.ones_like(unit)])
            continue
        layer.weights[0].assign(kernel)
        if norm is None:
            layer.weights[1].assign(bias)
            continue
        channels = len(bias)
        # Of moving variance 1 - epsilon, so that what it divides by is 1.
        variance = np.full(channels, 1 - NORM_EPSILON)
        norm.set_weights([np.ones(channels), bias, np.zeros(channels), variance])


def folded_convolutions(model: tf.keras.Model) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return kernel and bias of each convolution with its batch norm folded in, float32."""
    weights = [folded_weights(layer, norm_of(model, layer)) for layer in convolutions(model)]
    return [(kernel.astype(np.float32), bias.astype(np.float32)) for kernel, bias in weights]


def export_landmark_model(model: tf.keras.Model, template: str) -> bytes:
    """Return a copy of MediaPipe's file with a model's weights; InputError for another network."""
    graph, spec = read_landmark_model(template)
    if model.name != f"blazepose_{spec.name}":
        raise InputError(
            f"--template={template} is the {spec.name} network, not "
            f"{model.name.removeprefix('blazepose_')}"
        )
    return graph.with_weights(folded_convolutions(model))
