"""What is wrong with keypoints and people, by the kinds of Ronchi and Perona (arXiv 1707.05388, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfcpn.analysis.matching import Match
from tfcpn.data.coco import Person
from tfcpn.evaluation.oks import keypoint_sigmas, keypoint_similarity
from tfcpn.skeleton import Skeleton

# Of keypoints that are labeled: right; near; on the other side of the same person; on another person; nowhere.
GOOD, JITTER, INVERSION, SWAP, MISS = KEYPOINT_KINDS = (
    "good",
    "jitter",
    "inversion",
    "swap",
    "miss",
)
# Of people: in the wrong order of scores; a result where nobody is; nobody's result where somebody is.
SCORE, BACKGROUND, UNSEEN = "score", "background", "not found"
KINDS = (JITTER, INVERSION, SWAP, MISS, SCORE, BACKGROUND, UNSEEN)
# Similarity of a keypoint from which it is right, and from which it is near.
RIGHT, NEAR = 0.85, 0.5


def keypoint_error_types(match: Match, others: list[Person], skeleton: Skeleton) -> list[str]:
    """The kind of each of a matched result's keypoints (K); empty where the person has none labeled.

    others: the other people of the image. A keypoint is what it lies nearest to, if near: its own place (good or
    jitter), the person's other side (inversion), the same keypoint or that of the other side of another person (swap).
    """
    sigmas, person = keypoint_sigmas(skeleton), match.person

    def alike(keypoint: int, whose: Person, which: int) -> float:
        x, y, visible = whose.keypoints[which]
        if not visible:
            return 0.0
        return float(
            keypoint_similarity(
                match.keypoints[keypoint], np.array([x, y]), whose.area, sigmas[keypoint]
            )
        )

    kinds = []
    for keypoint in range(skeleton.num_annotated):
        if not person.keypoints[keypoint, 2]:
            kinds.append("")
            continue
        own, mirrored = alike(keypoint, person, keypoint), skeleton.mirror[keypoint]
        side = alike(keypoint, person, mirrored) if mirrored != keypoint else 0.0
        another = max(
            (alike(keypoint, other, which) for other in others for which in {keypoint, mirrored}),
            default=0.0,
        )
        if max(own, side, another) < NEAR:
            kinds.append(MISS)
        elif own >= max(side, another):
            kinds.append(GOOD if own >= RIGHT else JITTER)
        else:
            kinds.append(INVERSION if side >= another else SWAP)
    return kinds


def error_types_of(
    found: list[Match], everybody: list[Person], skeleton: Skeleton
) -> dict[int, list[str]]:
    """Of each matched result, by its place, the kinds of its keypoints. everybody: of all images, counted or not."""
    here: dict[int, list[Person]] = {}
    for person in everybody:
        here.setdefault(person.image_id, []).append(person)
    return {
        match.result: keypoint_error_types(
            match, [p for p in here[match.image_id] if p.id != match.person.id], skeleton
        )
        for match in found
        if match.person is not None
    }


def corrected(
    results: list[dict],
    found: list[Match],
    missed: list[Person],
    kinds: dict[int, list[str]],
    kind: str,
) -> list[dict]:
    """The results without one kind of error: its keypoints where they belong, everybody scored by how alike they are, or
    nobody invented, or nobody left out.
    """
    if kind == BACKGROUND:
        return [
            results[match.result] for match in found if match.person is not None or match.ignored
        ]
    if kind == UNSEEN:
        least = min((result["score"] for result in results), default=1.0)
        return [*results, *(_perfect(person, results, least) for person in missed)]
    changed = list(results)
    for match in found:
        result = dict(results[match.result])
        if kind == SCORE and not match.ignored:
            result["score"] = match.oks
        elif match.person is not None:
            keypoints = np.reshape(result["keypoints"], (-1, 3)).astype(float)
            wrong = [keypoint for keypoint, what in enumerate(kinds[match.result]) if what == kind]
            keypoints[wrong, :2] = match.person.keypoints[wrong, :2]
            result["keypoints"] = keypoints.ravel().tolist()
        changed[match.result] = result
    return changed


def _perfect(person: Person, results: list[dict], score: float) -> dict:
    keypoints = np.concatenate(
        [person.keypoints[:, :2], np.ones((len(person.keypoints), 1))], axis=1
    )
    category = results[0]["category_id"] if results else 1
    return {
        "image_id": person.image_id,
        "category_id": category,
        "keypoints": keypoints.ravel().tolist(),
        "score": score,
    }


def gains(
    results: list[dict],
    found: list[Match],
    missed: list[Person],
    kinds: dict[int, list[str]],
    average_precision: Callable[[list[dict]], float],
) -> dict[str, float]:
    """AP that would be won without the errors of each kind, the others staying. average_precision: of results."""
    now = average_precision(results)
    return {
        kind: average_precision(corrected(results, found, missed, kinds, kind)) - now
        for kind in KINDS
    }
