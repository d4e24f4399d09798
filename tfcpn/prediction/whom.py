"""Whom to look at in an image: MediaPipe's detector, another one, the whole image, or a file's boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.data.detections import PersonBox
from tfcpn.networks.pose_detection import Detection, PoseDetector, body_square, iou
from tfcpn.networks.tflite_run import make_interpreter

# Of a body upright in MediaPipe's circle, in parts of its radius: how wide and how high it is.
_WIDE, _HIGH = 1.1, 1.9
# Overlap of two circles' squares above which they may be of one person, and above which they are in any case.
_SAME, _SURELY_SAME = 0.3, 0.6
# What lies around the image where another detector gets it: gray, as YOLO's are trained with.
_GRAY = (114, 114, 114)

Detector = Callable[[np.ndarray], list[PersonBox]]


def body_box(points: np.ndarray) -> tuple[float, float, float, float]:
    """About the box x, y, width, height of a body, from its two alignment points (2, 2)."""
    way = points[1] - points[0]
    corners = [
        points[0] + a * _WIDE / 2 * way[::-1] * [1, -1] + b * _HIGH / 2 * way
        for a in (-1, 1)
        for b in (-1, 1)
    ]
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    return (*map(float, low), *map(float, np.maximum(high - low, 1)))


def _parts(image: np.ndarray, tiles: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The image, and with tiles = n its parts of 2 x 2 to n x n, which overlap: each with its corner x, y."""
    yield image, np.zeros(2)
    for count in range(2, tiles + 1):
        # Half as far again as an even share, so that nobody who fills a part is cut by all of them.
        sides = [min(n, round(max(image.shape[:2]) * 1.2 / count)) for n in image.shape[:2]]
        starts = [
            np.unique(np.linspace(0, n - side, count).astype(int))
            for n, side in zip(image.shape, sides)
        ]
        for y in starts[0]:
            for x in starts[1]:
                yield image[y : y + sides[0], x : x + sides[1]], np.array([x, y])


def detect_people(detector: PoseDetector, image: np.ndarray, tiles: int = 1) -> list[PersonBox]:
    """Whom MediaPipe's detector finds, with alignment points, the surest first. tiles: above 1 it looks at parts of
    the image, too, where it finds smaller people; of those that overlap the surest stays.
    """
    stay: list[Detection] = []
    for part, corner in _parts(image, tiles):
        stay = _joined(stay, [one._replace(points=one.points + corner) for one in detector(part)])
    stay.sort(key=lambda one: -one.score)
    return [
        PersonBox(0, body_box(one.points), one.score, tuple(map(float, one.points.ravel())))
        for one in stay
    ]


def _joined(known: list[Detection], more: list[Detection]) -> list[Detection]:
    """Join what the detector found in one part of the image to what is known from others.

    Within a part the detector itself tells people apart, however near they are. So a known person is found
    again by one of a part's detections, the one that overlaps most; the more confident of the two stays.
    """
    if not known or not more:
        return known + more
    squares = np.array([body_square(one.points) for one in known])
    pairs = [
        (float(o), k, m)
        for m, one in enumerate(more)
        for k, o in enumerate(iou(body_square(one.points), squares))
    ]
    again: dict[int, int] = {}
    for overlapping, k, m in sorted(pairs, reverse=True):
        if overlapping > _SAME and k not in again.values() and m not in again:
            again[m] = k
    doubles = {m for overlapping, _, m in pairs if overlapping > _SURELY_SAME}
    joined = list(known)
    for m, one in enumerate(more):
        if m in again:
            joined[again[m]] = max(known[again[m]], one, key=lambda each: each.score)
        elif m not in doubles:
            joined.append(one)
    return joined


def full_image_box(image: np.ndarray) -> list[PersonBox]:
    """The image as one person."""
    height, width = image.shape[:2]
    return [PersonBox(0, (0.0, 0.0, float(width), float(height)), 1.0)]


