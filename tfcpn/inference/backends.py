"""What runs a network for prediction: a Keras model, a .tflite file or a SavedModel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import tensorflow as tf

from tfcpn import skeleton as skeletons
from tfcpn.codecs.codec import Codec
from tfcpn.codecs.landmarks import LandmarkCodec, Landmarks
from tfcpn.evaluation.predictor import Predictor
from tfcpn.models.blazepose.weights import LANDMARK_MEMBER
from tfcpn.models.model import Network
from tfcpn.models.specs import BLAZEPOSE_INPUT_SIZE, METADATA_FILE, NUM_LANDMARKS
from tfcpn.models.tflite import make_interpreter, read_tflite_bytes
from tfcpn.skeleton import Skeleton
from tfcpn.transforms.alignment import Alignment
from tfcpn.transforms.cropping import CropSpec, Window, crop_region
from tfcpn.transforms.regions import keypoints_to_image
from tfcpn.utils.errors import InputError

# MediaPipe's threshold of its network's presence score, and one for mean peaks, which are rarely
# above .8.
MIN_PRESENCE, MIN_PEAK = 0.5, 0.2
SIGNATURE = "serving_default"
_MARGIN = 3  # pixels around a region, for interpolation


class SpatialLandmarks(NamedTuple):
    """Depth of keypoints, in MediaPipe's units; NaN for keypoints that the network does not have.

    Attributes:
        z: (N, K) depth relative to the mid-hip, smaller is closer; in widths of the image, as
            MediaPipe's x. From a backend: in widths of the crop.
        presence: (N, K) from 0 to 1, whether the keypoint is within the image.
        world: (N, K, 3) x, y, z in meters relative to the mid-hip, with the image's axes. From a
            backend: with the crop's axes.
    """

    z: np.ndarray
    presence: np.ndarray
    world: np.ndarray


class RegionPredictions(NamedTuple):
    """Predictions of N regions of an image.

    Attributes:
        keypoints: (N, K, 2) float64 x, y in the image.
        scores: (N, K).
        presence: (N,) from 0 to 1, whether there is a person.
        spatial: Depth, if the network predicts it.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    presence: np.ndarray
    spatial: SpatialLandmarks | None = None


def spatial_of_crops(codec: LandmarkCodec, landmarks, world, width: int) -> SpatialLandmarks:
    """Return the depth of a codec's keypoints in crops.

    Args:
        codec: Which landmark each keypoint is.
        landmarks: (N, L, 5) x, y, z in crop pixels, and logits of visibility and presence.
        world: (N, L, 3) in meters.
        width: Width of the crops in pixels.
    """
    indices = np.array(codec.landmark_indices)
    rows = np.where(indices < 0, 0, indices)
    landmarks, world = np.asarray(landmarks, np.float64)[:, rows], np.asarray(world)[:, rows]
    z, world = landmarks[..., 2] / width, world.astype(np.float64)
    presence = 1 / (1 + np.exp(-np.clip(landmarks[..., 4], -60, 60)))
    for values in (z, presence, world):
        values[:, indices < 0] = np.nan
    return SpatialLandmarks(z, presence, world)


def spatial_of_image(
    spatial: SpatialLandmarks, regions: np.ndarray, width: int
) -> SpatialLandmarks:
    """Return the depth of crops in the image, as MediaPipe projects it.

    Args:
        spatial: Depth in the crops.
        regions: (N, 5) their regions.
        width: Width of the image in pixels.
    """
    regions = np.asarray(regions, np.float64)
    cos, sin = np.cos(regions[:, 4, None]), np.sin(regions[:, 4, None])
    x, y, z = np.moveaxis(spatial.world, -1, 0)
    world = np.stack([cos * x - sin * y, sin * x + cos * y, z], axis=-1)
    return SpatialLandmarks(spatial.z * regions[:, 2, None] / width, spatial.presence, world)


