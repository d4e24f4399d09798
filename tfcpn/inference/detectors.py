"""Find people in an image: MediaPipe's detector, another detector's file, or the whole image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from tfcpn.checkpoints.detectors import load_pose_detector
from tfcpn.data.detections import PersonBox
from tfcpn.models.blazepose.detector import Detection, PoseDetector, body_box, body_square, iou
from tfcpn.models.tflite import make_interpreter
from tfcpn.utils.errors import InputError

# IoU of two circles' squares above which they may be of one person, and above which they are.
_MAYBE_SAME_IOU, _SAME_IOU = 0.3, 0.6
# Padding around the image for other detectors: gray, as in YOLO's training.
_PAD_COLOR = (114, 114, 114)

Detector = Callable[[np.ndarray], list[PersonBox]]


def load_detector(path: str, threshold: float = 0.5, tiles: int = 1) -> Detector:
    """Load a detector.

    Args:
        path: "none": the whole image is one person. MediaPipe's .tflite or .task file, or the run
            that trained it. Another .onnx or .tflite file, see `FileDetector`.
        threshold: Minimum score of a person.
        tiles: See `detect_people`; for MediaPipe's detector only.

    Raises:
        InputError: For a file that is not a detector.
    """
    if path == "none":
        return full_image_box
    if not path.endswith(".onnx"):
        try:
            detector = load_pose_detector(path, threshold)
        except InputError:
            if not Path(path).exists() or not path.endswith(".tflite"):
                raise
        else:
            return lambda image: detect_people(detector, image, tiles)
    if tiles > 1:
        raise InputError(f"--tiles={tiles} is for MediaPipe's detector, not for {path}")
    return FileDetector(path, threshold)


def full_image_box(image: np.ndarray) -> list[PersonBox]:
    """Return the whole image as one person."""
    height, width = image.shape[:2]
    return [PersonBox(0, (0.0, 0.0, float(width), float(height)), 1.0)]


def _tiles_of(image: np.ndarray, tiles: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the image and, for tiles = n, overlapping tiles of 2 x 2 to n x n, with corners."""
    yield image, np.zeros(2)
    for count in range(2, tiles + 1):
        # Larger than an even share, so that a person of a tile's size is whole in one of them.
        largest = round(max(image.shape[:2]) * 1.2 / count)
        sides = [min(length, largest) for length in image.shape[:2]]
        starts = [
            np.unique(np.linspace(0, length - side, count).astype(int))
            for length, side in zip(image.shape, sides)
        ]
        for y in starts[0]:
            for x in starts[1]:
                yield image[y : y + sides[0], x : x + sides[1]], np.array([x, y])


def detect_people(detector: PoseDetector, image: np.ndarray, tiles: int = 1) -> list[PersonBox]:
    """Return the people that MediaPipe's detector finds, the most confident first.

    Args:
        detector: The detector.
        image: (H, W, 3) uint8 BGR.
        tiles: Above 1, also search tiles of the image, for smaller people.

    Returns:
        Boxes with alignment points.
    """
    found: list[Detection] = []
    for tile, corner in _tiles_of(image, tiles):
        in_tile = [d._replace(points=d.points + corner) for d in detector(tile)]
        found = _merge_detections(found, in_tile)
    found.sort(key=lambda detection: -detection.score)
    return [
        PersonBox(0, body_box(d.points), d.score, points=tuple(map(float, d.points.ravel())))
        for d in found
    ]


def _merge_detections(known: list[Detection], new: list[Detection]) -> list[Detection]:
    """Merge the detections of a tile into those of others.

    Within a tile the detector separates people, however close they are. So each known person is
    matched with at most one detection of the tile, the one that overlaps most, and the more
    confident of the two is kept.
    """
    if not known or not new:
        return known + new
    squares = np.array([body_square(detection.points) for detection in known])
    pairs = [
        (float(overlap), k, n)
        for n, detection in enumerate(new)
        for k, overlap in enumerate(iou(body_square(detection.points), squares))
    ]
    match: dict[int, int] = {}
    for overlap, k, n in sorted(pairs, reverse=True):
        if overlap > _MAYBE_SAME_IOU and k not in match.values() and n not in match:
            match[n] = k
    duplicates = {n for overlap, _, n in pairs if overlap > _SAME_IOU}
    merged = list(known)
    for n, detection in enumerate(new):
        if n in match:
            k = match[n]
            merged[k] = max(known[k], detection, key=lambda d: d.score)
        elif n not in duplicates:
            merged.append(detection)
    return merged


