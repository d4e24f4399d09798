"""MediaPipe's weights into our network, and ours into a copy of MediaPipe's file."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.networks.blazepose_layers import NORM_EPSILON
from tfcpn.networks.blazepose_model import build_blazepose, convolutions, norm_of
from tfcpn.networks.blazepose_table import (
    BLAZEPOSE_SPECS,
    HEATMAP_SIZE,
    INPUT_SIZE,
    NUM_LANDMARKS,
    VALUES_PER_LANDMARK,
    BlazePoseSpec,
)
from tfcpn.networks.folding import folded_weights
from tfcpn.networks.tflite_file import TfliteGraph, read_tflite_bytes

MEMBER = "pose_landmark"  # what the landmark network's file is called in a .task bundle
_OUTPUTS = [
    (1, NUM_LANDMARKS * VALUES_PER_LANDMARK),
    (1, 1),
    (1, *INPUT_SIZE, 1),
    (1, *HEATMAP_SIZE, NUM_LANDMARKS),
    (1, NUM_LANDMARKS * 3),
]


def read_file(path: str) -> tuple[TfliteGraph, BlazePoseSpec]:
    """A landmark network of MediaPipe's and which of our tables it is. Raises InputError for any other file."""
    graph = TfliteGraph(read_tflite_bytes(path, MEMBER), path)
    for table in BLAZEPOSE_SPECS.values():
        if _shapes(graph) == spec_shapes(table) and graph.outputs() == _OUTPUTS:
            return graph, table
    raise InputError(
        f"{path}: its {len(graph.convolutions)} convolutions are not those of MediaPipe's pose landmark network "
        f"{' or '.join(BLAZEPOSE_SPECS)} of 0.10"
    )


def _shapes(graph: TfliteGraph) -> list:
    return [(c.depthwise, c.stride, c.kernel.shape) for c in graph.convolutions]


_SHAPES: dict[str, list] = {}


def spec_shapes(table: BlazePoseSpec) -> list:
    """Of each convolution of a table: whether it is depthwise, its stride, the shape of its kernel."""
    if table.name not in _SHAPES:
        layers = convolutions(build_blazepose(table))
        _SHAPES[table.name] = [
            (
                isinstance(c, tf.keras.layers.DepthwiseConv2D),
                c.strides[0],
                tuple(c.weights[0].shape),
            )
            for c in layers
        ]
    return _SHAPES[table.name]


def load_landmark_weights(model: tf.keras.Model, path: str) -> None:
    """Give a model the weights of a file. A batch norm takes the bias as its offset and changes nothing else."""
    graph, _ = read_file(path)
    layers = convolutions(model)
    if len(layers) != len(graph.convolutions):
        raise InputError(
            f"{path}: has {len(graph.convolutions)} convolutions, the network {len(layers)}"
        )
    for layer, read in zip(layers, graph.convolutions):
        norm = norm_of(model, layer)
        if hasattr(layer, "kernel_unit"):
            unit = np.sqrt((read.kernel**2).mean(axis=(0, 1, 3) if read.depthwise else (0, 1, 2)))
            unit = np.where(unit > 0, unit, 1).astype(np.float32)
            layer.set_weights(
                [
                    read.kernel / (unit[:, None] if read.depthwise else unit),
                    read.bias,
                    unit,
                    unit**0,
                ]
            )
            continue
        layer.weights[0].assign(read.kernel)
        if norm is None:
            layer.weights[1].assign(read.bias)
            continue
        channels = len(read.bias)
        # Of moving variance 1 - epsilon, so that what it divides by is 1.
        variance = np.full(channels, 1 - NORM_EPSILON)
        norm.set_weights([np.ones(channels), read.bias, np.zeros(channels), variance])


def folded_convolutions(model: tf.keras.Model) -> list[tuple[np.ndarray, np.ndarray]]:
    """(kernel, bias) of each convolution in the files' order, its batch norm folded into them, float32."""
    weights = [folded_weights(layer, norm_of(model, layer)) for layer in convolutions(model)]
    return [(kernel.astype(np.float32), bias.astype(np.float32)) for kernel, bias in weights]


def export_landmark_model(model: tf.keras.Model, template: str) -> bytes:
    """A copy of MediaPipe's file with the model's weights. Raises InputError for a template of another network."""
    graph, table = read_file(template)
    if model.name != f"blazepose_{table.name}":
        raise InputError(
            f"--template={template} is the {table.name} network, not {model.name.removeprefix('blazepose_')}"
        )
    return graph.with_weights(folded_convolutions(model))