class Backend(Protocol):
    """Runs a network.

    Attributes:
        codec: Its `empty_score` and `missing_keypoints`.
        crop_spec: The crops that it expects.
        min_presence: Presence score below which there is no person.
        has_depth: Whether it predicts `SpatialLandmarks`.
    """

    codec: Codec
    crop_spec: CropSpec
    min_presence: float
    has_depth: bool

    def __call__(
        self, crops: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, SpatialLandmarks | None]:
        """Predict crops.

        Args:
            crops: (N, H, W, 3) uint8 BGR.

        Returns:
            Keypoints (N, K, 2) in crop pixels, scores (N, K), presence scores (N,), and
            `SpatialLandmarks` or None.
        """


def min_presence_of(network: Network) -> float:
    """Return the presence score, or mean peak, below which there is no person."""
    return MIN_PRESENCE if network.presence_score is not None else MIN_PEAK


class KerasBackend:
    """Runs a Keras model."""

    def __init__(
        self,
        model: tf.keras.Model,
        network: Network,
        codec: Codec,
        crop_spec: CropSpec,
        *,
        flip_test: bool,
        batch_size: int = 32,
    ):
        """Create the backend; see `Predictor` for the arguments.

        Args:
            batch_size: Maximum number of crops per forward pass.
        """
        self.codec, self.crop_spec, self.batch_size = codec, crop_spec, batch_size
        self.min_presence = min_presence_of(network)
        # For few people a single batch is a little faster.
        self.predictor = Predictor(
            model,
            network,
            codec,
            crop_spec,
            flip_test=flip_test,
            fold=True,
            single_batch_flip=True,
        )
        spec = tf.TensorSpec((None, *crop_spec.size, 3), tf.uint8)
        predict = self.predictor.predict_with_presence
        self.has_depth = network.spatial_landmarks is not None
        if self.has_depth:
            predict = self.predictor.predict_spatial
        self._predict = tf.function(predict, input_signature=[spec])

    def __call__(self, crops):
        size = self.batch_size
        parts = [self._predict(crops[i : i + size]) for i in range(0, len(crops), size)]
        found = [tf.concat(values, axis=0) for values in zip(*parts)]
        if not self.has_depth:
            return *found, None
        *found, landmarks, world = found
        width = self.crop_spec.size[1]
        return *found, spatial_of_crops(self.codec, landmarks, world, width)


