"""Track people from frame to frame: the last pose defines the next region, as in MediaPipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from tfcpn.data.detections import PersonBox
from tfcpn.inference.estimator import Person, PoseEstimator, check_image_array, pose_oks
from tfcpn.inference.video import VideoReader
from tfcpn.models.blazepose.detector import iou
from tfcpn.skeleton import Skeleton


class OneEuroFilter:
    """Low-pass filter whose cutoff grows with speed (Casiez, Roussel, Vogel, CHI 2012).

    For arrays of one shape. The defaults are MediaPipe's parameters for landmarks.
    """

    def __init__(self, min_cutoff: float = 0.05, slope: float = 80.0, speed_cutoff: float = 1.0):
        """Set the parameters.

        Args:
            min_cutoff: Cutoff in Hz at rest.
            slope: Growth of the cutoff in Hz for a speed of one object size per second.
            speed_cutoff: Cutoff in Hz of the speed's own filter.
        """
        self.min_cutoff, self.slope, self.speed_cutoff = min_cutoff, slope, speed_cutoff
        self._raw = self._smooth = self._speed = None
        self._seconds = 0.0

    def __call__(self, values: np.ndarray, seconds: float, size: float) -> np.ndarray:
        """Return smoothed values.

        The first values, and those not later than the last, are returned unchanged.

        Args:
            values: The values.
            seconds: Their time.
            size: Size of the object, in the unit of the values.
        """
        values = np.asarray(values, float)
        if self._raw is None:
            self._speed = np.zeros_like(values)
            self._smooth = values
        elif seconds <= self._seconds:
            return values
        else:
            step = seconds - self._seconds
            velocity = (values - self._raw) / size / step
            self._speed = self._speed + _smoothing_factor(self.speed_cutoff, step) * (
                velocity - self._speed
            )
            cutoff = self.min_cutoff + self.slope * np.abs(self._speed)
            self._smooth = self._smooth + _smoothing_factor(cutoff, step) * (values - self._smooth)
        self._raw, self._seconds = values, seconds
        return self._smooth


def _smoothing_factor(cutoff, step: float):
    """Return the weight of a new value in an exponential filter of a cutoff in Hz."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * step))


def for_landmarks() -> OneEuroFilter:
    """Return a filter with MediaPipe's parameters for landmarks."""
    return OneEuroFilter()


def for_region() -> OneEuroFilter:
    """Return a filter with MediaPipe's parameters for the points of the next region."""
    return OneEuroFilter(0.01, 10.0, 1.0)


# Patches of the torso: from shoulders to hips, and from left to right.
_DOWN, _ACROSS = (0.25, 0.55, 0.9), (0.3, 0.5, 0.7)
_SIZE = 0.06  # of a patch, relative to the torso's length
_LIGHTNESS = 0.5  # weight of lightness: shadows change it
_COLOR_SCALE = 20.0  # CIE Lab difference at which the similarity is 1/e


def color_signature(image: np.ndarray, person: Person, skeleton: Skeleton) -> np.ndarray | None:
    """Return colors of patches of the torso, by which people in similar poses are distinguished.

    Args:
        image: (H, W, 3) uint8 BGR.
        person: The person.
        skeleton: Keypoints of the person.

    Returns:
        (P, 3) CIE Lab with reduced lightness; NaN outside the image. None if the keypoints
        define no torso, or it is outside the image.
    """
    if not skeleton.shoulders or not skeleton.hips:
        return None
    (sl, sr), (hl, hr) = (
        person.keypoints[list(pair)] for pair in (skeleton.shoulders, skeleton.hips)
    )
    length = np.linalg.norm((sl + sr - hl - hr) / 2)
    if not np.isfinite(length):
        return None  # the network does not have these keypoints
    radius = int(np.clip(round(_SIZE * length), 1, 30))
    down, across = (grid.reshape(-1, 1) for grid in np.meshgrid(_DOWN, _ACROSS, indexing="ij"))
    left, right = sl + down * (hl - sl), sr + down * (hr - sr)
    middles, size = left + across * (right - left), np.array(image.shape[1::-1])
    inside = ((middles >= 0) & (middles < size)).all(axis=1)
    found = np.full((len(middles), 3), np.nan)
    if not inside.any():
        return None
    about = np.arange(-radius, radius + 1)
    x, y = np.clip(middles[inside].astype(int)[:, :, None] + about, 0, size[:, None] - 1).transpose(
        1, 0, 2
    )
    patches = image[y[:, :, None], x[:, None, :]]
    found[inside] = np.median(patches.reshape(len(patches), -1, 3), axis=1)
    lab = cv2.cvtColor((found[inside][None] / 255).astype(np.float32), cv2.COLOR_BGR2LAB)[0]
    found[inside] = lab * [_LIGHTNESS, 1, 1]
    return found


