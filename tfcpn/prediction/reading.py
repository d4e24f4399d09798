"""What a network says of regions of one image, in the image's pixels: a Keras model or a .tflite file."""

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
from tfcpn.geometry.crops import keypoints_to_image
from tfcpn.geometry.regions import rectangle_from_region
from tfcpn.networks.blazepose_table import INPUT_SIZE, NUM_LANDMARKS
from tfcpn.networks.blazepose_weights import MEMBER
from tfcpn.networks.network import Network
from tfcpn.networks.tflite_file import read_tflite_bytes
from tfcpn.networks.tflite_run import make_interpreter
from tfcpn.picture.cut import CropSpec, crop_and_resize, warp_region
from tfcpn.picture.decode import Window

# MediaPipe's threshold for its network's word on a person; and for a mean peak, which is seldom above .8.
MIN_PRESENCE, MIN_PEAK = 0.5, 0.2
_MORE = 3  # pixels beyond a region, for interpolation


class RegionPredictions(NamedTuple):
    """Of N regions: keypoints (N, K, 2) float64 x, y in the image, scores (N, K) and, from 0 to 1, how sure the
    network is that there is a person (N,).
    """

    keypoints: np.ndarray
    scores: np.ndarray
    person: np.ndarray


class Backend(Protocol):
    """codec: how its outputs become keypoints. crop_format: of the crops that it reads. least: of how sure it is of a
    person, below which there is none.
    """

    codec: Codec
    crop_spec: CropSpec
    least: float

    def __call__(self, crops: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """crops (N, H, W, 3) uint8 BGR -> keypoints (N, K, 2) in crop pixels, scores (N, K), person (N,)."""


class KerasBackend:
    """A model of ours, with the flip test if asked, in batches of at most `batch_size` crops."""

    def __init__(
        self,
        model,
        network: Network,
        codec: Codec,
        crop_spec: CropSpec,
        flip_test: bool,
        batch_size: int = 32,
    ):
        self.codec, self.crop_spec, self.batch_size = codec, crop_spec, batch_size
        self.least = self.least_of(network)
        # Of few people one batch is a little faster.
        self.predictor = Predictor(
            model, network, codec, crop_spec, flip_test, fold=True, joined=True
        )
        shape = tf.TensorSpec((None, *crop_spec.size, 3), tf.uint8)
        self._read = tf.function(self.predictor.read, input_signature=[shape])

    @staticmethod
    def least_of(network: Network) -> float:
        """Below which a network's word on a person, or its mean peak, is that of nobody."""
        return MIN_PRESENCE if network.person is not None else MIN_PEAK

    def __call__(self, crops):
        parts = [
            self._read(crops[i : i + self.batch_size])
            for i in range(0, len(crops), self.batch_size)
        ]
        return tuple(tf.concat(values, axis=0) for values in zip(*parts))


class TfliteBackend:
    """MediaPipe's landmark file, or one that was exported into its form, run by TensorFlow Lite.

    path: a .tflite file, or a .task bundle with one. codec: a `LandmarkCodec`. Raises InputError for another file.
    """

    least = MIN_PRESENCE

    def __init__(
        self, path: str, codec: LandmarkCodec, crop_spec: CropSpec, threads: int | None = None
    ):
        self.codec, self.crop_spec = codec, crop_spec
        try:
            content = read_tflite_bytes(path, MEMBER)
            self._interpreter = make_interpreter(content, threads)
            outputs = {o["name"]: o["index"] for o in self._interpreter.get_output_details()}
            self._input = self._interpreter.get_input_details()[0]["index"]
            shape = tuple(self._interpreter.get_input_details()[0]["shape"])
            self._outputs = [outputs[name] for name in ("Identity", "Identity_1", "Identity_3")]
        except (ValueError, RuntimeError, KeyError) as error:
            raise InputError(
                f"{path}: is not MediaPipe's pose landmark network ({error!r})"
            ) from error
        if shape != (1, *INPUT_SIZE, 3):
            raise InputError(
                f"{path}: takes {shape}, want (1, {INPUT_SIZE[0]}, {INPUT_SIZE[1]}, 3)"
            )
        heatmap = (None, INPUT_SIZE[0] // 4, INPUT_SIZE[1] // 4, NUM_LANDMARKS)
        self._decode = tf.function(
            lambda landmarks, heatmaps: codec.decode(Landmarks(landmarks, heatmaps)),
            input_signature=[tf.TensorSpec((None, NUM_LANDMARKS, 5)), tf.TensorSpec(heatmap)],
        )

    def __call__(self, crops):
        found = []
        for crop in crops.numpy():
            self._interpreter.set_tensor(
                self._input, crop[None, ..., ::-1].astype(np.float32) / 255
            )
            self._interpreter.invoke()
            found.append([self._interpreter.get_tensor(index)[0] for index in self._outputs])
        landmarks, person, heatmaps = (np.stack(values) for values in zip(*found))
        keypoints, scores = self._decode(landmarks.reshape(-1, NUM_LANDMARKS, 5), heatmaps)
        return keypoints, scores, tf.constant(person[:, 0])


def _window(region: np.ndarray, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of an image that a region touches, and some more; at least the pixel nearest to it."""
    cos, sin = abs(np.cos(region[4])), abs(np.sin(region[4]))
    half = np.array([cos * region[2] + sin * region[3], sin * region[2] + cos * region[3]]) / 2
    size = np.array(shape[::-1])
    low = np.clip(np.floor(region[:2] - half) - _MORE, 0, size - 1).astype(int)
    high = np.clip(np.ceil(region[:2] + half) + _MORE, low + 1, size).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def tf_cropper(crop_spec: CropSpec) -> Callable:
    """The function from an image (H, W, 3) uint8 BGR and regions (N, 5) float64 to crops (N, *size, 3) uint8 BGR.

    They have the bits that an evaluation cuts from the image's file.
    """
    size, pad_color = crop_spec.size, crop_spec.pad_color
    shapes = ((None, None, 3), tf.uint8), ((2,), tf.int32), ((5,), tf.float64)

    @tf.function(input_signature=[tf.TensorSpec(*shape) for shape in shapes])
    def cut(pixels, corner, region):
        window = Window(tf.reverse(pixels, axis=[2]), corner)
        place = region if crop_spec.rotated else rectangle_from_region(region)
        crop = (warp_region if crop_spec.rotated else crop_and_resize)(
            window, place, size, pad_color
        )
        return tf.ensure_shape(crop, (*size, 3))

    def crops(image: np.ndarray, regions: np.ndarray) -> tf.Tensor:
        found = []
        for region in np.asarray(regions, np.float64):
            # Only that part goes to TensorFlow, which would copy the whole image.
            rows, columns = _window(region, image.shape[:2])
            found.append(
                cut(image[rows, columns], np.array([columns.start, rows.start], np.int32), region)
            )
        return tf.stack(found)

    return crops


def _quick_maps(regions: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """`geometry.crops.crop_to_image` without TensorFlow, whose call alone takes as long as a warp: the linear parts
    (N, 2, 2) and the places of the crops' corners (N, 2).
    """
    x, y, wide, high, turn = np.asarray(regions, np.float64).T
    cos, sin, step_x, step_y = np.cos(turn), np.sin(turn), wide / size[1], high / size[0]
    linear = np.array([[cos * step_x, -sin * step_y], [sin * step_x, cos * step_y]]).transpose(
        2, 0, 1
    )
    return linear, np.stack([x, y], axis=1) - linear @ [size[1] / 2, size[0] / 2]


def opencv_cropper(crop_spec: CropSpec) -> Callable:
    """As `cutter`, many times as fast and not to the bit: OpenCV's warp rounds places to 1/32 of a pixel."""
    (height, width), pad_color = crop_spec.size, crop_spec.pad_color
    border = cv2.BORDER_REPLICATE if pad_color is None else cv2.BORDER_CONSTANT
    how = {
        "flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        "borderMode": border,
        "borderValue": pad_color or 0,
    }

    def crops(image: np.ndarray, regions: np.ndarray) -> tf.Tensor:
        found = []
        for linear, corner in zip(*_quick_maps(regions, crop_spec.size)):
            # Pixels have their centers at halves, OpenCV's at whole numbers.
            start = corner + linear @ [0.5, 0.5] - 0.5
            found.append(
                cv2.warpAffine(image, np.column_stack([linear, start]), (width, height), **how)
            )
        return tf.constant(np.stack(found))

    return crops


class RegionPredictor:
    """Regions of images, read by a network."""

    def __init__(self, reader: Backend):
        self.reader, self._cut, self._quickly = (
            reader,
            tf_cropper(reader.crop_spec),
            opencv_cropper(reader.crop_spec),
        )
        # Compiled, since a frame of a video has no time for TensorFlow's step by step.
        self._to_image = tf.function(
            lambda keypoints, regions: keypoints_to_image(
                keypoints, regions, reader.crop_spec.size
            ),
            input_signature=[
                tf.TensorSpec((None, None, 2), tf.float32),
                tf.TensorSpec((None, 5), tf.float64),
            ],
        )

    def __call__(
        self, image: np.ndarray, regions: np.ndarray, quickly: bool = False
    ) -> RegionPredictions:
        """image: (H, W, 3) uint8 BGR. regions: (N, 5), as in `geometry.regions`. quickly: not to the bit."""
        keypoints, scores, person = self.reader(
            (self._quickly if quickly else self._cut)(image, regions)
        )
        if quickly:
            linear, corners = _quick_maps(regions, self.reader.crop_spec.size)
            places = (
                keypoints.numpy().astype(np.float64) @ linear.transpose(0, 2, 1) + corners[:, None]
            )
        else:
            places = self._to_image(keypoints, tf.constant(regions, tf.float64)).numpy()
        return RegionPredictions(places, scores.numpy(), person.numpy())