class TfliteBackend:
    """Runs MediaPipe's landmark network, or one exported into its form, by TensorFlow Lite."""

    min_presence, has_depth = MIN_PRESENCE, True

    def __init__(
        self, path: str, codec: LandmarkCodec, crop_spec: CropSpec, threads: int | None = None
    ):
        """Load the file.

        Args:
            path: A .tflite file, or a .task bundle.
            codec: Decodes the landmarks.
            crop_spec: The crops that it expects.
            threads: Number of threads; None for at most four.

        Raises:
            InputError: For another kind of file.
        """
        self.codec, self.crop_spec = codec, crop_spec
        try:
            content = read_tflite_bytes(path, LANDMARK_MEMBER)
            self._interpreter = make_interpreter(content, threads)
            outputs = {o["name"]: o["index"] for o in self._interpreter.get_output_details()}
            details = self._interpreter.get_input_details()[0]
            self._input, shape = details["index"], tuple(details["shape"])
            names = ("Identity", "Identity_1", "Identity_3", "Identity_4")
            self._outputs = [outputs[name] for name in names]
        except (ValueError, RuntimeError, KeyError) as error:
            raise InputError(
                f"{path}: is not MediaPipe's pose landmark network ({error!r})"
            ) from error
        height, width = BLAZEPOSE_INPUT_SIZE
        if shape != (1, height, width, 3):
            raise InputError(f"{path}: takes {shape}, expected (1, {height}, {width}, 3)")
        heatmaps = (None, height // 4, width // 4, NUM_LANDMARKS)
        self._decode = tf.function(
            lambda landmarks, heatmaps: codec.decode(Landmarks(landmarks, heatmaps)),
            input_signature=[tf.TensorSpec((None, NUM_LANDMARKS, 5)), tf.TensorSpec(heatmaps)],
        )

    def __call__(self, crops):
        found = []
        for crop in crops.numpy():
            image = crop[None, ..., ::-1].astype(np.float32) / 255
            self._interpreter.set_tensor(self._input, image)
            self._interpreter.invoke()
            found.append([self._interpreter.get_tensor(index)[0] for index in self._outputs])
        landmarks, presence, heatmaps, world = (np.stack(values) for values in zip(*found))
        landmarks, world = (v.reshape(len(v), NUM_LANDMARKS, -1) for v in (landmarks, world))
        keypoints, scores = self._decode(landmarks, heatmaps)
        spatial = spatial_of_crops(self.codec, landmarks, world, self.crop_spec.size[1])
        return keypoints, scores, tf.constant(presence[:, 0]), spatial


class _DecodedCodec(NamedTuple):
    """What is left of a codec whose decoding is part of the graph."""

    empty_score: float
    missing_keypoints: tuple[int, ...]


class SavedModelBackend:
    """Runs a SavedModel of `tfcpn.export`."""

    has_depth = False

    def __init__(
        self,
        signature: Callable,
        codec: _DecodedCodec,
        crop_spec: CropSpec,
        *,
        min_presence: float,
        batch_size: int = 32,
    ):
        """Create the backend from the signature of a loaded SavedModel."""
        self.codec, self.crop_spec, self.min_presence = codec, crop_spec, min_presence
        self.batch_size, self._signature = batch_size, signature

    def __call__(self, crops):
        size = self.batch_size
        parts = [self._signature(crops=crops[i : i + size]) for i in range(0, len(crops), size)]
        names = ("joints", "scores", "person")
        return *(tf.concat([part[name] for part in parts], axis=0) for name in names), None


def is_saved_model(folder: str | Path) -> bool:
    """Return whether a folder contains a SavedModel."""
    return (Path(folder) / "saved_model.pb").exists()


def load_saved_model(folder: str) -> tuple[SavedModelBackend, Skeleton, Alignment]:
    """Load a SavedModel of `tfcpn.export`.

    Raises:
        InputError: For another SavedModel.
    """
    try:
        metadata = json.loads((Path(folder) / METADATA_FILE).read_text())
        skeleton = skeletons.from_dict(metadata["joints"])
        alignment = Alignment(**metadata["alignment"])
        pad_color = metadata["outside"]
        crop_spec = CropSpec(
            size=tuple(map(int, metadata["input_size"])),
            rotated=alignment.uses_points,
            pad_color=None if pad_color is None else tuple(map(float, pad_color)),
            # Not in the files of tfcpn 1.0.
            corner_to_corner=bool(metadata.get("corner_to_corner", False)),
        )
        missing = tuple(map(int, metadata["absent"]))
        codec = _DecodedCodec(float(metadata["empty_score"]), missing)
        loaded = tf.saved_model.load(folder)
        signature = loaded.signatures[SIGNATURE]
        min_presence = float(metadata["least_person"])
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        tf.errors.OpError,
    ) as error:
        raise InputError(f"{folder}: is no SavedModel of tools/export.py ({error!r})") from error
    signature.loaded = loaded  # its variables live as long as a reference to it
    backend = SavedModelBackend(signature, codec, crop_spec, min_presence=min_presence)
    return backend, skeleton, alignment