def color_similarity(a: np.ndarray | None, b: np.ndarray | None) -> float:
    """Return the similarity of two color signatures from 0 to 1; 1 if they cannot be compared."""
    if a is None or b is None:
        return 1.0
    away = np.linalg.norm(a - b, axis=1)
    away = away[np.isfinite(away)]
    return float(np.exp(-np.median(away) / _COLOR_SCALE)) if len(away) else 1.0


def update_appearance(
    old: np.ndarray | None, new: np.ndarray | None, share: float
) -> np.ndarray | None:
    """Return the moving average of color signatures; `share` is the weight of the new one."""
    if old is None or new is None:
        return new if old is None else old
    mixed = old + share * (new - old)
    return np.where(np.isfinite(mixed), mixed, np.where(np.isfinite(old), old, new))


# A detection is a duplicate of an existing track above these thresholds.
DUPLICATE_BOX_IOU, DUPLICATE_REGION_IOU, DUPLICATE_OKS = 0.6, 0.7, 0.4
# A detection resumes a lost track above this score: half by the similarity of the colors alone,
# wherever the person is, half by the OKS to the expected pose, with scaled sigmas.
REID_SCORE, REID_SIGMA_SCALE = 0.35, 4.0
REID_OKS = 0.1  # the same for a person whose colors are not known
# A person is shown after so many sightings in so many frames, so that one that is false for a
# moment is not seen. In the first frame of a video there is nothing to wait for.
SIGHTINGS, SIGHTING_FRAMES = 2, 3
# Seconds for which a shown person may be hard to see before the track is lost.
LOW_SECONDS = 0.5
OCCLUSION_IOU = 0.05  # box IoU above which people may be confused
APPEARANCE_MOMENTUM = 0.1  # weight of a frame's colors in the appearance
VELOCITY_MOMENTUM = 0.3  # weight of the last step in the velocity
BOX_EXPANSION = 1.1  # the next frame's box over that of the keypoints


@dataclass
class Track:
    """A tracked person.

    Attributes:
        person: As last predicted, not smoothed.
        region: Region to predict in the next frame.
        score: Score of the detector.
        seconds: Time of `person`.
        appearance: Moving average of the color signature.
        velocity: Of the center, in pixels per second.
        frames, sightings: Number of frames since the track began, and of those in which the person
            was seen, until the person is shown.
        is_shown: Whether there were enough sightings. The person has an id from then on.
        is_seen: Whether the person is seen in the current frame.
        smooth_keypoints, smooth_region: Filters.
    """

    person: Person
    region: np.ndarray
    score: float
    seconds: float
    appearance: np.ndarray | None = None
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    frames: int = 1
    sightings: int = 1
    is_shown: bool = False
    is_seen: bool = True
    smooth_keypoints: OneEuroFilter = field(default_factory=for_landmarks)
    smooth_region: OneEuroFilter = field(default_factory=for_region)

    def expected(self, seconds: float) -> Person:
        """Return the person moved on with constant velocity."""
        return replace(
            self.person, keypoints=self.person.keypoints + self.velocity * (seconds - self.seconds)
        )


def _center_of(person: Person) -> np.ndarray:
    """Return the center of a person's box."""
    x, y, width, height = person.box
    return np.array([x + width / 2, y + height / 2])


def _square(region: np.ndarray) -> np.ndarray:
    """Return the corners of a region, ignoring its rotation."""
    return np.stack([region[:2] - region[2:4] / 2, region[:2] + region[2:4] / 2])


def _corners(box: Sequence[float]) -> np.ndarray:
    return np.array([box[:2], np.add(box[:2], box[2:])], float)


