"""MediaPipe's pose detector as a trainable network, read from its file and written back."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfcpn.models.batchnorm_folding import folded_weights
from tfcpn.models.blazepose.detector import DETECTOR_MEMBER, SIZE, VALUES, anchors
from tfcpn.models.blazepose.model import ScaledConv2D, ScaledDepthwiseConv2D
from tfcpn.models.tflite import Operation, TfliteGraph, read_tflite_bytes
from tfcpn.utils.errors import InputError

_ACTIVATIONS = {0: None, 1: None, 3: 6.0}  # of the schema: none, ReLU, ReLU6


def read_detector(path: str) -> TfliteGraph:
    """Read MediaPipe's detector, or one exported into its form.

    Raises:
        InputError: For another file.
    """
    graph = TfliteGraph(read_tflite_bytes(path, DETECTOR_MEMBER), path)
    count = len(anchors())
    if graph.outputs() != [(1, count, VALUES), (1, count, 1)]:
        raise InputError(f"{path}: is not MediaPipe's pose detector of 0.10")
    return graph


def build_detector(graph: TfliteGraph, frozen_above: int = 0) -> tf.keras.Model:
    """Build the network of a file, operation by operation, with the file's weights.

    Kernels and biases are relative to scales of their channels, see `ScaledConv2D`.

    Args:
        graph: The file.
        frozen_above: The leading convolutions are frozen, up to the first one with an output of
            fewer rows; 0 freezes all. Biases that two convolutions share are frozen in any case.

    Returns:
        A model from images (N, 224, 224, 3), RGB from -1 to 1, to raw boxes (N, A, 12) and logits
        (N, A, 1) of the anchors.

    Raises:
        InputError: For a file with other operations.
    """
    (given,), results = graph.input_output_tensors
    images = tf.keras.Input((SIZE, SIZE, 3), name="image")
    tensors, convolutions, trainable = {given: images}, iter(graph.convolutions), False
    for number, operation in enumerate(graph.operations):
        inputs = [tensors[t] for t in operation.inputs if t in tensors]
        name = f"{number:03d}_{operation.kind.lower()}"
        if operation.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            output = _convolution(operation, next(convolutions), inputs[0], name)
            trainable |= output.shape[1] < frozen_above
            output.node.layer.trainable = trainable
        else:
            output = _other(graph, operation, inputs, name)
        tensors[operation.outputs[0]] = _activated(operation, output, name)
    return tf.keras.Model(images, [tensors[t] for t in results], name="pose_detector")


def _activated(operation: Operation, x, name: str):
    fused = getattr(operation.options, "fusedActivationFunction", 0)
    if fused not in _ACTIVATIONS:
        raise InputError(f"{name}: an activation of kind {fused} is not MediaPipe's detector's")
    return tf.keras.layers.ReLU(_ACTIVATIONS[fused], name=f"{name}_relu")(x) if fused else x


def _convolution(operation: Operation, read, x, name: str):
    """Add a convolution with the weights of the file."""
    same = operation.options.padding == 0
    options = {"strides": read.stride, "padding": "same" if same else "valid", "name": name}
    if read.depthwise:
        layer = ScaledDepthwiseConv2D(read.kernel.shape[0], **options)
    else:
        layer = ScaledConv2D(read.kernel.shape[3], read.kernel.shape[0], **options)
    output = layer(x)
    axes = (0, 1, 3) if read.depthwise else (0, 1, 2)
    unit = np.sqrt((read.kernel**2).mean(axis=axes))
    unit = np.where(unit > 0, unit, 1).astype(np.float32)
    kernel = read.kernel / (unit[:, None] if read.depthwise else unit)
    layer.set_weights([kernel, read.bias, unit, np.ones_like(unit)])
    # Constants of the file: where the kernel may be other than zero, and whose bias it is.
    layer.mask, layer.shares_bias = read.mask, read.shares_bias
    return output


def _other(graph: TfliteGraph, operation: Operation, inputs: list, name: str):
    """Add an operation without weights."""
    kind, (x, *_) = operation.kind, inputs
    if kind == "PAD":
        return tf.keras.layers.ZeroPadding2D(
            tuple(map(tuple, graph.integers(operation.inputs[1])[1:3].tolist())), name=name
        )(x)
    if kind == "ADD":
        return tf.keras.layers.Add(name=name)(inputs)
    if kind == "RESIZE_BILINEAR":
        return tf.keras.layers.UpSampling2D(2, interpolation="bilinear", name=name)(x)
    if kind == "DEPTH_TO_SPACE":
        return tf.keras.layers.Lambda(lambda t: tf.nn.depth_to_space(t, 2), name=name)(x)
    if kind == "RESHAPE":
        shape = graph.integers(operation.inputs[1])
        return tf.keras.layers.Reshape(tuple(int(n) for n in shape[1:]), name=name)(x)
    if kind == "CONCATENATION":
        return tf.keras.layers.Concatenate(axis=1, name=name)(inputs)
    raise InputError(f"{graph.path}: {kind} is not an operation of MediaPipe's detector")


def convolutions_of(model: tf.keras.Model) -> list:
    """Return the convolutions of a detector in the order of its file."""
    layers = [layer for layer in model.layers if hasattr(layer, "kernel_unit")]
    return sorted(layers, key=lambda layer: layer.name)


def trained_variables(model: tf.keras.Model) -> list[tuple[tf.Variable, np.ndarray | None]]:
    """Return the variables to train, each with a mask of its values that stay zero, or None."""
    found = []
    for layer in convolutions_of(model):
        if not layer.trainable:
            continue
        kernel = layer.depthwise_kernel if hasattr(layer, "depthwise_kernel") else layer.kernel
        found.append((kernel, layer.mask))
        if not layer.shares_bias:
            found.append((layer.bias, None))
    return found


def export_detector(model: tf.keras.Model, template: str) -> bytes:
    """Return a copy of MediaPipe's file with a model's weights.

    The graph, names, order of outputs and types are those of the file, and so is which kernels are
    sparse.
    """
    graph = read_detector(template)
    weights = []
    for layer in convolutions_of(model):
        kernel, bias = folded_weights(layer, None)
        if layer.mask is not None:
            kernel = kernel * layer.mask
        weights.append((kernel.astype(np.float32), bias.astype(np.float32)))
    return graph.with_weights(weights)
