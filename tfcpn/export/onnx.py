"""Export to ONNX: any number of crops at a time."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.export.graph import ExportGraph, crops_spec
from tfcpn.export.tflite import SensitiveLayer
from tfcpn.utils.console import suppress_stderr
from tfcpn.utils.errors import InputError

QUANTIZE = ("none", "float16", "dynamic", "int8")
_OPSET = 15
_HEAVY = ["Conv", "MatMul", "Gemm"]


def _tools():
    """Return onnx, onnxruntime and tf2onnx; InputError if they are not installed."""
    try:
        import onnx
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise InputError(f"--format=onnx needs {error.name}; pip install 'tfcpn[onnx]'") from error
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    return onnx, onnxruntime, tf2onnx


def to_onnx(
    graph: ExportGraph,
    quantize: str = "none",
    people: np.ndarray | None = None,
    excluded_layers: Sequence[SensitiveLayer] = (),
) -> bytes:
    """Return the file; see `to_tflite` for the arguments.

    Raises:
        InputError: For what cannot be converted.
    """
    onnx, _, tf2onnx = _tools()
    shape = crops_spec(graph.crop_spec)
    names = sorted(graph.call(tf.zeros((1, *graph.crop_spec.size, 3), tf.uint8)))

    def call(crops):
        outputs = graph.call(crops)
        return [tf.identity(outputs[name], name=name) for name in names]

    try:
        with suppress_stderr():
            model, _ = tf2onnx.convert.from_function(
                tf.function(call, input_signature=[shape]), input_signature=[shape], opset=_OPSET
            )
            model = _with_output_names(onnx, model, names)
            return _smaller(onnx, model, quantize, people, excluded_layers)
    except Exception as error:  # those of three libraries have no common class
        raise InputError(
            f"it cannot be ONNX: {(str(error).strip() or repr(error)).splitlines()[0]}"
        ) from error


def _smaller(
    onnx, model, quantize: str, people, excluded_layers: Sequence[SensitiveLayer]
) -> bytes:
    if quantize == "float16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        # Where a network ends and a decoder begins numbers are small differences of large ones.
        light = {node.op_type for node in model.graph.node} - {
            *_HEAVY,
            "Relu",
            "Add",
            "Clip",
            "MaxPool",
            "Transpose",
        }
        model = convert_float_to_float16(model, keep_io_types=True, op_block_list=sorted(light))
    if quantize in ("dynamic", "int8"):
        excluded = [
            n.name
            for n in model.graph.node
            if any(f"/{layer.layer}/" in f"/{n.name}/" for layer in excluded_layers)
        ]
        return _quantized(onnx, model, quantize, people, excluded)
    return model.SerializeToString()


def _with_output_names(onnx, model, names: Sequence[str]):
    """Give the outputs the names of `ExportGraph.call`; tf2onnx calls them Identity:0 and so on."""
    for output, name in zip(list(model.graph.output), names):
        old = output.name
        for node in model.graph.node:
            for place, value in enumerate(node.output):
                if value == old:
                    node.output[place] = name
            for place, value in enumerate(node.input):
                if value == old:
                    node.input[place] = name
        output.name = name
    onnx.checker.check_model(model)
    return model


def _quantized(onnx, model, quantize: str, people, excluded: list[str]) -> bytes:
    from onnxruntime import quantization

    with tempfile.TemporaryDirectory() as place:
        whole, small = (str(Path(place) / name) for name in ("float.onnx", "small.onnx"))
        onnx.save(model, whole)
        if quantize == "dynamic":
            # onnxruntime has no dynamic convolution for signed weights.
            how = {"weight_type": quantization.QuantType.QUInt8, "nodes_to_exclude": excluded}
            quantization.quantize_dynamic(whole, small, **how)
        else:
            quantization.quantize_static(
                whole,
                small,
                _Crops(people),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=_HEAVY,
                per_channel=True,
                nodes_to_exclude=excluded,
            )
        return Path(small).read_bytes()


class _Crops:
    """Crops as an onnxruntime calibration reader."""

    def __init__(self, people: np.ndarray):
        self._crops = iter(people)

    def get_next(self) -> dict | None:
        crop = next(self._crops, None)
        return None if crop is None else {"crops": crop[None]}


class OnnxFile:
    """Runs an .onnx file by onnxruntime on the CPU."""

    def __init__(self, content: bytes):
        _, onnxruntime, _ = _tools()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Threads would wait in a busy loop, and be many times slower next to another program.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """crops (N, H, W, 3) uint8 -> outputs by name."""
        return dict(zip(self._names, self._session.run(None, {"crops": crops})))
