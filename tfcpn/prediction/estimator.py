"""People of one image: who is there, the regions of them, what the network says of these."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.data.detections import PersonBox
from tfcpn.evaluation.first_pass import points_from_keypoints
from tfcpn.evaluation.oks import keypoint_sigmas
from tfcpn.geometry.alignment import Alignment
from tfcpn.geometry.regions import person_region
from tfcpn.prediction.alike import oks_nms
from tfcpn.prediction.person import Person
from tfcpn.prediction.reading import Backend, RegionPredictions, RegionPredictor
from tfcpn.prediction.whom import Detector, full_image_box
from tfcpn.skeleton import Skeleton

# Two poses of an image that are more alike are of one person.
NMS_OKS = 0.7
_SMALLEST = 2  # pixels of an image's side


class PoseEstimator:
    """A network and what it takes to find people for it.

    Calls from several threads are safe and wait for each other. reader: the network. skeleton: its keypoints, with the
    alignment points where it predicts them. alignment: the regions that it was made for. find: whom to look at.
    alike: the OKS of two people above which the less sure one is left out; None: nobody is.
    """

    def __init__(
        self,
        reader: Backend,
        skeleton: Skeleton,
        alignment: Alignment,
        find: Detector,
        nms_oks: float | None = NMS_OKS,
    ):
        self.reader, self.skeleton, self.alignment, self.find, self.nms_oks = (
            reader,
            skeleton,
            alignment,
            find,
            nms_oks,
        )
        self.sigmas = keypoint_sigmas(skeleton)
        self._read, self._lock = RegionPredictor(reader), threading.RLock()
        self._region = _compiled(alignment, reader.crop_spec.size)

    @property
    def keypoints(self) -> tuple[str, ...]:
        """Names of the keypoints of a Person, in their order."""
        return self.skeleton.keypoints[: self.skeleton.num_annotated]

    @property
    def people_skeleton(self) -> Skeleton:
        """The keypoints of a Person, without the alignment points."""
        count, limbs = self.skeleton.num_annotated, self.skeleton.limbs
        if count == self.skeleton.count:
            return self.skeleton
        inside = tuple(limb for limb in limbs if max(limb) < count)
        return replace(self.skeleton, keypoints=self.keypoints, limbs=inside, align_points=False)

    def __call__(self, image: np.ndarray, boxes: Sequence[PersonBox] | None = None) -> list[Person]:
        """The people of an image (H, W, 3) uint8 BGR, as cv2.imread returns it; the surest first.

        boxes: whom to look at, all of whom come back, in their order; None: whom the detector finds, of whom those
        stay in whom the network sees a person. Raises InputError for an array that is no such image.
        """
        check_image(image)
        with self._lock:
            # The image as one person is somebody's word, and no detector's.
            given = boxes is not None or self.find is full_image_box
            boxes = self.found(image) if boxes is None else list(boxes)
            if not boxes:
                return []
            answer, regions = self.predict_boxes(image, boxes)
            people = self.people(answer, regions, [box.score for box in boxes])
            if given:
                return people
            sure = [
                person for person, seen in zip(people, answer.person) if seen >= self.reader.least
            ]
            if self.nms_oks is not None:
                sure = [sure[place] for place in oks_nms(sure, self.sigmas, self.nms_oks)]
            return numbered(sorted(sure, key=lambda person: -person.score))

    def found(self, image: np.ndarray) -> list[PersonBox]:
        """Whom the detector finds in an image."""
        with self._lock:
            return self.find(image)

    def predict_boxes(
        self, image: np.ndarray, boxes: Sequence[PersonBox]
    ) -> tuple[RegionPredictions, np.ndarray]:
        """What the network says of these boxes of an image, and the regions (N, 5) that it saw.

        Where it wants a region about alignment points and a box has none, it looks at the square about the box first,
        and there finds them.
        """
        with self._lock:
            regions = self.regions(image, boxes)
            lacking = [n for n, box in enumerate(boxes) if box.points is None]
            if self.alignment.uses_points and lacking:
                first = self._read(image, regions[lacking])
                points = self.points(first)
                regions[lacking] = self.regions(image, [boxes[n] for n in lacking], points)
            return self._read(image, regions), regions

    def read(self, image: np.ndarray, regions: np.ndarray) -> RegionPredictions:
        """What the network says of these regions (N, 5) of a video's frame, which are cut more quickly than a
        image's.
        """
        with self._lock:
            return self._read(image, regions, quickly=True)

    def points(self, answer: RegionPredictions) -> np.ndarray:
        """The alignment points (N, 2, 2) that keypoints tell."""
        codec = self.reader.codec
        how = codec.empty_score, self.skeleton, self.alignment.radius, codec.missing_keypoints
        return points_from_keypoints(answer.keypoints, answer.scores, *how)

    def regions(
        self, image: np.ndarray, boxes: Sequence[PersonBox], points: np.ndarray | None = None
    ) -> np.ndarray:
        """The regions (N, 5) of boxes of an image. points: (N, 2, 2), instead of the alignment points that they
        have.
        """
        known = np.array([points is not None or box.points is not None for box in boxes])
        if points is None:
            points = np.array([box.points or (0, 0, 0, 0) for box in boxes], np.float64).reshape(
                -1, 2, 2
            )
        corners = np.array([box.box for box in boxes], np.float32)
        return self._region(
            corners, points, known, np.array([image.shape[:2]] * len(boxes))
        ).numpy()

    def people(
        self, answer: RegionPredictions, regions: np.ndarray, sure: Sequence[float]
    ) -> list[Person]:
        """An answer's people. sure: how sure somebody was of each before the network looked."""
        codec, count = self.reader.codec, self.skeleton.num_annotated
        missing_keypoints = [keypoint for keypoint in codec.missing_keypoints if keypoint < count]
        found = []
        for keypoints, scores, region, score in zip(answer.keypoints, answer.scores, regions, sure):
            keypoints, scores = keypoints[:count].copy(), scores[:count].copy()
            mean = float(np.mean(np.delete(scores, missing_keypoints)))
            keypoints[missing_keypoints], scores[missing_keypoints] = np.nan, 0
            confidence = np.clip(scores - codec.empty_score, 0, 1)
            found.append(Person(keypoints, scores, confidence, score * mean, region, 0))
        return numbered(found)


def _compiled(alignment: Alignment, size: tuple[int, int]):
    """`person_region` of an alignment, compiled: the frame of a video has no time for it step by step."""
    shapes = (
        ((None, 4), tf.float32),
        ((None, 2, 2), tf.float64),
        ((None,), tf.bool),
        ((None, 2), tf.int64),
    )
    return tf.function(
        lambda corners, points, known, sizes: person_region(
            corners, points, known, sizes, alignment, size
        ),
        input_signature=[tf.TensorSpec(*shape) for shape in shapes],
    )


def numbered(people: Sequence[Person]) -> list[Person]:
    """The same people, numbered from 1."""
    return [replace(person, track_id=number) for number, person in enumerate(people, 1)]


def check_image(image: np.ndarray) -> None:
    """Raises InputError for an array that is no image (H, W, 3) uint8."""
    shape = getattr(image, "shape", None)
    if (
        shape is None
        or len(shape) != 3
        or shape[2] != 3
        or image.dtype != np.uint8
        or min(shape[:2]) < _SMALLEST
    ):
        what = f"{getattr(image, 'dtype', type(image).__name__)} {shape or ''}".strip()
        raise InputError(
            f"want an image (height, width, 3) of uint8, BGR as cv2.imread returns it; this is {what}"
        )
