"""What a network says of regions of one picture, in the picture's pixels: a Keras model or a .tflite file."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.codecs.codec import Codec
from tfcpn.codecs.landmarks import LandmarkCodec, Landmarks
from tfcpn.evaluation.predictor import Predictor
from tfcpn.geometry.crops import joints_to_image
from tfcpn.geometry.regions import region_rectangle
from tfcpn.networks.blazepose_table import INPUT_SIZE, LANDMARKS
from tfcpn.networks.blazepose_weights import MEMBER
from tfcpn.networks.network import Network
from tfcpn.networks.tflite_file import read_bytes
from tfcpn.networks.tflite_run import interpreter
from tfcpn.picture.cut import CropFormat, cut_rectangle, cut_turned
from tfcpn.picture.decode import Window

# MediaPipe's threshold for its network's word on a person; and for a mean peak, which is seldom above .8.
LEAST_PERSON, LEAST_PEAK = 0.5, 0.2
_MORE = 3  # pixels beyond a region, for interpolation


class Answer(NamedTuple):
    """Of N regions: joints (N, K, 2) float64 x, y in the picture, scores (N, K) and, from 0 to 1, how sure the
    network is that there is a person (N,).
    """

    joints: np.ndarray
    scores: np.ndarray
    person: np.ndarray


class Reader(Protocol):
    """codec: how its outputs become joints. crop_format: of the crops that it reads. least: of how sure it is of a
    person, below which there is none.
    """

    codec: Codec
    crop_format: CropFormat
    least: float

    def __call__(self, crops: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """crops (N, H, W, 3) uint8 BGR -> joints (N, K, 2) in crop pixels, scores (N, K), person (N,)."""


class KerasReader:
    """A model of ours, with the flip test if asked, in batches of at most `batch_size` crops."""

    def __init__(
        self, model, network: Network, codec: Codec, crop_format: CropFormat, flip_test: bool, batch_size: int = 32
    ):
        self.codec, self.crop_format, self.batch_size = codec, crop_format, batch_size
        self.least = self.least_of(network)
        # Of few people one batch is a little faster.
        self.predictor = Predictor(model, network, codec, crop_format, flip_test, fold=True, joined=True)
        shape = tf.TensorSpec((None, *crop_format.size, 3), tf.uint8)
        self._read = tf.function(self.predictor.read, input_signature=[shape])

    @staticmethod
    def least_of(network: Network) -> float:
        """Below which a network's word on a person, or its mean peak, is that of nobody."""
        return LEAST_PERSON if network.person is not None else LEAST_PEAK

    def __call__(self, crops):
        parts = [self._read(crops[i : i + self.batch_size]) for i in range(0, len(crops), self.batch_size)]
        return tuple(tf.concat(values, axis=0) for values in zip(*parts))