def _touched_window(region: np.ndarray, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of an image that a region touches; at least one pixel."""
    cos, sin = abs(np.cos(region[4])), abs(np.sin(region[4]))
    width, height = region[2:4]
    half = np.array([cos * width + sin * height, sin * width + cos * height]) / 2
    size = np.array(shape[::-1])
    low = np.clip(np.floor(region[:2] - half) - _MARGIN, 0, size - 1).astype(int)
    high = np.clip(np.ceil(region[:2] + half) + _MARGIN, low + 1, size).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def tf_cropper(crop_spec: CropSpec) -> Callable:
    """Return a function that crops with the bits of an evaluation.

    Returns:
        Function from an image (H, W, 3) uint8 BGR and regions (N, 5) to crops (N, *size, 3)
        uint8 BGR.
    """
    specs = [
        tf.TensorSpec((None, None, 3), tf.uint8),
        tf.TensorSpec((2,), tf.int32),
        tf.TensorSpec((5,), tf.float64),
    ]

    @tf.function(input_signature=specs)
    def crop(pixels, corner, region):
        return crop_region(Window(tf.reverse(pixels, axis=[2]), corner), region, crop_spec)

    def crops(image: np.ndarray, regions: np.ndarray) -> tf.Tensor:
        found = []
        for region in np.asarray(regions, np.float64):
            # TensorFlow copies its input, so it gets this part only.
            rows, columns = _touched_window(region, image.shape[:2])
            corner = np.array([columns.start, rows.start], np.int32)
            found.append(crop(image[rows, columns], corner, region))
        return tf.stack(found)

    return crops


def _crop_to_image_maps(
    regions: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return `transforms.regions.crop_to_image` in numpy; a TensorFlow call takes as long as a
    warp.

    Returns:
        Linear parts (N, 2, 2) and positions of the crops' corners (N, 2).
    """
    x, y, width, height, rotation = np.asarray(regions, np.float64).T
    cos, sin = np.cos(rotation), np.sin(rotation)
    step_x, step_y = width / size[1], height / size[0]
    linear = np.array([[cos * step_x, -sin * step_y], [sin * step_x, cos * step_y]])
    linear = linear.transpose(2, 0, 1)
    return linear, np.stack([x, y], axis=1) - linear @ [size[1] / 2, size[0] / 2]


def opencv_cropper(crop_spec: CropSpec) -> Callable:
    """Return a function like that of `tf_cropper`, many times as fast but not equal to the bit.

    OpenCV's warp rounds positions to 1/32 of a pixel.
    """
    (height, width), pad_color = crop_spec.size, crop_spec.pad_color
    center = 0.0 if crop_spec.corner_to_corner else 0.5
    border = cv2.BORDER_REPLICATE if pad_color is None else cv2.BORDER_CONSTANT
    options = {
        "flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        "borderMode": border,
        "borderValue": pad_color or 0,
    }

    def crops(image: np.ndarray, regions: np.ndarray) -> tf.Tensor:
        found = []
        for linear, corner in zip(*_crop_to_image_maps(regions, crop_spec.size)):
            # Pixel centers are at halves here, at integers in OpenCV.
            offset = corner + linear @ [center, center] - center
            matrix = np.column_stack([linear, offset])
            found.append(cv2.warpAffine(image, matrix, (width, height), **options))
        return tf.constant(np.stack(found))

    return crops


class RegionPredictor:
    """Predicts regions of images by a backend."""

    def __init__(self, backend: Backend):
        """Compile what a prediction needs."""
        self.backend = backend
        self._crop = tf_cropper(backend.crop_spec)
        self._crop_fast = opencv_cropper(backend.crop_spec)
        size = backend.crop_spec.size
        # Compiled: eager TensorFlow is too slow for the frames of a video.
        self._to_image = tf.function(
            lambda keypoints, regions: keypoints_to_image(keypoints, regions, size),
            input_signature=[
                tf.TensorSpec((None, None, 2), tf.float32),
                tf.TensorSpec((None, 5), tf.float64),
            ],
        )

    def __call__(
        self, image: np.ndarray, regions: np.ndarray, fast: bool = False
    ) -> RegionPredictions:
        """Predict regions.

        Args:
            image: (H, W, 3) uint8 BGR.
            regions: (N, 5).
            fast: Use the faster crops, which are not equal to those of an evaluation to the bit.
        """
        crops = (self._crop_fast if fast else self._crop)(image, regions)
        keypoints, scores, presence, spatial = self.backend(crops)
        if spatial is not None:
            spatial = spatial_of_image(spatial, regions, image.shape[1])
        if fast:
            linear, corners = _crop_to_image_maps(regions, self.backend.crop_spec.size)
            keypoints = keypoints.numpy().astype(np.float64)
            keypoints = keypoints @ linear.transpose(0, 2, 1) + corners[:, None]
        else:
            keypoints = self._to_image(keypoints, tf.constant(regions, tf.float64)).numpy()
        return RegionPredictions(keypoints, scores.numpy(), presence.numpy(), spatial)
