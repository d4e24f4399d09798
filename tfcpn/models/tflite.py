"""TensorFlow Lite files: interpreter, convolution weights, and copies with other weights."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfcpn.utils.errors import InputError

# More threads do not help networks of MediaPipe's size.
_MAX_THREADS = 4
_IDENTIFIER = b"TFL3"


def make_interpreter(content: bytes, threads: int | None = None):
    """Return a `tf.lite.Interpreter` that is ready to run.

    Args:
        content: Content of a .tflite file.
        threads: Number of threads; None for one per core, at most four.

    Raises:
        ValueError, RuntimeError: By TensorFlow Lite, for content that it cannot run.
    """
    import tensorflow as tf

    threads = threads or min(_MAX_THREADS, os.cpu_count() or 1)
    interpreter = tf.lite.Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


class Operation(NamedTuple):
    """An operation of a file.

    Attributes:
        kind: Its name, such as CONV_2D.
        inputs, outputs: Numbers of tensors.
        options: Its options, an object of the schema; None if it has none.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: object


class Convolution(NamedTuple):
    """A CONV_2D or DEPTHWISE_CONV_2D of a file.

    Attributes:
        depthwise: Whether it is depthwise.
        stride: 1 or 2.
        kernel: (kh, kw, in, out), or (kh, kw, channels, 1) if depthwise, as in Keras; float32.
        bias: (out,) float32.
        mask: Where a sparse kernel has values, shaped as the kernel; None for a dense one.
        shares_bias: Whether another convolution has the same bias.
    """

    depthwise: bool
    stride: int
    kernel: np.ndarray
    bias: np.ndarray
    mask: np.ndarray | None = None
    shares_bias: bool = False


def read_tflite_bytes(path: str, member: str) -> bytes:
    """Return the content of a .tflite file, or of one in a .task bundle.

    Args:
        path: The file.
        member: Prefix of the name in a bundle.

    Raises:
        InputError: If it does not exist or is something else.
    """
    if not Path(path).exists():
        raise InputError(
            f"{path} not found; make models fetches MediaPipe's files into data/mediapipe"
        )
    content = Path(path).read_bytes()
    # A .tflite file may have a zip of its own behind it, so this question comes first.
    if content[4:8] == _IDENTIFIER:
        return content
    try:
        with zipfile.ZipFile(path) as bundle:
            content = bundle.read(find_bundle_member(bundle, path, member))
    except (zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path}: is neither a TensorFlow Lite file nor a .task bundle ({error})"
        ) from error
    if content[4:8] != _IDENTIFIER:
        raise InputError(f"{path}: the {member}*.tflite in it is no TensorFlow Lite file")
    return content


def find_bundle_member(bundle: zipfile.ZipFile, path: str, member: str) -> str:
    """Return the .tflite of a bundle whose name begins with `member`; InputError if none does."""
    names = [
        n for n in bundle.namelist() if Path(n).name.startswith(member) and n.endswith(".tflite")
    ]
    if not names:
        raise InputError(
            f"{path}: is a bundle without a {member}*.tflite; it holds "
            f"{', '.join(bundle.namelist())}"
        )
    return names[0]


def read_metadata(content: bytes, name: str) -> bytes | None:
    """Return the metadata of a .tflite file of some name, or None."""
    model = _unpack(content)
    for entry in model.metadata or ():
        if bytes(entry.name).decode() == name:
            return bytes(model.buffers[entry.buffer].data)
    return None


