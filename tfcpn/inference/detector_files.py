"""Person detectors as their authors publish them: YOLOX, YOLO, SSD, in ONNX or TensorFlow Lite."""

from __future__ import annotations

import ast
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tfcpn.data.detections import PersonBox
from tfcpn.models.tflite import make_interpreter
from tfcpn.utils.errors import InputError

# Minimum score of a person, unless another one is asked for.
FILE_THRESHOLD = 0.3
# Padding around the image: gray, as in YOLO's training.
_PAD_COLOR = (114, 114, 114)
# IoU above which two raw boxes are of one person, and the number of the best that are compared.
_NMS_IOU, _MAX_CANDIDATES = 0.5, 1000
_PERSON_NAMES = ("person", "people", "pedestrian", "human", "body")
_YOLOX_STRIDES, _P6_STRIDE = (8, 16, 32), 64
# Logarithms of sizes in cells are mostly smaller than this, sizes in pixels larger.
_MAX_LOG_SIZE = 5.0
# Side of the input of a file that takes any size.
_DEFAULT_SIDE = 640
# Coordinates up to here are fractions of the input, larger ones are pixels.
_MAX_FRACTION = 2.0


class DetectorFile(NamedTuple):
    """A file that is ready to run.

    Attributes:
        run: Function from an input to its outputs, as floats.
        size: (height, width) of the input.
        channels_first: Whether the input is (1, 3, H, W) rather than (1, H, W, 3).
        dtype: Type of the input.
        quantization: Scale and zero point of the input; zeros for none.
        output_names: Names of the outputs.
        classes: Names of the classes by number, where the file has them.
    """

    run: Callable[[np.ndarray], list[np.ndarray]]
    size: tuple[int, int]
    channels_first: bool
    dtype: np.dtype
    quantization: tuple[float, int]
    output_names: list[str]
    classes: dict[int, str]


class DetectorForm(NamedTuple):
    """What a file takes and returns.

    Attributes:
        name: "rows": (1, N, 6) x0, y0, x1, y1, score, class, without duplicates. "yolo": (1, N, 4 +
            C) center x, y, width, height, scores of C classes. "yolo_v5": the same with a score of
            the box before those of the classes. "yolox": the same relative to cells of a grid.
            "ssd": boxes (1, N, 4) y0, x0, y1, x1, classes and scores (1, N), and their number.
        transposed: Whether the last two axes are swapped.
    """

    name: str
    transposed: bool = False


