"""Poses of the people in one image."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from tfcpn.data.detections import PersonBox
from tfcpn.evaluation.estimate import arrays_of_boxes, predicted_alignment_points
from tfcpn.evaluation.metrics import keypoint_sigmas, keypoint_similarity
from tfcpn.inference.backends import Backend, RegionPredictions, RegionPredictor
from tfcpn.inference.detectors import Detector, full_image_box
from tfcpn.skeleton import Skeleton
from tfcpn.transforms.alignment import Alignment
from tfcpn.transforms.regions import person_region
from tfcpn.utils.errors import InputError

# OKS above which two poses of an image are of one person.
NMS_OKS = 0.7
# Area of a person over that of the box of the keypoints (about COCO's mean).
AREA_RATIO = 0.53
# Confidence from which a keypoint is drawn in full, and faintly.
DRAW_THRESHOLD, FAINT_THRESHOLD = 0.5, 0.25
_MIN_IMAGE_SIDE = 2


@dataclass(frozen=True)
class Person:
    """A predicted person. Lengths are in pixels of the image, from its top left corner.

    Attributes:
        keypoints: (K, 2) float64 x, y of the keypoints in `Pose.keypoint_names`; NaN for those that
            the network does not have.
        scores: (K,) float32 scores of the network: BlazePose's visibility from 0 to 1, or the
            height of a heatmap's peak plus one half; 0 for missing keypoints.
        confidence: (K,) from 0 to 1, comparable between networks.
        score: The detector's score times the mean keypoint score.
        region: (5,) what the network saw: center x and y, width, height, clockwise rotation in
            radians.
        track_id: Identity in a video, from 1; in an image the position in the list.
        z: (K,) depth relative to the mid-hip, smaller is closer, in widths of the image as in
            MediaPipe; None if the network predicts none. Not smoothed in videos.
        presence: (K,) from 0 to 1, whether each keypoint is within the image; None as z.
        world: (K, 3) x, y, z in meters relative to the mid-hip; None as z.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    confidence: np.ndarray
    score: float
    region: np.ndarray
    track_id: int
    z: np.ndarray | None = None
    presence: np.ndarray | None = None
    world: np.ndarray | None = None

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x, y, width, height around the confident keypoints, or around all if none is."""
        present = np.isfinite(self.keypoints[:, 0])
        confident = present & (self.confidence >= DRAW_THRESHOLD)
        if not present.any():
            return 0.0, 0.0, 0.0, 0.0
        inside = self.keypoints[confident if confident.any() else present]
        low, high = inside.min(axis=0), inside.max(axis=0)
        return (*map(float, low), *map(float, high - low))


def pose_oks(
    keypoints: np.ndarray, other: Person, sigmas: np.ndarray, sigma_scale: float = 1.0
) -> float:
    """Return the OKS of keypoints with a person, over the person's confident keypoints.

    Args:
        keypoints: (K, 2) x, y.
        other: The person. If none of the keypoints is confident, all count.
        sigmas: (K,) OKS sigmas.
        sigma_scale: Factor of the sigmas.
    """
    counts = np.isfinite(keypoints[:, 0]) & np.isfinite(other.keypoints[:, 0])
    confident = counts & (other.confidence >= DRAW_THRESHOLD)
    if confident.any():
        counts = confident
    area = max(AREA_RATIO * other.box[2] * other.box[3], 1.0)
    found, truth = keypoints[counts], other.keypoints[counts]
    return float(np.mean(keypoint_similarity(found, truth, area, sigma_scale * sigmas[counts])))


def oks_nms(people: Sequence[Person], sigmas: np.ndarray, threshold: float) -> list[int]:
    """Return the indices of people without duplicates, the best first (OKS-NMS).

    Args:
        people: The people of an image.
        sigmas: (K,) OKS sigmas.
        threshold: A person with a larger OKS to a better one is dropped.
    """
    kept: list[int] = []
    for index in sorted(range(len(people)), key=lambda i: -people[i].score):
        keypoints = people[index].keypoints
        if all(pose_oks(keypoints, people[other], sigmas) <= threshold for other in kept):
            kept.append(index)
    return kept


def number_people(people: Sequence[Person]) -> list[Person]:
    """Return people with track ids from 1 on."""
    return [replace(person, track_id=number) for number, person in enumerate(people, 1)]


def check_image_array(image: np.ndarray) -> None:
    """Raise InputError unless an array is an image (H, W, 3) uint8."""
    shape = getattr(image, "shape", None)
    is_image = shape is not None and len(shape) == 3 and shape[2] == 3
    if not is_image or image.dtype != np.uint8 or min(shape[:2]) < _MIN_IMAGE_SIDE:
        actual = f"{getattr(image, 'dtype', type(image).__name__)} {shape or ''}".strip()
        raise InputError(
            "expected an image (height, width, 3) of uint8, BGR as cv2.imread returns it; this is "
            f"{actual}"
        )


def _compiled_regions(alignment: Alignment, size: tuple[int, int]) -> Callable:
    """Return `person_region` of an alignment, compiled: fast enough for the frames of a video."""
    specs = [
        tf.TensorSpec((None, 4), tf.float32),
        tf.TensorSpec((None, 2, 2), tf.float64),
        tf.TensorSpec((None,), tf.bool),
        tf.TensorSpec((None, 2), tf.int64),
    ]

    def regions(boxes, points, known, sizes):
        return person_region(boxes, points, known, sizes, alignment=alignment, input_size=size)

    return tf.function(regions, input_signature=specs)


class PoseEstimator:
    """A network and a detector that finds people for it. Thread-safe; calls wait for each other."""

    def __init__(
        self,
        backend: Backend,
        skeleton: Skeleton,
        alignment: Alignment,
        detector: Detector,
        nms_oks: float | None = NMS_OKS,
        passes: int = 1,
    ):
        """Create the estimator.

        Args:
            backend: Runs the network.
            skeleton: Its keypoints, with the alignment points if it predicts them.
            alignment: The regions that it expects.
            detector: Finds people.
            nms_oks: OKS of two people above which the less confident one is dropped; None keeps
                all.
            passes: Number of times that the network looks at a detected person: from the second
                time on in the region of its own landmarks.
        """
        self.backend, self.skeleton, self.alignment = backend, skeleton, alignment
        self.detector, self.nms_oks, self.passes = detector, nms_oks, passes
        self.sigmas = keypoint_sigmas(skeleton)
        self._predict, self._lock = RegionPredictor(backend), threading.RLock()
        self._regions = _compiled_regions(alignment, backend.crop_spec.size)

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        """Names of the keypoints of a `Person`, in order."""
        return self.skeleton.keypoints[: self.skeleton.num_annotated]

    @property
    def people_skeleton(self) -> Skeleton:
        """The keypoints of a `Person`, without alignment points."""
        return self.skeleton.without_align_points()

    def __call__(self, image: np.ndarray, boxes: Sequence[PersonBox] | None = None) -> list[Person]:
        """Return the people of an image, the most confident first.

        Args:
            image: (H, W, 3) uint8 BGR, as cv2.imread returns it.
            boxes: Boxes to predict; all of them are returned, in order. None: those of the
                detector, without those in which the network sees no person.

        Raises:
            InputError: For an array that is no such image.
        """
        check_image_array(image)
        with self._lock:
            # The whole image as one person is a statement of the user, not of a detector.
            keep_all = boxes is not None or self.detector is full_image_box
            boxes = self.detect(image) if boxes is None else list(boxes)
            if not boxes:
                return []
            predictions, regions = self.predict_boxes(image, boxes)
            people = self.people(predictions, regions, [box.score for box in boxes])
            if keep_all:
                return people
            minimum = self.backend.min_presence
            people = [p for p, score in zip(people, predictions.presence) if score >= minimum]
            if self.nms_oks is not None:
                people = [people[i] for i in oks_nms(people, self.sigmas, self.nms_oks)]
            return number_people(sorted(people, key=lambda person: -person.score))

    def detect(self, image: np.ndarray) -> list[PersonBox]:
        """Return the people that the detector finds in an image."""
        with self._lock:
            return self.detector(image)

    def predict_boxes(
        self, image: np.ndarray, boxes: Sequence[PersonBox]
    ) -> tuple[RegionPredictions, np.ndarray]:
        """Predict boxes; those without needed alignment points in two passes.

        Args:
            image: (H, W, 3) uint8 BGR.
            boxes: N boxes.

        Returns:
            The predictions, and the regions (N, 5) that the network saw.
        """
        with self._lock:
            regions = self.regions(image, boxes)
            unaligned = [n for n, box in enumerate(boxes) if box.points is None]
            if self.alignment.uses_points and unaligned:
                points = self.alignment_points(self._predict(image, regions[unaligned]))
                regions[unaligned] = self.regions(image, [boxes[n] for n in unaligned], points)
            predictions = self._predict(image, regions)
            for _ in range(self.passes - 1 if self.alignment.uses_points else 0):
                regions = self.regions(image, boxes, self.alignment_points(predictions))
                predictions = self._predict(image, regions)
            return predictions, regions

    def predict_regions(self, image: np.ndarray, regions: np.ndarray) -> RegionPredictions:
        """Predict regions (N, 5) of a video's frame, cropped faster than those of an image."""
        with self._lock:
            return self._predict(image, regions, fast=True)

    def alignment_points(self, predictions: RegionPredictions) -> np.ndarray:
        """Return the alignment points (N, 2, 2) of predictions."""
        points = predicted_alignment_points(
            predictions.keypoints,
            predictions.scores,
            empty_score=self.backend.codec.empty_score,
            skeleton=self.skeleton,
            radius=self.alignment.radius,
            missing_keypoints=self.backend.codec.missing_keypoints,
        )
        return points.numpy()

    def regions(
        self, image: np.ndarray, boxes: Sequence[PersonBox], points: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the regions of boxes.

        Args:
            image: (H, W, 3).
            boxes: N boxes.
            points: (N, 2, 2) alignment points instead of those of the boxes.

        Returns:
            (N, 5) float64.
        """
        sizes = np.array([image.shape[:2]] * len(boxes))
        return self._regions(*arrays_of_boxes(boxes, points), sizes).numpy()

    def people(
        self, predictions: RegionPredictions, regions: np.ndarray, scores: Sequence[float]
    ) -> list[Person]:
        """Return predictions as people.

        Args:
            predictions: Predictions of N regions.
            regions: (N, 5).
            scores: N scores of the detector.
        """
        codec, count = self.backend.codec, self.skeleton.num_annotated
        missing = [index for index in codec.missing_keypoints if index < count]
        people, spatial = [], predictions.spatial
        rows = zip(predictions.keypoints, predictions.scores, regions, scores)
        for row, (keypoints, keypoint_scores, region, score) in enumerate(rows):
            keypoints, keypoint_scores = keypoints[:count].copy(), keypoint_scores[:count].copy()
            mean = float(np.mean(np.delete(keypoint_scores, missing)))
            keypoints[missing], keypoint_scores[missing] = np.nan, 0
            people.append(
                Person(
                    keypoints=keypoints,
                    scores=keypoint_scores,
                    confidence=np.clip(keypoint_scores - codec.empty_score, 0, 1),
                    score=score * mean,
                    region=region,
                    track_id=0,
                    z=None if spatial is None else spatial.z[row, :count],
                    presence=None if spatial is None else spatial.presence[row, :count],
                    world=None if spatial is None else spatial.world[row, :count],
                )
            )
        return number_people(people)
