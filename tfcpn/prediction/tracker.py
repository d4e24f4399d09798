"""People followed from frame to frame, as MediaPipe does it: the last frame's pose tells the next one's region."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tfcpn.data.detections import PersonBox
from tfcpn.networks.pose_detection import iou
from tfcpn.prediction.alike import pose_oks
from tfcpn.prediction.appearance import color_signature, color_similarity, update_appearance
from tfcpn.prediction.estimator import PoseEstimator, check_image
from tfcpn.prediction.one_euro import OneEuro, for_landmarks, for_region
from tfcpn.prediction.person import Person
from tfcpn.prediction.video_file import VideoReader

# Somebody whom the detector finds where a person is followed already: so much of their boxes or of their regions
# overlaps, or so alike are their poses.
_SAME_BOX, _SAME_REGION, _SAME_POSE = 0.6, 0.7, 0.4
# Somebody who is found again: so alike to where the lost one would be by now, with tolerances so much wider.
_AGAIN, _LOOSE = 0.1, 4.0
_TOUCH = 0.05  # overlap of boxes from which two people may be mistaken for each other
_WORN = 0.1  # share of a frame's colors in what somebody is known to wear
_LATEST = 0.3  # share of the last step in a person's speed
BOX_EXPANSION = 1.1  # the next frame's box over that of this one's keypoints


@dataclass
class Track:
    """Somebody who is followed. person: as last seen, not smoothed. region: where to look in the next frame. sure:
    the detector's score. speed: of the middle, in pixels a second. worn: as from `appearance.colors`.
    """

    person: Person
    region: np.ndarray
    sure: float
    seconds: float
    worn: np.ndarray | None = None
    speed: np.ndarray = field(default_factory=lambda: np.zeros(2))
    smooth_keypoints: OneEuro = field(default_factory=for_landmarks)
    smooth_region: OneEuro = field(default_factory=for_region)

    def expected(self, seconds: float) -> Person:
        """The person moved on as it went."""
        return replace(
            self.person, keypoints=self.person.keypoints + self.speed * (seconds - self.seconds)
        )


def _middle(person: Person) -> np.ndarray:
    x, y, width, height = person.box
    return np.array([x + width / 2, y + height / 2])


def _square(region: np.ndarray) -> np.ndarray:
    """The corners of a region as if it were not turned."""
    return np.stack([region[:2] - region[2:4] / 2, region[:2] + region[2:4] / 2])


def _corners(box: Sequence[float]) -> np.ndarray:
    return np.array([box[:2], np.add(box[:2], box[2:])], float)


class Tracker:
    """The people of a video, frame by frame; who is seen again within `memory` seconds keeps the number.

    detect_every: the detector is asked in every so many frames, while somebody is lost, and while nobody is
    followed. smooth: whether
    keypoints go through the One Euro filter.
    """

    def __init__(
        self, pose: PoseEstimator, detect_every: int = 10, smooth: bool = True, memory: float = 1.0
    ):
        self.pose, self.detect_every, self.smooth, self.memory = pose, detect_every, smooth, memory
        self.detections = 0  # how often the detector was asked
        self._tracks: list[Track] = []
        self._lost: list[Track] = []
        self._frames = self._people = 0

    def __call__(self, image: np.ndarray, seconds: float) -> list[Person]:
        """The people of the next frame (H, W, 3) uint8 BGR. seconds: since the beginning."""
        check_image(image)
        due = not self._tracks or self._frames % self.detect_every == 0
        self._frames += 1
        self._follow(image, seconds)
        if due or self._lost:
            self.detections += 1
            self._greet(image, seconds)
        self._lost = [track for track in self._lost if seconds - track.seconds <= self.memory]
        return [
            self._shown(track, seconds)
            for track in sorted(self._tracks, key=lambda t: t.person.track_id)
        ]

    def _follow(self, image: np.ndarray, seconds: float) -> None:
        """Look where those who are followed should be, and lose those who are not there."""
        if not self._tracks:
            return
        regions = np.stack([track.region for track in self._tracks])
        answer = self.pose.read(image, regions)
        seen = self.pose.people(answer, regions, [track.sure for track in self._tracks])
        points = self.pose.points(answer) if self.pose.alignment.uses_points else [None] * len(seen)
        worn = [color_signature(image, person, self.pose.skeleton) for person in seen]
        # Who moved as expected, and wears what it wore, counts more than one who has jumped onto another.
        true = [
            pose_oks(person.keypoints, track.expected(seconds), self.pose.sigmas, 2.0)
            * color_similarity(track.worn, wears)
            for person, wears, track in zip(seen, worn, self._tracks)
        ]
        stay: list[int] = []
        for place in sorted(range(len(seen)), key=lambda place: -true[place]):
            double = any(self._double(seen[place], seen[other]) for other in stay)
            if answer.person[place] >= self.pose.reader.least and not double:
                stay.append(place)
        self._lost += [track for place, track in enumerate(self._tracks) if place not in stay]
        apart = {place for place in stay if not self._near(place, seen)}
        for place in stay:
            track = self._tracks[place]
            self._moved(track, seen[place], points[place], image, seconds)
            if place in apart:
                track.worn = update_appearance(track.worn, worn[place], _WORN)
        self._tracks = [self._tracks[place] for place in sorted(stay)]

    def _double(self, person: Person, other: Person) -> bool:
        return (
            self.pose.nms_oks is not None
            and pose_oks(person.keypoints, other, self.pose.sigmas) > self.pose.nms_oks
        )

    @staticmethod
    def _near(place: int, people: list[Person]) -> bool:
        """Whether a person's box touches another's, so that its colors may be the other's."""
        others = [_corners(p.box) for n, p in enumerate(people) if n != place]
        return bool(others) and bool(
            (iou(_corners(people[place].box), np.stack(others)) > _TOUCH).any()
        )

    def _moved(
        self, track: Track, person: Person, points, image: np.ndarray, seconds: float
    ) -> None:
        """Take over what was seen of somebody now."""
        step = seconds - track.seconds
        if step > 0:
            speed = (_middle(person) - _middle(track.person)) / step
            track.speed = track.speed + _LATEST * (speed - track.speed)
        track.region = self._next_region(track, person, points, image, seconds)
        track.person, track.seconds = replace(person, track_id=track.person.track_id), seconds

    def _next_region(
        self, track: Track, person: Person, points, image: np.ndarray, seconds: float
    ) -> np.ndarray:
        size = float(np.mean(person.region[2:4]))
        if points is not None:
            points = track.smooth_region(points, seconds, size) if self.smooth else points
            return self.pose.regions(image, [PersonBox(0, person.box, 1.0)], points[None])[0]
        corners = _corners(person.box)
        corners = corners + (BOX_EXPANSION - 1) / 2 * (corners[1] - corners[0]) * [[-1], [1]]
        corners = track.smooth_region(corners, seconds, size) if self.smooth else corners
        box = (*corners[0], *np.maximum(corners[1] - corners[0], 1))
        return self.pose.regions(image, [PersonBox(0, tuple(map(float, box)), 1.0)])[0]

    def _greet(self, image: np.ndarray, seconds: float) -> None:
        """Ask the detector, and follow from now on whom it finds beside those who are followed."""
        known = (
            np.stack([_corners(t.person.box) for t in self._tracks])
            if self._tracks
            else np.zeros((0, 2, 2))
        )
        boxes = [
            b for b in self.pose.found(image) if not (iou(_corners(b.box), known) > _SAME_BOX).any()
        ]
        boxes = self._beside_followed(image, boxes)
        if not boxes:
            return
        answer, regions = self.pose.predict_boxes(image, boxes)
        people = self.pose.people(answer, regions, [box.score for box in boxes])
        points = (
            self.pose.points(answer) if self.pose.alignment.uses_points else [None] * len(people)
        )
        for place in np.argsort([-person.score for person in people], kind="stable"):
            person = people[place]
            followed = [track.person for track in self._tracks]
            same = any(
                pose_oks(person.keypoints, other, self.pose.sigmas) > _SAME_POSE
                for other in followed
            )
            if same or answer.person[place] < self.pose.reader.least:
                continue
            worn = color_signature(image, person, self.pose.skeleton)
            person = replace(person, track_id=self._number(person, worn, seconds))
            track = Track(person, regions[place], boxes[place].score, seconds, worn)
            track.region = self._next_region(track, person, points[place], image, seconds)
            self._tracks.append(track)

    def _beside_followed(self, image: np.ndarray, boxes: list[PersonBox]) -> list[PersonBox]:
        """Without those whose region somebody has already: the network need not look there again to tell."""
        if not boxes or not self._tracks or not self.pose.alignment.uses_points:
            return boxes
        taken = np.stack([_square(track.region) for track in self._tracks])
        own = [_square(region) for region in self.pose.regions(image, boxes)]
        return [
            box for box, place in zip(boxes, own) if not (iou(place, taken) > _SAME_REGION).any()
        ]

    def _number(self, person: Person, worn: np.ndarray | None, seconds: float) -> int:
        """That of a lost one who is found again, else a new one."""
        nms_oks = [
            pose_oks(person.keypoints, track.expected(seconds), self.pose.sigmas, _LOOSE)
            * color_similarity(track.worn, worn)
            for track in self._lost
        ]
        if nms_oks and max(nms_oks) >= _AGAIN:
            return self._lost.pop(int(np.argmax(nms_oks))).person.track_id
        self._people += 1
        return self._people

    def _shown(self, track: Track, seconds: float) -> Person:
        if not self.smooth:
            return track.person
        size = float(np.mean(track.person.region[2:4]))
        return replace(
            track.person, keypoints=track.smooth_keypoints(track.person.keypoints, seconds, size)
        )


def tracked(
    pose: PoseEstimator, frames: str | Path | int | Iterable[np.ndarray], rate: float = 30.0, **how
) -> Iterator[tuple[np.ndarray, list[Person]]]:
    """Each frame with its people. frames: a video file, a camera's number, or images, `rate` of them a second. how:
    as of `Tracker`.
    """
    tracker = Tracker(pose, **how)
    if isinstance(frames, (str, Path, int)):
        with VideoReader(str(frames)) as video:
            for frame, seconds in video:
                yield frame, tracker(frame, seconds)
    else:
        for number, frame in enumerate(frames):
            yield frame, tracker(frame, number / rate)
