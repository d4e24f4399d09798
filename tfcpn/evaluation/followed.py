"""How well people of a video were followed: their keypoints, who was taken for whom, how soon they were found again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from tfcpn.evaluation.pck import correct_keypoints, reference_lengths
from tfcpn.skeleton import Skeleton

# A person was found where at least half of the labeled keypoints are within half of the torso's length.
_NEAR, _LEAST = 0.5, 0.5


class FramePeople(NamedTuple):
    """The people of one frame. numbers: (N,) who they are. keypoints: (N, K, 3) x, y, visibility; found ones 1 or more
    for keypoints that there are. boxes: (N, 4).
    """

    track_ids: np.ndarray
    keypoints: np.ndarray
    boxes: np.ndarray


class TrackingMetrics(NamedTuple):
    """Over all frames. people: labeled people in them, of whom `found` is the share. pck: (2,) PCK@.2 and @.1 of all
    labeled keypoints, those of people who were not found missed. strangers: found people who are nobody, a frame.
    switches: how often somebody is found under another number than before. until: frames until each person was found,
    from the first in which it is labeled, or of all if it never was; gaps: of each time that one was lost while
    labeled, to the end if it was not found again. jitter: how far a
    keypoint of a person who is found in two frames moves from one to the next that it should not, mean, in torsos.
    """

    frames: int
    people: int
    found: float
    pck: np.ndarray
    strangers: float
    switches: int
    until: list[int]
    gaps: list[int]
    jitter: float


def _matched(found: FramePeople, true: FramePeople, length: np.ndarray) -> dict[int, int]:
    """Places of true people -> of found ones, one each, the best in all."""
    near = np.zeros((len(true.track_ids), len(found.track_ids)))
    for t, keypoints in enumerate(true.keypoints):
        away = np.linalg.norm(found.keypoints[..., :2] - keypoints[:, :2], axis=-1) / length[t]
        counts = (keypoints[:, 2] > 0) & (found.keypoints[..., 2] > 0)
        within = np.where(counts, away <= _NEAR, False).sum(axis=1)
        near[t] = within / max((keypoints[:, 2] > 0).sum(), 1) + 1e-3 * np.exp(
            -np.nanmean(away, axis=1)
        )
    # Only pairs that may be: one that may not must not take the place of one that may.
    able = near >= _LEAST
    pairs = zip(*linear_sum_assignment(np.where(able, -near, 0.0)))
    return {int(t): int(f) for t, f in pairs if able[t, f]}


def _lengths_of(people: FramePeople) -> np.ndarray:
    """Of people without a torso: what half of the box's longer side is, about a torso."""
    return people.boxes[:, 2:].max(axis=1) / 2 if len(people.boxes) else np.zeros(0)


def evaluate_tracking(
    found: Sequence[FramePeople], true: Sequence[FramePeople], skeleton: Skeleton
) -> TrackingMetrics:
    """Compare frame by frame. skeleton: the keypoints of both; it must tell the torso."""
    rights, strangers, switches, moves = [], 0, 0, []
    until: dict[int, int] = {}
    waiting: dict[int, int] = {}
    gaps, last, before = [], {}, {}
    everybody = matched_people = 0
    for now, truth in zip(found, true):
        length = reference_lengths(truth.keypoints, truth.boxes, skeleton, "torso")
        able = ~np.isnan(length)
        unable = FramePeople(*(values[~able] for values in truth))
        truth, length = FramePeople(*(values[able] for values in truth)), length[able]
        # Who is half out of the image is nobody to count, and nobody's stranger.
        uncounted = len(_matched(now, unable, _lengths_of(unable)))
        pairs = _matched(now, truth, length)
        everybody, matched_people = everybody + len(truth.track_ids), matched_people + len(pairs)
        strangers += max(0, len(now.track_ids) - len(pairs) - uncounted)
        xy = np.full((*truth.keypoints.shape[:2], 2), np.nan)
        here = {}
        for t, person in enumerate(truth.track_ids.tolist()):
            if t not in pairs:
                waiting[person] = waiting.get(person, 0) + 1
                continue
            xy[t] = now.keypoints[pairs[t], :, :2]
            number = int(now.track_ids[pairs[t]])
            if person not in last:
                until[person] = waiting.pop(person, 0)
            elif waiting.get(person):
                gaps.append(waiting.pop(person))
            switches += last.get(person, number) != number
            last[person] = number
            here[person] = xy[t], truth.keypoints[t], length[t]
        rights.append(correct_keypoints(xy, truth.keypoints, length).reshape(-1, 2))
        for person in here.keys() & before.keys():
            (shown, keypoints, size), (old, old_keypoints, _) = here[person], before[person]
            wrong = (shown - old) - (keypoints[:, :2] - old_keypoints[:, :2])
            both = (keypoints[:, 2] > 0) & (old_keypoints[:, 2] > 0)
            moves += (np.linalg.norm(wrong[both], axis=1) / size).tolist()
        before = here
    for person, frames in waiting.items():
        if person in last:
            gaps.append(frames)
        else:
            until[person] = frames
    right = np.concatenate(rights) if rights else np.zeros((0, 2))
    return TrackingMetrics(
        frames=len(true),
        people=everybody,
        found=matched_people / max(everybody, 1),
        pck=np.nanmean(right, axis=0) if len(right) else np.full(2, np.nan),
        strangers=strangers / max(len(true), 1),
        switches=int(switches),
        until=list(until.values()),
        gaps=gaps,
        jitter=float(np.nanmean(moves)) if moves else float("nan"),
    )
