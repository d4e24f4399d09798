"""Export to TensorFlow Lite: one crop at a time, no Flex operations."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.export.graph import ExportGraph, crops_spec
from tfcpn.models.tflite import make_interpreter
from tfcpn.utils.console import suppress_stderr
from tfcpn.utils.errors import InputError

QUANTIZE = ("none", "float16", "dynamic", "int8", "full_int8")


def _converter(graph: ExportGraph, quantize: str, people: np.ndarray | None):
    spec = crops_spec(graph.crop_spec, 1)
    if quantize == "full_int8":
        # Of a float input, the converter makes an int8 one; of a uint8 input, it keeps a cast.
        spec = tf.TensorSpec(spec.shape, tf.float32, name="crops")
    function = tf.function(graph.call, input_signature=[spec]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], graph.predictor.model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantize != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        converter.representative_dataset = lambda: ([crop[None]] for crop in people)
    if quantize == "full_int8":
        converter.representative_dataset = lambda: (
            [crop[None].astype(np.float32)] for crop in people
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter


class SensitiveLayer(NamedTuple):
    """A layer with a large int8 quantization error.

    Attributes:
        layer: Its name in Keras, or that of an operation between layers.
        tensor: Name of its output in TensorFlow Lite.
    """

    layer: str
    tensor: str


def to_tflite(
    graph: ExportGraph,
    quantize: str = "none",
    people: np.ndarray | None = None,
    excluded_layers: Sequence[SensitiveLayer] = (),
) -> bytes:
    """Return the file.

    Args:
        graph: The graph.
        quantize: One of `QUANTIZE`.
        people: Crops (N, H, W, 3) uint8 that int8 and full_int8 are calibrated on.
        excluded_layers: Layers that int8 leaves in float.

    Raises:
        InputError: For what TensorFlow Lite cannot do.
    """
    tf.get_logger().setLevel(logging.ERROR)
    converter = _converter(graph, quantize, people)
    try:
        if quantize == "int8" and excluded_layers:
            options = tf.lite.experimental.QuantizationDebugOptions(
                denylisted_nodes=[layer.tensor for layer in excluded_layers]
            )
            debugger = _debugger(graph, people, options)
            return debugger.get_nondebug_quantized_model()
        return converter.convert()
    except Exception as error:  # the converter's have no common class
        raise InputError(
            f"TensorFlow Lite cannot take it: {str(error).strip().splitlines()[0]}"
        ) from error


def _debugger(graph: ExportGraph, people: np.ndarray, options):
    return tf.lite.experimental.QuantizationDebugger(
        converter=_converter(graph, "int8", people),
        debug_dataset=lambda: ([crop[None]] for crop in people[:4]),
        debug_options=options,
    )


def rank_by_quantization_error(graph: ExportGraph, people: np.ndarray) -> list[SensitiveLayer]:
    """Return the layers by the error of int8 relative to a quantization step, the worst first."""
    try:
        with suppress_stderr():
            debugger = _debugger(graph, people, tf.lite.experimental.QuantizationDebugOptions())
            debugger.run()
            layers = _Layers(
                graph.predictor.model, make_interpreter(debugger.get_nondebug_quantized_model())
            )
    except Exception as error:  # as above
        raise InputError(
            f"int8 sensitivity analysis failed: {str(error).strip().splitlines()[0]}"
        ) from error
    statistics = io.StringIO()
    debugger.layer_statistics_dump(statistics)
    rows = csv.DictReader(io.StringIO(statistics.getvalue()))
    costs = {
        row["tensor_name"]: float(row["mean_squared_error"]) ** 0.5 / float(row["scale"])
        for row in rows
        if float(row["scale"])
    }
    return [
        SensitiveLayer(layers.of(tensor), tensor)
        for tensor in sorted(costs, key=lambda name: -costs[name])
    ]


class _Layers:
    """Finds the layer that made a tensor of a converted file."""

    def __init__(self, model: tf.keras.Model, running):
        self._names = [layer.name for layer in model.layers]
        tensors = {tensor["index"]: tensor["name"] for tensor in running.get_tensor_details()}
        self._inputs_of = {
            tensors[graph]: [tensors.get(taken, "") for taken in op["inputs"]]
            for op in running._get_ops_details()
            for graph in op["outputs"]
            if graph in tensors
        }

    def of(self, tensor: str) -> str:
        """Return the layer's name; the tensor's own if no layer made it."""
        # The outputs of the whole have names of their own; what they are made of, such as weights,
        # tells the layer.
        for name in (tensor, *self._inputs_of.get(tensor, ())[1:]):
            last = name.split(";")[-1]  # fused operations are named in order
            found = [layer for layer in self._names if f"/{layer}/" in last]
            if found:
                return max(found, key=len)
        return tensor


class TfliteFile:
    """Runs a .tflite file that takes one crop at a time."""

    def __init__(self, content: bytes, threads: int | None = None):
        self._running = make_interpreter(content, threads)
        self._signature = self._running.get_signature_runner()
        self._input = self._signature.get_input_details()["crops"]
        self._outputs = self._signature.get_output_details()

    def __call__(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs of crops (N, H, W, 3) uint8 by name, as floats."""
        if self._input["dtype"] == np.int8:
            scale, zero = self._input["quantization"]
            crops = np.clip(np.round(crops / scale) + zero, -128, 127).astype(np.int8)
        found = [self._signature(crops=crop[None]) for crop in crops]
        outputs = {name: np.concatenate([f[name] for f in found]) for name in found[0]}
        return {name: self._as_floats(name, values) for name, values in outputs.items()}

    def _as_floats(self, name: str, values: np.ndarray) -> np.ndarray:
        if values.dtype != np.int8:
            return values
        scale, zero = self._outputs[name]["quantization"]
        return ((values.astype(np.float32) - zero) * scale).astype(np.float32)