class FileDetector:
    """A person detector from an .onnx or .tflite file, with non-maximum suppression inside.

    Input: one RGB image from 0 to 1, letterboxed on gray into a square: (1, 3, S, S) of an .onnx
    file, (1, S, S, 3) of a .tflite file. Output: (1, N, 6) rows of x0, y0, x1, y1 in pixels of that
    square, score, and class, of which 0 is a person. YOLO exports with `nms` have this form.
    """

    def __init__(self, path: str, threshold: float = 0.5):
        """Load the file.

        Args:
            path: The file.
            threshold: Minimum score of a person.

        Raises:
            InputError: For a file of another form.
        """
        self.path, self.threshold = path, threshold
        if not Path(path).exists():
            raise InputError(f"--detector={path} not found")
        is_onnx = path.endswith(".onnx")
        self._run, shape = (_load_onnx if is_onnx else _load_tflite)(path)
        sides = shape[2:] if is_onnx else shape[1:3]
        is_fixed = all(isinstance(n, int) and n > 0 for n in sides)
        if len(shape) != 4 or not is_fixed or len(set(sides)) > 1:
            raise InputError(
                f"--detector={path}: takes {list(shape)}, expected one square image of a fixed size"
            )
        self.side = int(sides[0])
        # Find errors before the first image, and not once for each.
        self._detect(np.full((1, self.side, self.side, 3), _PAD_COLOR, np.uint8))

    def _detect(self, square: np.ndarray) -> np.ndarray:
        """Run the file on a square image (1, S, S, 3) uint8 RGB; returns (1, N, 6)."""
        try:
            found = np.asarray(self._run(square))
        except Exception as error:  # TensorFlow Lite's and onnxruntime's have no common class
            line = str(error).strip().splitlines()
            reason = line[0] if line else repr(error)
            raise InputError(f"--detector={self.path}: cannot be run ({reason})") from error
        if found.ndim != 3 or found.shape[2] != 6:
            raise InputError(
                f"--detector={self.path}: returns {list(found.shape)}, expected [1, N, 6]"
            )
        return found

    def __call__(self, image: np.ndarray) -> list[PersonBox]:
        """Return the people of an image (H, W, 3) uint8 BGR, the most confident first."""
        height, width = image.shape[:2]
        scale = self.side / max(height, width)
        inside = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (self.side - inside[0]) // 2, (self.side - inside[1]) // 2
        square = np.full((self.side, self.side, 3), _PAD_COLOR, np.uint8)
        resized = cv2.resize(image, inside[::-1])
        square[top : top + inside[0], left : left + inside[1]] = resized
        boxes = []
        for x0, y0, x1, y1, score, kind in self._detect(square[None, ..., ::-1])[0].astype(float):
            low = np.clip([(x0 - left) / scale, (y0 - top) / scale], 0, [width, height])
            high = np.clip([(x1 - left) / scale, (y1 - top) / scale], 0, [width, height])
            if score >= self.threshold and round(kind) == 0 and min(high - low) > 0:
                boxes.append(PersonBox(0, (*map(float, low), *map(float, high - low)), score))
        return sorted(boxes, key=lambda box: -box.score)


def _load_onnx(path: str) -> tuple[Callable, list]:
    """Return the function of an .onnx file and the shape of its input."""
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
    dtype = np.dtype(types[source.type])

    def run(square):
        return session.run(None, {source.name: _as_input(square.transpose(0, 3, 1, 2), dtype)})[0]

    return run, source.shape


def _load_tflite(path: str) -> tuple[Callable, tuple]:
    """Return the function of a .tflite file and the shape of its input."""
    try:
        interpreter = make_interpreter(Path(path).read_bytes())
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"--detector={path}: cannot be read as TensorFlow Lite ({error})"
        ) from error
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(square):
        image = _as_input(square, np.dtype(source["dtype"]), source["quantization"])
        interpreter.set_tensor(source["index"], image)
        interpreter.invoke()
        found, (scale, zero) = interpreter.get_tensor(target["index"]), target["quantization"]
        return (found.astype(np.float32) - zero) * scale if scale else found

    return run, tuple(map(int, source["shape"]))


def _as_input(
    square: np.ndarray, dtype: np.dtype, quantization: tuple[float, int] = (0.0, 0)
) -> np.ndarray:
    """Convert bytes to the input of a file.

    Args:
        square: uint8.
        dtype: Type of the input: floats from 0 to 1, bytes, or quantized integers.
        quantization: Scale and zero point of quantized integers.
    """
    scale, zero = quantization
    if dtype.kind == "f":
        return (square.astype(np.float32) / 255).astype(dtype)
    if dtype == np.uint8 and (not scale or abs(scale * 255 - 1) < 0.01):
        return square
    if not scale:
        raise InputError(f"takes {dtype} without a quantization scale")
    limits = np.iinfo(dtype)
    return np.clip(np.round(square / 255 / scale) + zero, limits.min, limits.max).astype(dtype)