class TfliteReader:
    """MediaPipe's landmark file, or one that was exported into its form, run by TensorFlow Lite.

    path: a .tflite file, or a .task bundle with one. codec: a `LandmarkCodec`. Raises InputError for another file.
    """

    least = LEAST_PERSON

    def __init__(self, path: str, codec: LandmarkCodec, crop_format: CropFormat, threads: int | None = None):
        self.codec, self.crop_format = codec, crop_format
        try:
            content = read_bytes(path, MEMBER)
            self._interpreter = interpreter(content, threads)
            outputs = {o["name"]: o["index"] for o in self._interpreter.get_output_details()}
            self._input = self._interpreter.get_input_details()[0]["index"]
            shape = tuple(self._interpreter.get_input_details()[0]["shape"])
            self._outputs = [outputs[name] for name in ("Identity", "Identity_1", "Identity_3")]
        except (ValueError, RuntimeError, KeyError) as error:
            raise InputError(f"{path}: is not MediaPipe's pose landmark network ({error!r})") from error
        if shape != (1, *INPUT_SIZE, 3):
            raise InputError(f"{path}: takes {shape}, want (1, {INPUT_SIZE[0]}, {INPUT_SIZE[1]}, 3)")
        heatmap = (None, INPUT_SIZE[0] // 4, INPUT_SIZE[1] // 4, LANDMARKS)
        self._decode = tf.function(
            lambda landmarks, heatmaps: codec.decode(Landmarks(landmarks, heatmaps)),
            input_signature=[tf.TensorSpec((None, LANDMARKS, 5)), tf.TensorSpec(heatmap)],
        )

    def __call__(self, crops):
        found = []
        for crop in crops.numpy():
            self._interpreter.set_tensor(self._input, crop[None, ..., ::-1].astype(np.float32) / 255)
            self._interpreter.invoke()
            found.append([self._interpreter.get_tensor(index)[0] for index in self._outputs])
        landmarks, person, heatmaps = (np.stack(values) for values in zip(*found))
        joints, scores = self._decode(landmarks.reshape(-1, LANDMARKS, 5), heatmaps)
        return joints, scores, tf.constant(person[:, 0])


def _window(region: np.ndarray, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a picture that a region touches, and some more; at least the pixel nearest to it."""
    cos, sin = abs(np.cos(region[4])), abs(np.sin(region[4]))
    half = np.array([cos * region[2] + sin * region[3], sin * region[2] + cos * region[3]]) / 2
    size = np.array(shape[::-1])
    low = np.clip(np.floor(region[:2] - half) - _MORE, 0, size - 1).astype(int)
    high = np.clip(np.ceil(region[:2] + half) + _MORE, low + 1, size).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def cutter(crop_format: CropFormat) -> Callable:
    """The function from a picture (H, W, 3) uint8 BGR and regions (N, 5) float64 to crops (N, *size, 3) uint8 BGR.

    They have the bits that an evaluation cuts from the picture's file.
    """
    size, outside = crop_format.size, crop_format.outside
    shapes = ((None, None, 3), tf.uint8), ((2,), tf.int32), ((5,), tf.float64)

    @tf.function(input_signature=[tf.TensorSpec(*shape) for shape in shapes])
    def cut(pixels, corner, region):
        window = Window(tf.reverse(pixels, axis=[2]), corner)
        place = region if crop_format.turned else region_rectangle(region)
        crop = (cut_turned if crop_format.turned else cut_rectangle)(window, place, size, outside)
        return tf.ensure_shape(crop, (*size, 3))

    def crops(picture: np.ndarray, regions: np.ndarray) -> tf.Tensor:
        found = []
        for region in np.asarray(regions, np.float64):
            # Only that part goes to TensorFlow, which would copy the whole picture.
            rows, columns = _window(region, picture.shape[:2])
            found.append(cut(picture[rows, columns], np.array([columns.start, rows.start], np.int32), region))
        return tf.stack(found)

    return crops


def _quick_maps(regions: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """`geometry.crops.crop_to_image` without TensorFlow, whose call alone takes as long as a warp: the linear parts
    (N, 2, 2) and the places of the crops' corners (N, 2).
    """
    x, y, wide, high, turn = np.asarray(regions, np.float64).T
    cos, sin, step_x, step_y = np.cos(turn), np.sin(turn), wide / size[1], high / size[0]
    linear = np.array([[cos * step_x, -sin * step_y], [sin * step_x, cos * step_y]]).transpose(2, 0, 1)
    return linear, np.stack([x, y], axis=1) - linear @ [size[1] / 2, size[0] / 2]


def quick_cutter(crop_format: CropFormat) -> Callable:
    """As `cutter`, many times as fast and not to the bit: OpenCV's warp rounds places to 1/32 of a pixel."""
    (height, width), outside = crop_format.size, crop_format.outside
    border = cv2.BORDER_REPLICATE if outside is None else cv2.BORDER_CONSTANT
    how = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "borderMode": border, "borderValue": outside or 0}

    def crops(picture: np.ndarray, regions: np.ndarray) -> tf.Tensor:
        found = []
        for linear, corner in zip(*_quick_maps(regions, crop_format.size)):
            # Pixels have their centres at halves, OpenCV's at whole numbers.
            start = corner + linear @ [0.5, 0.5] - 0.5
            found.append(cv2.warpAffine(picture, np.column_stack([linear, start]), (width, height), **how))
        return tf.constant(np.stack(found))

    return crops


class RegionReader:
    """Regions of pictures, read by a network."""

    def __init__(self, reader: Reader):
        self.reader, self._cut, self._quickly = reader, cutter(reader.crop_format), quick_cutter(reader.crop_format)
        # Compiled, since a frame of a video has no time for TensorFlow's step by step.
        self._to_image = tf.function(
            lambda joints, regions: joints_to_image(joints, regions, reader.crop_format.size),
            input_signature=[tf.TensorSpec((None, None, 2), tf.float32), tf.TensorSpec((None, 5), tf.float64)],
        )

    def __call__(self, picture: np.ndarray, regions: np.ndarray, quickly: bool = False) -> Answer:
        """picture: (H, W, 3) uint8 BGR. regions: (N, 5), as in `geometry.regions`. quickly: not to the bit."""
        joints, scores, person = self.reader((self._quickly if quickly else self._cut)(picture, regions))
        if quickly:
            linear, corners = _quick_maps(regions, self.reader.crop_format.size)
            places = joints.numpy().astype(np.float64) @ linear.transpose(0, 2, 1) + corners[:, None]
        else:
            places = self._to_image(joints, tf.constant(regions, tf.float64)).numpy()
        return Answer(places, scores.numpy(), person.numpy())
