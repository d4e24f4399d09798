"""MediaPipe's pose detector as a trainable network, read from its file and written back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.models.batchnorm_folding import folded_weights
from tfcpn.models.blazepose.detector import DETECTOR_MEMBER, SIZE, VALUES, anchors
from tfcpn.models.blazepose.detector_losses import LOSSES, detector_losses
from tfcpn.models.blazepose.model import ScaledConv2D, ScaledDepthwiseConv2D
from tfcpn.models.model import Network, conv_kernels, variables_by_layer
from tfcpn.models.specs import DEFAULT_DETECTION_MODEL
from tfcpn.models.tflite import Operation, TfliteGraph, read_tflite_bytes
from tfcpn.transforms.normalize import Preprocessing
from tfcpn.utils.errors import InputError

# RGB from -1 to 1, black outside the image.
DETECTOR_PREPROCESSING = Preprocessing((127.5,) * 3, 127.5, rgb=True, pad_color=(0.0, 0.0, 0.0))

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


def build_detector(graph: TfliteGraph, freeze: int = 0) -> tf.keras.Model:
    """Build the network of a file, operation by operation, with the file's weights.

    Kernels and biases are relative to scales of their channels, see `ScaledConv2D`.

    Args:
        graph: The file.
        freeze: Number of leading convolutions that are not trained. Biases that two convolutions
            share are never trained.

    Returns:
        A model from images (N, 224, 224, 3), RGB from -1 to 1, to raw boxes (N, A, 12) and logits
        (N, A, 1) of the anchors.

    Raises:
        InputError: For a file with other operations.
    """
    (given,), results = graph.input_output_tensors
    images = tf.keras.Input((SIZE, SIZE, 3), name="image")
    tensors, convolutions, count = {given: images}, iter(graph.convolutions), 0
    for number, operation in enumerate(graph.operations):
        inputs = [tensors[t] for t in operation.inputs if t in tensors]
        name = f"{number:03d}_{operation.kind.lower()}"
        if operation.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            output = _convolution(operation, next(convolutions), inputs[0], name)
            output.node.layer.trainable = count >= freeze
            count += 1
        else:
            output = _other(graph, operation, inputs, name)
        tensors[operation.outputs[0]] = _activated(operation, output, name)
    # Losses are float32 in half precision, too.
    outputs = [
        tf.keras.layers.Activation("linear", dtype="float32", name=name)(tensors[t])
        for t, name in zip(results, ("boxes", "logits"))
    ]
    return tf.keras.Model(images, outputs, name="pose_detector")


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
    # Constants of the file: where the kernel may be other than zero, and whose bias it is.
    layer.mask, layer.shares_bias = read.mask, read.shares_bias
    output = layer(x)
    axes = (0, 1, 3) if read.depthwise else (0, 1, 2)
    unit = np.sqrt((read.kernel**2).mean(axis=axes))
    unit = np.where(unit > 0, unit, 1).astype(np.float32)
    kernel = read.kernel / (unit[:, None] if read.depthwise else unit)
    layer.set_weights([kernel, read.bias, unit, np.ones_like(unit)])
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


def detector_network(init_weights: str, *, freeze: int, positive_weight: float) -> Network:
    """Return the detector as a value.

    Args:
        init_weights: Value of --init_weights. A file is the template of the architecture, too; for
            anything else that is the file of `make models`.
        freeze: See `build_detector`.
        positive_weight: See `detector_losses`.
    """
    template = init_weights if Path(init_weights).is_file() else DEFAULT_DETECTION_MODEL
    return Network(
        name="blazepose_detector",
        preprocessing=DETECTOR_PREPROCESSING,
        build=lambda: build_detector(read_detector(template), freeze),
        prediction=lambda outputs: outputs,
        losses=partial(detector_losses, positive_weight=positive_weight),
        loss_names=LOSSES,
        variables=variables_by_layer,
        kernels=conv_kernels,
        find_weights=_find_weights,
        load_weights=_load_weights,
        teacher=_build_teacher,
        template=template,
        whole_images=True,
    )


def _find_weights(init_weights: str) -> str:
    """Resolve --init_weights to a file of MediaPipe's detector.

    Raises:
        InputError: If it is not there, or is another network.
    """
    found = DEFAULT_DETECTION_MODEL if init_weights == "auto" else init_weights
    read_detector(found)
    return found


def _load_weights(model: tf.keras.Model, init_weights: str) -> None:
    model.set_weights(build_detector(read_detector(init_weights)).get_weights())


def _build_teacher(init_weights: str) -> Callable:
    model = build_detector(read_detector(init_weights))
    model.trainable = False
    return lambda images: model(images, training=False)
