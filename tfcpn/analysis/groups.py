"""People in groups: how large, how much of them is seen, how crowded, how turned, how sure the detector was."""

from __future__ import annotations

import numpy as np

from tfcpn.data.coco import Person
from tfcpn.evaluation.turns import torso_rotation
from tfcpn.skeleton import Skeleton

# COCO's sizes, in square pixels of the person.
SIZES = {
    "small (under 32²)": (0, 32**2),
    "medium (to 96²)": (32**2, 96**2),
    "large": (96**2, np.inf),
}
SEEN = {"1 to 5": (1, 6), "6 to 10": (6, 11), "11 to 15": (11, 16), "16 and more": (16, np.inf)}
CROWDED = {"nobody": (0, 1), "1 or 2": (1, 3), "3 and more": (3, np.inf)}
TURNED = {"under 30°": (0, 30), "30° to 90°": (30, 90), "over 90°": (90, 181)}
DRAW_THRESHOLD = {"under .5": (0, 0.5), ".5 to .8": (0.5, 0.8), "from .8": (0.8, np.inf)}
_TOUCHING = 0.1  # of the boxes' union, from which two people are in each other's way


def neighbors(people: list[Person]) -> dict[int, int]:
    """By a person's id how many others of the image have boxes that overlap the person's by a tenth."""
    here: dict[int, list[Person]] = {}
    for person in people:
        here.setdefault(person.image_id, []).append(person)
    return {
        person.id: sum(
            _overlap(person.box, other.box) > _TOUCHING
            for other in here[person.image_id]
            if other.id != person.id
        )
        for person in people
    }


def _overlap(a, b) -> float:
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(wide, 0) * max(high, 0)
    return both / max(a[2] * a[3] + b[2] * b[3] - both, 1e-9)


def groups(
    people: list[Person],
    everybody: list[Person],
    skeleton: Skeleton,
    sure: dict[int, float] | None = None,
) -> dict[str, dict[str, set[int]]]:
    """By question and answer the ids of the people. everybody: who may be in the way. sure: the detector's score of
    each, by id, where a detector's boxes were looked at.
    """
    beside = neighbors(everybody)
    turn = [np.nan] * len(people)
    if skeleton.hips and skeleton.shoulders and people:
        turn = torso_rotation(np.stack([p.keypoints for p in people]), skeleton)
    asked = {
        "size": (SIZES, [p.area for p in people]),
        "labeled keypoints": (SEEN, [p.num_keypoints for p in people]),
        "others whose box overlaps": (CROWDED, [beside[p.id] for p in people]),
        "turn of the torso from upright": (TURNED, list(turn)),
    }
    if sure is not None:
        asked["score of the detector"] = (DRAW_THRESHOLD, [sure.get(p.id, np.nan) for p in people])
    return {
        question: {
            answer: {p.id for p, value in zip(people, values) if low <= value < high}
            for answer, (low, high) in answers.items()
        }
        for question, (answers, values) in asked.items()
    }