def add_metadata(content: bytes, name: str, metadata: bytes) -> bytes:
    """Return a .tflite file with metadata added."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = _unpack(content)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(metadata, np.uint8)
    entry.name, entry.buffer = name.encode(), len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]
    return _pack(model)


def _unpack(content: bytes):
    from tensorflow.lite.python import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def _pack(model) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


class TfliteGraph:
    """The only graph of a file, unpacked. Raises InputError for a damaged file."""

    def __init__(self, content: bytes, path: str):
        from tensorflow.lite.python import schema_py_generated as schema

        self.path, self._schema = path, schema
        try:
            self._model = _unpack(content)
            self._graph = self._model.subgraphs[0]
            # Read every buffer now, so that a truncated file is an error here.
            self._producers = {o: op for op in self._graph.operators for o in op.outputs}
            codes = schema.BuiltinOperator
            self._kinds = {codes.CONV_2D: False, codes.DEPTHWISE_CONV_2D: True}
            self._convolutions = [
                op for op in self._graph.operators if self._code(op) in self._kinds
            ]
            self._bias_buffers = [self._constant(op.inputs[2]).buffer for op in self._convolutions]
            self.convolutions = [self._read(op) for op in self._convolutions]
        except Exception as error:  # the generated reader raises whatever its offsets lead to
            raise InputError(
                f"{path}: is damaged or no network of ours ({error!r}); fetch it again"
            ) from error

    def _code(self, operator) -> int:
        code = self._model.operatorCodes[operator.opcodeIndex]
        return max(code.builtinCode, code.deprecatedBuiltinCode)

    def _constant(self, tensor: int):
        """Return the tensor with the values: itself, or a float16 or sparse one it is made of."""
        codes = self._schema.BuiltinOperator
        while (producer := self._producers.get(tensor)) is not None and self._code(producer) in (
            codes.DEQUANTIZE,
            codes.DENSIFY,
        ):
            tensor = producer.inputs[0]
        return self._graph.tensors[tensor]

    @staticmethod
    def _sparse_indices(constant) -> np.ndarray:
        """Return the flat indices of the values of a sparse tensor, in their order in the file.

        Only the layout of MediaPipe's files is read: all axes but the last one are dense.

        Raises:
            ValueError: For another layout.
        """
        *dense, last = constant.sparsity.dimMetadata
        order = list(constant.sparsity.traversalOrder)
        if any(d.format for d in dense) or not last.format or order != sorted(order):
            raise ValueError("a sparse tensor in another layout than rows of a matrix")
        starts = np.asarray(last.arraySegments.values, np.int64)
        columns = np.asarray(last.arrayIndices.values, np.int64)
        rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        return rows * constant.shape[-1] + columns

    def _values(self, tensor: int) -> np.ndarray:
        constant = self._constant(tensor)
        types = {
            self._schema.TensorType.FLOAT16: np.float16,
            self._schema.TensorType.FLOAT32: np.float32,
        }
        raw = bytes(self._model.buffers[constant.buffer].data)
        values = np.frombuffer(raw, types[constant.type])
        if constant.sparsity is not None:
            dense = np.zeros(int(np.prod(constant.shape)), values.dtype)
            dense[self._sparse_indices(constant)] = values
            values = dense
        return values.reshape(constant.shape)

    def _read(self, operator) -> Convolution:
        depthwise = self._kinds[self._code(operator)]
        kernel, bias = (self._values(t).astype(np.float32) for t in operator.inputs[1:3])
        stride = operator.builtinOptions.strideH
        if kernel.ndim != 4 or bias.ndim != 1 or stride < 1:
            raise ValueError(
                f"a convolution of kernel {kernel.shape}, bias {bias.shape} and stride {stride}"
            )
        # Files have (out, kh, kw, in), and (1, kh, kw, channels).
        axes, mask = (1, 2, 3, 0), None
        constant = self._constant(operator.inputs[1])
        if constant.sparsity is not None:
            mask = np.zeros(kernel.size, bool)
            mask[self._sparse_indices(constant)] = True
            mask = np.transpose(mask.reshape(kernel.shape), axes)
        buffer = self._constant(operator.inputs[2]).buffer
        shared = self._bias_buffers.count(buffer) > 1
        return Convolution(depthwise, stride, np.transpose(kernel, axes), bias, mask, shared)

    @property
    def operations(self) -> list[Operation]:
        """The operations in order, without those that unpack constants."""
        codes = self._schema.BuiltinOperator
        names = {v: k for k, v in vars(codes).items() if isinstance(v, int)}
        unpacking = (codes.DEQUANTIZE, codes.DENSIFY)
        return [
            Operation(names[self._code(op)], tuple(op.inputs), tuple(op.outputs), op.builtinOptions)
            for op in self._graph.operators
            if self._code(op) not in unpacking
        ]

    def integers(self, tensor: int) -> np.ndarray:
        """Return the values of a constant int32 tensor."""
        constant = self._graph.tensors[tensor]
        raw = bytes(self._model.buffers[constant.buffer].data)
        return np.frombuffer(raw, np.int32).reshape(constant.shape)

    @property
    def input_output_tensors(self) -> tuple[list[int], list[int]]:
        """Numbers of the tensors that are the graph's inputs and outputs."""
        return list(self._graph.inputs), list(self._graph.outputs)

    @property
    def constants(self) -> int:
        """Number of float16 and float32 values in the file."""
        floats = (self._schema.TensorType.FLOAT16, self._schema.TensorType.FLOAT32)
        kept = {t.buffer: t for t in self._graph.tensors if t.type in floats}
        return sum(
            int(np.prod(t.shape))
            for b, t in kept.items()
            if self._model.buffers[b].data is not None
        )

    def tensors(self) -> list[tuple[bytes, int, tuple[int, ...]]]:
        """Return name, type and shape of every tensor."""
        return [(bytes(t.name), t.type, tuple(t.shape)) for t in self._graph.tensors]

    def outputs(self) -> list[tuple[int, ...]]:
        """Return the shapes of the outputs, in order."""
        return [tuple(int(n) for n in self._graph.tensors[o].shape) for o in self._graph.outputs]

    def with_weights(self, weights: list[tuple[np.ndarray, np.ndarray]]) -> bytes:
        """Return the file with other weights of its convolutions, in the types of the file.

        Args:
            weights: Kernel and bias of each convolution.

        Raises:
            InputError: For values that the file's types cannot represent.
        """
        for number, (operator, arrays) in enumerate(zip(self._convolutions, weights)):
            for tensor, array in zip(operator.inputs[1:3], arrays):
                constant = self._constant(tensor)
                dtype = (
                    np.float16 if constant.type == self._schema.TensorType.FLOAT16 else np.float32
                )
                stored = np.transpose(array, (3, 0, 1, 2)) if array.ndim == 4 else array
                with np.errstate(over="ignore"):
                    stored = stored.astype(dtype)
                if not np.isfinite(stored).all():
                    raise InputError(
                        f"{self.path}: convolution {number} has weights that {np.dtype(dtype)} "
                        "does not hold"
                    )
                if constant.sparsity is not None and stored.shape == tuple(constant.shape):
                    indices = self._sparse_indices(constant)
                    flat = stored.reshape(-1)
                    if np.count_nonzero(flat) > np.count_nonzero(flat[indices]):
                        raise InputError(
                            f"{self.path}: convolution {number} has values where the file's sparse "
                            "kernel has none"
                        )
                    stored = flat[indices]
                elif tuple(stored.shape) != tuple(constant.shape):
                    raise InputError(
                        f"{self.path}: convolution {number} is {tuple(constant.shape)}, not "
                        f"{stored.shape}"
                    )
                self._model.buffers[constant.buffer].data = np.frombuffer(
                    stored.tobytes(), np.uint8
                )
        return _pack(self._model)
