"""Tracking metrics of a video: keypoints, identity switches, and how soon people are found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from tfcpn.evaluation.metrics import correct_keypoints, reference_lengths
from tfcpn.skeleton import Skeleton

# A person is found if at least half of the labeled keypoints are within half a torso.
_MAX_DISTANCE, _MIN_SHARE = 0.5, 0.5


class FramePeople(NamedTuple):
    """The people of one frame.

    Attributes:
        track_ids: (N,) their ids.
        keypoints: (N, K, 3) x, y, visibility; at least 1 for keypoints that were found.
        boxes: (N, 4).
    """

    track_ids: np.ndarray
    keypoints: np.ndarray
    boxes: np.ndarray


class TrackingMetrics(NamedTuple):
    """Metrics over all frames.

    Attributes:
        frames: Number of frames.
        people: Number of labeled people in them.
        found: Share of them that were found.
        pck: (2,) PCK@.2 and @.1 of all labeled keypoints; those of missed people are wrong.
        false_positives: Mean number of false people per frame.
        switches: Number of times a person was found under another id than before.
        mota: Multiple object tracking accuracy: 1 - (missed + false + switches) / people.
        idf1: F1 of identities (Ristani et al. 2016): each true person is given at most one id over
            the whole video.
        false_tracks: Number of ids that follow no person in most of their frames.
        frames_to_first_match: Frames until each person was found, from the first one in which it is
            labeled, or of all if it never was.
        gaps: Length in frames of each time a person was lost while labeled.
        jitter: Mean motion of keypoints between frames that is not the person's, in torsos.
    """

    frames: int
    people: int
    found: float
    pck: np.ndarray
    false_positives: float
    switches: int
    mota: float
    idf1: float
    false_tracks: int
    frames_to_first_match: list[int]
    gaps: list[int]
    jitter: float


def _match(found: FramePeople, true: FramePeople, lengths: np.ndarray) -> dict[int, int]:
    """Return rows of true people -> rows of found ones, the best overall assignment."""
    quality = np.zeros((len(true.track_ids), len(found.track_ids)))
    for row, keypoints in enumerate(true.keypoints):
        offset = found.keypoints[..., :2] - keypoints[:, :2]
        distance = np.linalg.norm(offset, axis=-1) / lengths[row]
        counts = (keypoints[:, 2] > 0) & (found.keypoints[..., 2] > 0)
        near = np.where(counts, distance <= _MAX_DISTANCE, False).sum(axis=1)
        share = near / max((keypoints[:, 2] > 0).sum(), 1)
        quality[row] = share + 1e-3 * np.exp(-np.nanmean(distance, axis=1))
    # An impossible pair must not take the place of a possible one.
    possible = quality >= _MIN_SHARE
    pairs = zip(*linear_sum_assignment(np.where(possible, -quality, 0.0)))
    return {int(t): int(f) for t, f in pairs if possible[t, f]}


def _lengths_by_box(people: FramePeople) -> np.ndarray:
    """Return lengths of people without a torso: half the longer side of the box."""
    return people.boxes[:, 2:].max(axis=1) / 2 if len(people.boxes) else np.zeros(0)


def _idf1(together: Mapping[tuple[int, int], int], num_people: int, num_shown: int) -> float:
    """Return the F1 of identities, of the pairs that each frame's assignment makes.

    Args:
        together: Number of frames in which each true person is found under each id.
        num_people: Number of true people in all frames.
        num_shown: Number of found people in all frames.
    """
    people, ids = (sorted({pair[i] for pair in together}) for i in (0, 1))
    table = np.zeros((len(people), len(ids)))
    for (person, track_id), frames in together.items():
        table[people.index(person), ids.index(track_id)] = frames
    rows, columns = linear_sum_assignment(-table)
    return float(2 * table[rows, columns].sum() / max(num_people + num_shown, 1))


def evaluate_tracking(
    found: Sequence[FramePeople], true: Sequence[FramePeople], skeleton: Skeleton
) -> TrackingMetrics:
    """Compare tracks with the truth, frame by frame.

    Args:
        found: The tracked people.
        true: The annotated people.
        skeleton: Keypoints of both, which must define the torso.
    """
    correct, motions, gaps = [], [], []
    num_people = num_found = false_positives = switches = 0
    together: Counter[tuple[int, int]] = Counter()  # frames of a person under an id
    shown: Counter[int] = Counter()  # frames of an id, without people who do not count
    wrong: Counter[int] = Counter()  # those in which it follows no person
    first_match: dict[int, int] = {}
    waiting: dict[int, int] = {}  # frames since each person was last found
    last_id: dict[int, int] = {}
    previous: dict[int, tuple] = {}
    for now, truth in zip(found, true):
        lengths = reference_lengths(truth.keypoints, truth.boxes, skeleton, "torso")
        has_torso = ~np.isnan(lengths)
        partial = FramePeople(*(values[~has_torso] for values in truth))
        truth, lengths = FramePeople(*(v[has_torso] for v in truth)), lengths[has_torso]
        # People partly outside the image neither count nor are they false positives.
        uncounted = _match(now, partial, _lengths_by_box(partial))
        pairs = _match(now, truth, lengths)
        for row, track_id in enumerate(now.track_ids.tolist()):
            if row in pairs.values() or row not in uncounted.values():
                shown[track_id] += 1
                wrong[track_id] += row not in pairs.values()
                false_positives += row not in pairs.values()
        num_people, num_found = num_people + len(truth.track_ids), num_found + len(pairs)
        xy = np.full((*truth.keypoints.shape[:2], 2), np.nan)
        current = {}
        for row, person in enumerate(truth.track_ids.tolist()):
            if row not in pairs:
                waiting[person] = waiting.get(person, 0) + 1
                continue
            xy[row] = now.keypoints[pairs[row], :, :2]
            track_id = int(now.track_ids[pairs[row]])
            together[person, track_id] += 1
            if person not in last_id:
                first_match[person] = waiting.pop(person, 0)
            elif waiting.get(person):
                gaps.append(waiting.pop(person))
            switches += last_id.get(person, track_id) != track_id
            last_id[person] = track_id
            current[person] = xy[row], truth.keypoints[row], lengths[row]
        correct.append(correct_keypoints(xy, truth.keypoints, lengths).reshape(-1, 2))
        for person in current.keys() & previous.keys():
            (after, true_after, length), (before, true_before, _) = (
                current[person],
                previous[person],
            )
            error = (after - before) - (true_after[:, :2] - true_before[:, :2])
            both = (true_after[:, 2] > 0) & (true_before[:, 2] > 0)
            motions += (np.linalg.norm(error[both], axis=1) / length).tolist()
        previous = current
    for person, frames in waiting.items():
        if person in last_id:
            gaps.append(frames)
        else:
            first_match[person] = frames
    correct = np.concatenate(correct) if correct else np.zeros((0, 2))
    return TrackingMetrics(
        frames=len(true),
        people=num_people,
        found=num_found / max(num_people, 1),
        pck=np.nanmean(correct, axis=0) if len(correct) else np.full(2, np.nan),
        false_positives=false_positives / max(len(true), 1),
        switches=int(switches),
        mota=1 - (num_people - num_found + false_positives + switches) / max(num_people, 1),
        idf1=_idf1(together, num_people, sum(shown.values())),
        false_tracks=sum(wrong[track_id] > shown[track_id] / 2 for track_id in shown),
        frames_to_first_match=list(first_match.values()),
        gaps=gaps,
        jitter=float(np.nanmean(motions)) if motions else float("nan"),
    )