class FileDetector:
    """Another person detector, from an .onnx or .tflite file, with non-maximum suppression inside.

    It takes one image, RGB from 0 to 1, fitted into its square in the middle of gray: (1, 3, S, S) of an .onnx,
    (1, S, S, 3) of a .tflite. It returns (1, N, 6): x and y of the box's corners in pixels of that square, score, and
    class, of which 0 is a person; this is what YOLO's exports with `nms` write. Raises InputError for another file.
    """

    def __init__(self, path: str, least: float = 0.5):
        self.path, self.least = path, least
        if not Path(path).exists():
            raise InputError(f"--detector={path} not found")
        self._run, shape = (_onnx if path.endswith(".onnx") else _tflite)(path)
        sides = shape[2:] if path.endswith(".onnx") else shape[1:3]
        if (
            len(shape) != 4
            or not all(isinstance(n, int) and n > 0 for n in sides)
            or len(set(sides)) > 1
        ):
            raise InputError(
                f"--detector={path}: takes {list(shape)}, want one square image of a fixed size"
            )
        self.side = int(sides[0])
        # What it cannot do is told before the first image, and not once for each.
        self._found(np.full((1, self.side, self.side, 3), _GRAY, np.uint8))

    def _found(self, square: np.ndarray) -> np.ndarray:
        """What the file returns for a square image (1, S, S, 3) uint8 RGB: (1, N, 6). Raises InputError."""
        try:
            found = np.asarray(self._run(square))
        except Exception as error:  # TensorFlow Lite's and onnxruntime's own have no common class
            line = str(error).strip().splitlines()
            raise InputError(
                f"--detector={self.path}: cannot be run ({line[0] if line else error!r})"
            ) from error
        if found.ndim != 3 or found.shape[2] != 6:
            raise InputError(f"--detector={self.path}: returns {list(found.shape)}, want [1, N, 6]")
        return found

    def __call__(self, image: np.ndarray) -> list[PersonBox]:
        height, width = image.shape[:2]
        scale = self.side / max(height, width)
        inside = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (self.side - inside[0]) // 2, (self.side - inside[1]) // 2
        square = np.full((self.side, self.side, 3), _GRAY, np.uint8)
        square[top : top + inside[0], left : left + inside[1]] = cv2.resize(image, inside[::-1])
        found = self._found(square[None, ..., ::-1])
        boxes = []
        for x0, y0, x1, y1, score, kind in found[0].astype(float):
            low = np.clip([(x0 - left) / scale, (y0 - top) / scale], 0, [width, height])
            high = np.clip([(x1 - left) / scale, (y1 - top) / scale], 0, [width, height])
            if score >= self.least and round(kind) == 0 and min(high - low) > 0:
                boxes.append(PersonBox(0, (*map(float, low), *map(float, high - low)), score))
        return sorted(boxes, key=lambda box: -box.score)


def _onnx(path: str):
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(f"--detector={path} wants onnxruntime; pip install onnxruntime") from error
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own have no common class
        raise InputError(f"--detector={path}: cannot be read as ONNX ({error})") from error
    given = session.get_inputs()[0]
    kind = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}.get(
        given.type
    )
    if kind is None:
        raise InputError(f"--detector={path}: takes {given.type}, want floats or bytes")

    def run(square):
        return session.run(
            None, {given.name: _as_input(square.transpose(0, 3, 1, 2), np.dtype(kind))}
        )[0]

    return run, given.shape


def _as_input(
    square: np.ndarray, kind: np.dtype, quantization: tuple[float, int] = (0.0, 0)
) -> np.ndarray:
    """Bytes as a file takes them: floats from 0 to 1, bytes as they are, or whole numbers by their quantization, a
    scale and a zero point.
    """
    scale, zero = quantization
    if kind.kind == "f":
        return (square.astype(np.float32) / 255).astype(kind)
    if kind == np.uint8 and (not scale or abs(scale * 255 - 1) < 0.01):
        return square
    if not scale:
        raise InputError(f"takes {kind} without telling their scale")
    limits = np.iinfo(kind)
    return np.clip(np.round(square / 255 / scale) + zero, limits.min, limits.max).astype(kind)


def _tflite(path: str):
    try:
        running = make_interpreter(Path(path).read_bytes())
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"--detector={path}: cannot be read as TensorFlow Lite ({error})"
        ) from error
    given, out = running.get_input_details()[0], running.get_output_details()[0]

    def run(square):
        running.set_tensor(
            given["index"], _as_input(square, np.dtype(given["dtype"]), given["quantization"])
        )
        running.invoke()
        found, (scale, zero) = running.get_tensor(out["index"]), out["quantization"]
        return (found.astype(np.float32) - zero) * scale if scale else found

    return run, tuple(map(int, given["shape"]))
