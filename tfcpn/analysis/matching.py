"""Results and the annotated people that they are of, as COCO's evaluation matches them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfcpn.data.coco import Person
from tfcpn.evaluation.oks import keypoint_sigmas, keypoint_similarity
from tfcpn.skeleton import Skeleton

# OKS from which a result is somebody's at all (Ronchi and Perona, arXiv 1707.05388, section 3).
LEAST_OKS = 0.1


def oks(found: np.ndarray, person: Person, sigmas: np.ndarray) -> float:
    """Object keypoint similarity of keypoints (K, 2) with a person, over the person's labeled keypoints."""
    seen = person.keypoints[:, 2] > 0
    return float(
        keypoint_similarity(
            found[seen], person.keypoints[seen, :2], person.area, sigmas[seen]
        ).mean()
    )


class Match(NamedTuple):
    """A result and whom it is of. result: its place in the file. keypoints: (K, 2). person: None for nobody. oks: with
    that person, 0 for nobody. ignored: whether it is of somebody who does not count, so that it is neither right nor
    wrong.
    """

    result: int
    image_id: int
    score: float
    keypoints: np.ndarray
    person: Person | None
    oks: float
    ignored: bool = False


def _beside(keypoints: np.ndarray, other: Person, sigmas: np.ndarray) -> float:
    """How alike a result is to somebody who does not count, as COCO's evaluation has it: by the keypoints, or for a
    person without any by how far the result's keypoints lie outside the doubled box.
    """
    if other.num_keypoints:
        return oks(keypoints, other, sigmas)
    x, y, wide, high = other.box
    low, far = np.array([x - wide, y - high]), np.array([x + 2 * wide, y + 2 * high])
    outside = np.maximum(0, low - keypoints) + np.maximum(0, keypoints - far)
    return float(keypoint_similarity(outside, np.zeros(2), other.area, sigmas).mean())


def matches(
    results: list[dict], people: list[Person], skeleton: Skeleton, uncounted: list[Person] = ()
) -> tuple[list[Match], list[Person]]:
    """Each result with its person, and the people whom no result is of.

    In each image the surest result first takes the person whom it is most alike, of those that are left, if by
    LEAST_OKS. people: those that count. uncounted: others of the images, of whom any number of results may be.
    """
    sigmas, here, beside = keypoint_sigmas(skeleton), {}, {}
    for person in people:
        here.setdefault(person.image_id, []).append(person)
    for person in uncounted:
        beside.setdefault(person.image_id, []).append(person)
    found, taken = [], set()
    for place in sorted(range(len(results)), key=lambda place: -results[place]["score"]):
        result = results[place]
        keypoints = np.reshape(result["keypoints"], (-1, 3))[:, :2]
        best, alike = None, LEAST_OKS
        for person in here.get(result["image_id"], ()):
            value = oks(keypoints, person, sigmas) if person.id not in taken else 0.0
            if value >= alike:
                best, alike = person, value
        if best is not None:
            taken.add(best.id)
        others = beside.get(result["image_id"], ()) if best is None else ()
        ignored = any(_beside(keypoints, other, sigmas) >= LEAST_OKS for other in others)
        value = alike if best else 0.0
        found.append(
            Match(place, result["image_id"], result["score"], keypoints, best, value, ignored)
        )
    return found, [person for person in people if person.id not in taken]