def form_of(outputs: Sequence[np.ndarray], size: tuple[int, int]) -> DetectorForm | None:
    """Return the form of a file by the shapes of its outputs; None for an unknown one.

    Args:
        outputs: The outputs for an image without people.
        size: (height, width) of the input.
    """
    if len(outputs) == 4:
        boxes = [output for output in outputs if output.ndim == 3 and output.shape[2] == 4]
        lists = [o for o in outputs if boxes and o.shape == (1, boxes[0].shape[1])]
        return DetectorForm("ssd") if len(boxes) == 1 and len(lists) == 2 else None
    if len(outputs) != 1 or outputs[0].ndim != 3 or len(outputs[0]) != 1:
        return None
    rows, columns = outputs[0].shape[1:]
    cells = sum(size[0] // stride * (size[1] // stride) for stride in _YOLOX_STRIDES)
    more = size[0] // _P6_STRIDE * (size[1] // _P6_STRIDE)
    if columns > 5 and rows in (3 * cells, 3 * (cells + more)):
        return DetectorForm("yolo_v5")
    if columns > 5 and rows == cells:
        # YOLOv8 has as many, but its file has them in columns. Some YOLOX files are decoded.
        is_raw = np.median(outputs[0][0, :, 2:4]) < _MAX_LOG_SIZE
        return DetectorForm("yolox" if is_raw else "yolo_v5")
    if columns == 6:
        return DetectorForm("rows")
    if min(rows, columns) < 5:
        return None
    return DetectorForm("yolo", transposed=rows < columns)


def _decode_yolox(rows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return boxes in pixels from those relative to the cells of a grid (arXiv 2107.08430)."""
    grids, strides = [], []
    for stride in _YOLOX_STRIDES:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
        grids.append(np.stack([x, y], axis=-1).reshape(-1, 2))
        strides.append(np.full((x.size, 1), stride))
    cells, stride = np.concatenate(grids), np.concatenate(strides)
    center, extent = (rows[:, :2] + cells) * stride, np.exp(rows[:, 2:4]) * stride
    return np.concatenate([center, extent, rows[:, 4:]], axis=1)


class FileDetector:
    """A person detector from a file, whose form is recognized by the shapes of its outputs."""

    def __init__(self, path: str, threshold: float = FILE_THRESHOLD):
        """Load the file.

        Args:
            path: An .onnx or .tflite file, see `DetectorForm`.
            threshold: Minimum score of a person.

        Raises:
            InputError: For a file of another form, or one that knows no people.
        """
        self.path, self.threshold = path, threshold
        if not Path(path).exists():
            raise InputError(f"--detector={path} not found")
        self._file = (_load_onnx if path.endswith(".onnx") else _load_tflite)(path)
        # Find errors before the first image, and not once for each. Its form decides what it takes.
        gray = np.full((*self._file.size, 3), _PAD_COLOR, np.uint8)
        outputs = self._run(gray, 1 / 255, 0.0)
        form = form_of(outputs, self._file.size)
        if form is None:
            shapes = " and ".join(str(list(output.shape)) for output in outputs)
            raise InputError(
                f"--detector={path}: returns {shapes}; expected rows [1, N, 6], raw YOLO or YOLOX, "
                "or the four outputs of an SSD"
            )
        self.form = form
        self._person = self._find_person()

    def _find_person(self) -> int:
        """Return the number of the class of people."""
        classes = self._file.classes
        for number, name in classes.items():
            if name.lower() in _PERSON_NAMES:
                return number
        if classes:
            shown = ", ".join(list(classes.values())[:5])
            raise InputError(f"--detector={self.path}: knows {shown}, and no person")
        # TensorFlow's Object Detection API counts classes from 1.
        return int(any("detection_classes" in name for name in self._file.output_names))

    def _run(self, image: np.ndarray, scale: float, offset: float) -> list[np.ndarray]:
        """Run the file on an image (H, W, 3) uint8; floats are pixels * scale + offset."""
        file = self._file
        batch = image[None].transpose(0, 3, 1, 2) if file.channels_first else image[None]
        try:
            outputs = file.run(_as_input(batch, file.dtype, file.quantization, scale, offset))
        except InputError as error:
            raise InputError(f"--detector={self.path}: {error}") from error
        except Exception as error:  # TensorFlow Lite's and onnxruntime's have no common class
            line = str(error).strip().splitlines()
            reason = line[0] if line else repr(error)
            raise InputError(f"--detector={self.path}: cannot be run ({reason})") from error
        return [np.asarray(output) for output in outputs]

    def __call__(self, image: np.ndarray) -> list[PersonBox]:
        """Return the people of an image (H, W, 3) uint8 BGR, the most confident first."""
        name, (height, width) = self.form.name, image.shape[:2]
        size = self._file.size
        if name == "ssd":  # trained on images that are stretched to its size
            scale, corner = np.array([size[1] / width, size[0] / height]), np.zeros(2)
            square = cv2.resize(image, size[::-1])
        else:
            scale = np.repeat(min(size[0] / height, size[1] / width), 2)
            inside = np.maximum(np.round(np.array([width, height]) * scale), 1).astype(int)
            # YOLOX has the image in the corner, the others in the middle.
            corner = np.zeros(2, int) if name == "yolox" else (size[::-1] - inside) // 2
            square = np.full((*size, 3), _PAD_COLOR, np.uint8)
            x, y = corner
            square[y : y + inside[1], x : x + inside[0]] = cv2.resize(image, tuple(inside))
        if name == "yolox":
            outputs = self._run(square, 1.0, 0.0)  # BGR, bytes as they are
        elif name == "ssd":
            outputs = self._run(square[..., ::-1], 1 / 127.5, -1.0)
        else:
            outputs = self._run(square[..., ::-1], 1 / 255, 0.0)
        corners, scores = self._read(outputs)
        corners = (corners - np.tile(corner, 2)) / np.tile(scale, 2)
        corners = np.clip(corners, 0, [width, height, width, height])
        low, extent = corners[:, :2], corners[:, 2:] - corners[:, :2]
        boxes = [
            PersonBox(0, (*map(float, c), *map(float, e)), float(score))
            for c, e, score in zip(low, extent, scores)
            if min(e) > 0
        ]
        return sorted(boxes, key=lambda box: -box.score)

    def _read(self, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return corners (N, 4) in pixels of the input, and scores (N,), of people."""
        size, name = self._file.size, self.form.name
        if name == "ssd":
            return self._read_ssd(outputs)
        rows = outputs[0][0].astype(np.float64)
        rows = rows.T if self.form.transposed else rows
        if name == "yolox":
            rows = _decode_yolox(rows, size)
        elif len(rows) and np.abs(rows[:, :4]).max() <= _MAX_FRACTION:
            rows = np.concatenate([rows[:, :4] * np.tile(size[::-1], 2), rows[:, 4:]], axis=1)
        if name == "rows":
            keep = (rows[:, 4] >= self.threshold) & (np.round(rows[:, 5]) == self._person)
            return rows[keep, :4], rows[keep, 4]
        # Behind the classes there may be keypoints.
        first = 4 if name == "yolo" else 5
        of_person = rows[:, first:][:, : len(self._file.classes) or None]
        scores = of_person[:, self._person] * (1 if name == "yolo" else rows[:, 4])
        # What is rather another class is no person.
        keep = (scores >= self.threshold) & (of_person.argmax(axis=1) == self._person)
        half = rows[keep, 2:4] / 2
        corners = np.concatenate([rows[keep, :2] - half, rows[keep, :2] + half], axis=1)
        best = _nms(corners, scores[keep])
        return corners[best], scores[keep][best]

    def _read_ssd(self, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        (boxes,) = (output[0] for output in outputs if output.ndim == 3)
        pair = [n for n, output in enumerate(outputs) if output.shape == (1, len(boxes))]
        first, second = (outputs[n][0] for n in pair)
        names = [self._file.output_names[n].lower() for n in pair]
        # By name, else by content: classes are whole numbers.
        swapped = "score" in names[0] or "class" in names[1]
        if not swapped and not ("class" in names[0] or "score" in names[1]):
            swapped = bool(np.any(first != np.round(first)))
        classes, scores = (second, first) if swapped else (first, second)
        keep = (scores >= self.threshold) & (np.round(classes) == self._person)
        boxes = boxes[keep][:, [1, 0, 3, 2]].astype(np.float64)
        return boxes * np.tile(self._file.size[::-1], 2), scores[keep]


def _nms(corners: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the indices of boxes (N, 4) without duplicates."""
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), 0.0, _NMS_IOU, top_k=_MAX_CANDIDATES)
    return np.array(kept, int).reshape(-1)


def _load_onnx(path: str) -> DetectorFile:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(f"--detector={path} needs onnxruntime; pip install onnxruntime") from error
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class
        raise InputError(f"--detector={path}: cannot be read as ONNX ({error})") from error
    source = session.get_inputs()[0]
    types = {
        "tensor(float)": "float32",
        "tensor(float16)": "float16",
        "tensor(uint8)": "uint8",
    }
    if source.type not in types:
        raise InputError(f"--detector={path}: takes {source.type}, expected floats or bytes")
    names = [output.name for output in session.get_outputs()]
    written = session.get_modelmeta().custom_metadata_map.get("names", "")
    size, channels_first = _input_form(path, source.shape)
    return DetectorFile(
        run=lambda batch: session.run(None, {source.name: batch}),
        size=size,
        channels_first=channels_first,
        dtype=np.dtype(types[source.type]),
        quantization=(0.0, 0),
        output_names=names,
        classes=_class_names(written),
    )


def _load_tflite(path: str) -> DetectorFile:
    try:
        interpreter = make_interpreter(Path(path).read_bytes())
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"--detector={path}: cannot be read as TensorFlow Lite ({error})"
        ) from error
    source, targets = interpreter.get_input_details()[0], interpreter.get_output_details()

    def run(batch):
        interpreter.set_tensor(source["index"], batch)
        interpreter.invoke()
        return [_dequantized(interpreter, target) for target in targets]

    size, channels_first = _input_form(path, [int(n) for n in source["shape"]])
    return DetectorFile(
        run=run,
        size=size,
        channels_first=channels_first,
        dtype=np.dtype(source["dtype"]),
        quantization=source["quantization"],
        output_names=[target["name"] for target in targets],
        classes=_class_names_of_tflite(path),
    )


def _dequantized(interpreter, target: dict) -> np.ndarray:
    found, (scale, zero) = interpreter.get_tensor(target["index"]), target["quantization"]
    return (found.astype(np.float32) - zero) * scale if scale else found


def _input_form(path: str, shape: Sequence) -> tuple[tuple[int, int], bool]:
    """Return the size of a file's input, and whether its channels come first.

    Raises:
        InputError: If it does not take one image.
    """
    dims = [n if isinstance(n, int) and n > 0 else None for n in shape]
    if len(dims) == 4 and dims[0] in (1, None) and 3 in (dims[1], dims[3]):
        channels_first = dims[1] == 3
        height, width = dims[2:] if channels_first else dims[1:3]
        return (height or _DEFAULT_SIDE, width or _DEFAULT_SIDE), channels_first
    raise InputError(f"--detector={path}: takes {list(shape)}, expected one image of three colors")


def _class_names(text: str) -> dict[int, str]:
    """Return the names of classes from a dictionary or list as ultralytics writes it."""
    names = _literal(text)
    if not isinstance(names, (dict, list)):
        return {}
    pairs = names.items() if isinstance(names, dict) else enumerate(names)
    try:
        return {int(number): str(name) for number, name in pairs}
    except ValueError:
        return {}


def _literal(text: str):
    """Return the value that a text is in JSON or in Python; None if it is neither."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError):
            pass
    return None


def _class_names_of_tflite(path: str) -> dict[int, str]:
    """Return the names of classes from the files that are appended to a .tflite file."""
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as appended:
        texts = {n: appended.read(n).decode("utf-8", "replace") for n in appended.namelist()}
    for name, text in texts.items():
        if "label" in name.lower() and name.endswith(".txt"):
            return dict(enumerate(line.strip() for line in text.rstrip().splitlines()))
        found = _literal(text)
        if isinstance(found, dict) and "names" in found:
            return _class_names(repr(found["names"]))
    return {}


def _as_input(
    batch: np.ndarray,
    dtype: np.dtype,
    quantization: tuple[float, int],
    scale: float,
    offset: float,
) -> np.ndarray:
    """Convert bytes to the input of a file.

    Args:
        batch: uint8.
        dtype: Type of the input: floats, bytes, or quantized integers.
        quantization: Scale and zero point of quantized integers.
        scale, offset: Floats are batch * scale + offset.
    """
    step, zero = quantization
    if dtype.kind == "f":
        return (batch.astype(np.float32) * scale + offset).astype(dtype)
    if dtype == np.uint8 and (not step or abs(step * 255 - 1) < 0.01 or step >= 1):
        return batch
    if not step:
        raise InputError(f"takes {dtype} without a quantization scale")
    limits, values = np.iinfo(dtype), batch * scale + offset
    return np.clip(np.round(values / step) + zero, limits.min, limits.max).astype(dtype)