class Tracker:
    """Tracks the people of a video, frame by frame."""

    def __init__(
        self,
        pose: PoseEstimator,
        detect_every: int = 10,
        smooth: bool = True,
        track_timeout: float = 1.0,
    ):
        """Start without tracks.

        Args:
            pose: Estimates poses.
            detect_every: Frames between runs of the detector. It also runs while a person is lost,
                and while there is no track.
            smooth: Whether to smooth keypoints.
            track_timeout: Seconds within which a person who is found again keeps the id.
        """
        self.pose, self.detect_every, self.smooth, self.track_timeout = (
            pose,
            detect_every,
            smooth,
            track_timeout,
        )
        self.detections = 0  # number of runs of the detector
        self._tracks: list[Track] = []
        self._lost: list[Track] = []
        self._frames = self._people = 0

    def __call__(self, image: np.ndarray, seconds: float) -> list[Person]:
        """Return the people of the next frame.

        Args:
            image: (H, W, 3) uint8 BGR.
            seconds: Time of the frame.
        """
        check_image_array(image)
        due = not self._tracks or self._frames % self.detect_every == 0
        self._frames += 1
        self._update_tracks(image, seconds)
        if due or self._lost or not all(track.is_seen for track in self._tracks):
            self.detections += 1
            self._start_tracks(image, seconds)
        self._lost = [
            track for track in self._lost if seconds - track.seconds <= self.track_timeout
        ]
        shown = [track for track in self._tracks if track.is_shown and track.is_seen]
        return [
            self._smoothed(track, seconds)
            for track in sorted(shown, key=lambda t: t.person.track_id)
        ]

    def _update_tracks(self, image: np.ndarray, seconds: float) -> None:
        """Predict the tracks in a frame; those that are not found for some time become lost."""
        if not self._tracks:
            return
        regions = np.stack([track.region for track in self._tracks])
        predictions = self.pose.predict_regions(image, regions)
        people = self.pose.people(predictions, regions, [track.score for track in self._tracks])
        points = (
            self.pose.alignment_points(predictions)
            if self.pose.alignment.uses_points
            else [None] * len(people)
        )
        appearance = [color_signature(image, person, self.pose.skeleton) for person in people]
        # A track that moved as expected, in the same colors, wins over one that jumped onto another
        # person.
        consistency = [
            pose_oks(person.keypoints, track.expected(seconds), self.pose.sigmas, 2.0)
            * color_similarity(track.appearance, colors)
            for person, colors, track in zip(people, appearance, self._tracks)
        ]
        kept: list[int] = []
        waiting: list[Track] = []
        patience = min(LOW_SECONDS, self.track_timeout)
        for row in sorted(range(len(people)), key=lambda row: -consistency[row]):
            track = self._tracks[row]
            track.frames += 1
            track.is_seen = predictions.presence[row] >= self.pose.backend.min_presence
            if any(self._is_duplicate(people[row], people[other]) for other in kept):
                # Two tracks on one body: the other person is somewhere else.
                self._lost += [track] if track.is_shown else []
            elif track.is_seen:
                kept.append(row)
            elif track.is_shown and seconds - track.seconds <= patience:
                waiting.append(track)
            elif track.is_shown:
                self._lost.append(track)
            elif track.sightings + SIGHTING_FRAMES - track.frames >= SIGHTINGS:
                waiting.append(track)
        isolated = {row for row in kept if not self._touches_another(row, people)}
        for row in kept:
            track = self._tracks[row]
            self._update_track(track, people[row], points[row], image, seconds)
            if row in isolated:
                track.appearance = update_appearance(
                    track.appearance, appearance[row], APPEARANCE_MOMENTUM
                )
        self._tracks = [self._tracks[row] for row in sorted(kept)] + waiting
        for track in list(self._tracks):
            if not track.is_shown and track.sightings >= SIGHTINGS:
                found = self._matches([(track.person, track.appearance)], seconds)
                self._show(track, self._resume(found[0]) if 0 in found else None)

    def _show(self, track: Track, track_id: int | None = None) -> None:
        """Show a track from now on, under the id of a lost one or a new one."""
        if track_id is None:
            self._people += 1
            track_id = self._people
        track.is_shown, track.person = True, replace(track.person, track_id=track_id)

    def _is_duplicate(self, person: Person, other: Person) -> bool:
        return (
            self.pose.nms_oks is not None
            and pose_oks(person.keypoints, other, self.pose.sigmas) > self.pose.nms_oks
        )

    @staticmethod
    def _touches_another(row: int, people: list[Person]) -> bool:
        """Return whether a person's box overlaps another's, which may mix their colors."""
        others = [_corners(p.box) for n, p in enumerate(people) if n != row]
        return bool(others) and bool(
            (iou(_corners(people[row].box), np.stack(others)) > OCCLUSION_IOU).any()
        )

    def _update_track(
        self, track: Track, person: Person, points, image: np.ndarray, seconds: float
    ) -> None:
        """Update a track with a prediction."""
        step = seconds - track.seconds
        if step > 0:
            velocity = (_center_of(person) - _center_of(track.person)) / step
            track.velocity = track.velocity + VELOCITY_MOMENTUM * (velocity - track.velocity)
        track.region = self._next_region(track, person, points, image, seconds)
        track.person, track.seconds = replace(person, track_id=track.person.track_id), seconds
        track.sightings += 1

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

    def _start_tracks(self, image: np.ndarray, seconds: float) -> None:
        """Run the detector, and start tracks of people who have none."""
        is_first = self._frames == 1
        seen = [track for track in self._tracks if track.is_seen]
        known = np.stack([_corners(t.person.box) for t in seen]) if seen else np.zeros((0, 2, 2))
        boxes = [
            b
            for b in self.pose.detect(image)
            if not (iou(_corners(b.box), known) > DUPLICATE_BOX_IOU).any()
        ]
        boxes = self._untracked_boxes(image, boxes, seen)
        if not boxes:
            return
        predictions, regions = self.pose.predict_boxes(image, boxes)
        people = self.pose.people(predictions, regions, [box.score for box in boxes])
        points = (
            self.pose.alignment_points(predictions)
            if self.pose.alignment.uses_points
            else [None] * len(people)
        )
        appearance = [color_signature(image, person, self.pose.skeleton) for person in people]
        new: list[int] = []
        for row in np.argsort([-person.score for person in people], kind="stable").tolist():
            others = [track.person for track in self._tracks if track.is_seen]
            others += [people[other] for other in new]
            same = any(
                pose_oks(people[row].keypoints, other, self.pose.sigmas) > DUPLICATE_OKS
                for other in others
            )
            if not same and predictions.presence[row] >= self.pose.backend.min_presence:
                new.append(row)
        matches = self._matches([(people[row], appearance[row]) for row in new], seconds)
        for place, row in enumerate(new):
            track = Track(people[row], regions[row], boxes[row].score, seconds, appearance[row])
            track.region = self._next_region(track, people[row], points[row], image, seconds)
            if place in matches:
                self._show(track, self._resume(matches[place]))
            elif is_first:
                self._show(track)
            self._tracks.append(track)

    def _untracked_boxes(
        self, image: np.ndarray, boxes: list[PersonBox], seen: list[Track]
    ) -> list[PersonBox]:
        """Drop boxes whose regions are tracked already, which saves predicting them."""
        if not boxes or not seen or not self.pose.alignment.uses_points:
            return boxes
        taken = np.stack([_square(track.region) for track in seen])
        squares = [_square(region) for region in self.pose.regions(image, boxes)]
        return [
            box
            for box, row in zip(boxes, squares)
            if not (iou(row, taken) > DUPLICATE_REGION_IOU).any()
        ]

    def _matches(
        self, people: Sequence[tuple[Person, np.ndarray | None]], seconds: float
    ) -> dict[int, Track]:
        """Return the lost or unseen tracks that people resume, the best matches first.

        Args:
            people: People and their color signatures.
            seconds: The time.

        Returns:
            Tracks by the number of the person, each at most once.
        """
        unseen = [track for track in self._tracks if track.is_shown and not track.is_seen]
        pairs = []
        for number, (person, appearance) in enumerate(people):
            for track in self._lost + unseen:
                expected = track.expected(seconds)
                oks = pose_oks(person.keypoints, expected, self.pose.sigmas, REID_SIGMA_SCALE)
                if track.appearance is None or appearance is None:
                    score = oks - REID_OKS + REID_SCORE
                else:
                    score = (1 + oks) / 2 * color_similarity(track.appearance, appearance)
                # A track that waits is near, or the person is another one.
                is_waiting = any(track is other for other in unseen)
                if score >= REID_SCORE and not (is_waiting and oks < REID_OKS):
                    pairs.append((score, number, track))
        found: dict[int, Track] = {}
        for _, number, track in sorted(pairs, key=lambda pair: -pair[0]):
            if number not in found and all(track is not other for other in found.values()):
                found[number] = track
        return found

    def _resume(self, track: Track) -> int:
        """End a lost or unseen track, and return its id for the one that goes on."""
        # By identity: tracks hold arrays, which do not compare.
        self._lost = [other for other in self._lost if other is not track]
        self._tracks = [other for other in self._tracks if other is not track]
        return track.person.track_id

    def _smoothed(self, track: Track, seconds: float) -> Person:
        if not self.smooth:
            return track.person
        size = float(np.mean(track.person.region[2:4]))
        return replace(
            track.person, keypoints=track.smooth_keypoints(track.person.keypoints, seconds, size)
        )


def track_video(
    pose: PoseEstimator,
    frames: str | Path | int | Iterable[np.ndarray],
    rate: float = 30.0,
    **options,
) -> Iterator[tuple[np.ndarray, list[Person]]]:
    """Yield the frames of a video with their people.

    Args:
        pose: Estimates poses.
        frames: A video file, the number of a camera, or images.
        rate: Frames per second of images.
        options: Arguments of `Tracker`.
    """
    tracker = Tracker(pose, **options)
    if isinstance(frames, (str, Path, int)):
        with VideoReader(str(frames)) as video:
            for frame, seconds in video:
                yield frame, tracker(frame, seconds)
    else:
        for number, frame in enumerate(frames):
            yield frame, tracker(frame, number / rate)
