"""People of one picture: who is there, the regions of them, what the network says of these."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.data.detections import Box
from tfcpn.evaluation.first_pass import points_of_joints
from tfcpn.evaluation.oks import tolerances
from tfcpn.geometry.alignment import Alignment
from tfcpn.geometry.regions import person_region
from tfcpn.prediction.alike import without_doubles
from tfcpn.prediction.person import Person
from tfcpn.prediction.reading import Answer, Reader, RegionReader
from tfcpn.prediction.whom import Finder, whole
from tfcpn.skeleton import Skeleton

# Two poses of a picture that are more alike are of one person.
ALIKE = 0.7
_SMALLEST = 2  # pixels of a picture's side


class PoseEstimator:
    """A network and what it takes to find people for it.

    Calls from several threads are safe and wait for each other. reader: the network. skeleton: its joints, with the
    alignment points where it predicts them. alignment: the regions that it was made for. find: whom to look at.
    alike: the OKS of two people above which the less sure one is left out; None: nobody is.
    """

    def __init__(
        self, reader: Reader, skeleton: Skeleton, alignment: Alignment, find: Finder, alike: float | None = ALIKE
    ):
        self.reader, self.skeleton, self.alignment, self.find, self.alike = reader, skeleton, alignment, find, alike
        self.sigmas = tolerances(skeleton)
        self._read, self._lock = RegionReader(reader), threading.RLock()
        self._region = _compiled(alignment, reader.crop_format.size)

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of the joints of a Person, in their order."""
        return self.skeleton.joints[: self.skeleton.annotated]

    @property
    def people_skeleton(self) -> Skeleton:
        """The joints of a Person, without the alignment points."""
        count, limbs = self.skeleton.annotated, self.skeleton.limbs
        if count == self.skeleton.count:
            return self.skeleton
        inside = tuple(limb for limb in limbs if max(limb) < count)
        return replace(self.skeleton, joints=self.joints, limbs=inside, align_points=False)

    def __call__(self, image: np.ndarray, boxes: Sequence[Box] | None = None) -> list[Person]:
        """The people of a picture (H, W, 3) uint8 BGR, as cv2.imread returns it; the surest first.

        boxes: whom to look at, all of whom come back, in their order; None: whom the detector finds, of whom those
        stay in whom the network sees a person. Raises InputError for an array that is no such picture.
        """
        check_picture(image)
        with self._lock:
            # The picture as one person is somebody's word, and no detector's.
            given = boxes is not None or self.find is whole
            boxes = self.found(image) if boxes is None else list(boxes)
            if not boxes:
                return []
            answer, regions = self.look(image, boxes)
            people = self.people(answer, regions, [box.score for box in boxes])
            if given:
                return people
            sure = [person for person, seen in zip(people, answer.person) if seen >= self.reader.least]
            if self.alike is not None:
                sure = [sure[place] for place in without_doubles(sure, self.sigmas, self.alike)]
            return numbered(sorted(sure, key=lambda person: -person.score))

    def found(self, image: np.ndarray) -> list[Box]:
        """Whom the detector finds in a picture."""
        with self._lock:
            return self.find(image)

    def look(self, image: np.ndarray, boxes: Sequence[Box]) -> tuple[Answer, np.ndarray]:
        """What the network says of these boxes of a picture, and the regions (N, 5) that it saw.

        Where it wants a region about alignment points and a box has none, it looks at the square about the box first,
        and there finds them.
        """
        with self._lock:
            regions = self.regions(image, boxes)
            lacking = [n for n, box in enumerate(boxes) if box.points is None]
            if self.alignment.by_points and lacking:
                first = self._read(image, regions[lacking])
                points = self.points(first)
                regions[lacking] = self.regions(image, [boxes[n] for n in lacking], points)
            return self._read(image, regions), regions

    def read(self, image: np.ndarray, regions: np.ndarray) -> Answer:
        """What the network says of these regions (N, 5) of a video's frame, which are cut more quickly than a
        picture's.
        """
        with self._lock:
            return self._read(image, regions, quickly=True)

    def points(self, answer: Answer) -> np.ndarray:
        """The alignment points (N, 2, 2) that joints tell."""
        codec = self.reader.codec
        how = codec.empty_score, self.skeleton, self.alignment.radius, codec.absent
        return points_of_joints(answer.joints, answer.scores, *how)

    def regions(self, image: np.ndarray, boxes: Sequence[Box], points: np.ndarray | None = None) -> np.ndarray:
        """The regions (N, 5) of boxes of a picture. points: (N, 2, 2), instead of the alignment points that they
        have.
        """
        known = np.array([points is not None or box.points is not None for box in boxes])
        if points is None:
            points = np.array([box.points or (0, 0, 0, 0) for box in boxes], np.float64).reshape(-1, 2, 2)
        corners = np.array([box.box for box in boxes], np.float32)
        return self._region(corners, points, known, np.array([image.shape[:2]] * len(boxes))).numpy()

    def people(self, answer: Answer, regions: np.ndarray, sure: Sequence[float]) -> list[Person]:
        """An answer's people. sure: how sure somebody was of each before the network looked."""
        codec, count = self.reader.codec, self.skeleton.annotated
        absent = [joint for joint in codec.absent if joint < count]
        found = []
        for joints, scores, region, score in zip(answer.joints, answer.scores, regions, sure):
            joints, scores = joints[:count].copy(), scores[:count].copy()
            mean = float(np.mean(np.delete(scores, absent)))
            joints[absent], scores[absent] = np.nan, 0
            certain = np.clip(scores - codec.empty_score, 0, 1)
            found.append(Person(joints, scores, certain, score * mean, region, 0))
        return numbered(found)


def _compiled(alignment: Alignment, size: tuple[int, int]):
    """`person_region` of an alignment, compiled: the frame of a video has no time for it step by step."""
    shapes = ((None, 4), tf.float32), ((None, 2, 2), tf.float64), ((None,), tf.bool), ((None, 2), tf.int64)
    return tf.function(
        lambda corners, points, known, sizes: person_region(corners, points, known, sizes, alignment, size),
        input_signature=[tf.TensorSpec(*shape) for shape in shapes],
    )


def numbered(people: Sequence[Person]) -> list[Person]:
    """The same people, numbered from 1."""
    return [replace(person, number=number) for number, person in enumerate(people, 1)]


def check_picture(image: np.ndarray) -> None:
    """Raises InputError for an array that is no picture (H, W, 3) uint8."""
    shape = getattr(image, "shape", None)
    if shape is None or len(shape) != 3 or shape[2] != 3 or image.dtype != np.uint8 or min(shape[:2]) < _SMALLEST:
        what = f"{getattr(image, 'dtype', type(image).__name__)} {shape or ''}".strip()
        raise InputError(f"want a picture (height, width, 3) of uint8, BGR as cv2.imread returns it; this is {what}")
