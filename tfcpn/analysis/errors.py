"""Errors of results: matching, error types, groups of people and calibration of scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tfcpn.data.coco import PersonAnnotation
from tfcpn.evaluation.metrics import keypoint_sigmas, keypoint_similarity, torso_rotation
from tfcpn.skeleton import Skeleton

# Minimum OKS of a match (Ronchi and Perona, arXiv 1707.05388, section 3).
MIN_OKS = 0.1


def oks(found: np.ndarray, person: PersonAnnotation, sigmas: np.ndarray) -> float:
    """Return the OKS of keypoints (K, 2) with a person, over the person's labeled keypoints."""
    seen = person.keypoints[:, 2] > 0
    return float(
        keypoint_similarity(
            found[seen], person.keypoints[seen, :2], person.area, sigmas[seen]
        ).mean()
    )


class Match(NamedTuple):
    """A result and the person it is matched with.

    Attributes:
        result: Index of the result.
        image_id: Id of the image.
        score: Score of the result.
        keypoints: (K, 2).
        person: The person; None for no match.
        oks: OKS with that person; 0 for no match.
        ignored: Whether it is of a person who does not count, so that it is neither right nor
        wrong.
    """

    result: int
    image_id: int
    score: float
    keypoints: np.ndarray
    person: PersonAnnotation | None
    oks: float
    ignored: bool = False


def _oks_of_uncounted(keypoints: np.ndarray, other: PersonAnnotation, sigmas: np.ndarray) -> float:
    """Return the OKS of a result with a person who does not count, as in COCO's evaluation.

    Without labeled keypoints, it depends on how far keypoints lie outside the doubled box.
    """
    if other.num_keypoints:
        return oks(keypoints, other, sigmas)
    x, y, wide, high = other.box
    low, far = np.array([x - wide, y - high]), np.array([x + 2 * wide, y + 2 * high])
    outside = np.maximum(0, low - keypoints) + np.maximum(0, keypoints - far)
    return float(keypoint_similarity(outside, np.zeros(2), other.area, sigmas).mean())


def matches(
    results: list[dict],
    people: list[PersonAnnotation],
    skeleton: Skeleton,
    uncounted: list[PersonAnnotation] = (),
) -> tuple[list[Match], list[PersonAnnotation]]:
    """Match results with people as COCO's evaluation does.

    In each image, the most confident result first takes the person of those left with the highest
    OKS, if that is at least `MIN_OKS`.

    Args:
        results: Entries of a results file.
        people: People who count.
        skeleton: Their keypoints.
        uncounted: Other people, who may be matched by any number of results.

    Returns:
        A match for each result, and the people without a result.
    """
    sigmas, here, uncounted_by_image = keypoint_sigmas(skeleton), {}, {}
    for person in people:
        here.setdefault(person.image_id, []).append(person)
    for person in uncounted:
        uncounted_by_image.setdefault(person.image_id, []).append(person)
    found, taken = [], set()
    for index in sorted(range(len(results)), key=lambda index: -results[index]["score"]):
        result = results[index]
        keypoints = np.reshape(result["keypoints"], (-1, 3))[:, :2]
        best, best_oks = None, MIN_OKS
        for person in here.get(result["image_id"], ()):
            value = oks(keypoints, person, sigmas) if person.id not in taken else 0.0
            if value >= best_oks:
                best, best_oks = person, value
        if best is not None:
            taken.add(best.id)
        others = uncounted_by_image.get(result["image_id"], ()) if best is None else ()
        ignored = any(_oks_of_uncounted(keypoints, other, sigmas) >= MIN_OKS for other in others)
        value = best_oks if best else 0.0
        found.append(
            Match(index, result["image_id"], result["score"], keypoints, best, value, ignored)
        )
    return found, [person for person in people if person.id not in taken]


# Of labeled keypoints: right, near, on the person's other side, on another person, elsewhere.
GOOD, JITTER, INVERSION, SWAP, MISS = KEYPOINT_KINDS = (
    "good",
    "jitter",
    "inversion",
    "swap",
    "miss",
)
# Of people: scores in the wrong order, a result without a person, a person without a result.
SCORE, FALSE_POSITIVE, FALSE_NEGATIVE = "score", "background", "not found"
KINDS = (JITTER, INVERSION, SWAP, MISS, SCORE, FALSE_POSITIVE, FALSE_NEGATIVE)
# Similarity of a keypoint from which it is right, and from which it is near.
RIGHT, NEAR = 0.85, 0.5


def keypoint_error_types(
    match: Match, others: list[PersonAnnotation], skeleton: Skeleton
) -> list[str]:
    """Return the error type of each keypoint (K) of a matched result; "" if it is not labeled.

    A keypoint is of what it is nearest to, if near: its own index (good or jitter), the person's
    other side (inversion), or the same keypoint of another person, on either side (swap).

    Args:
        match: The match.
        others: Other people of the image.
        skeleton: Their keypoints.
    """
    sigmas, person = keypoint_sigmas(skeleton), match.person

    def similarity_to(keypoint: int, whose: PersonAnnotation, which: int) -> float:
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
        own, mirrored = similarity_to(keypoint, person, keypoint), skeleton.flip_indices[keypoint]
        side = similarity_to(keypoint, person, mirrored) if mirrored != keypoint else 0.0
        another = max(
            (
                similarity_to(keypoint, other, which)
                for other in others
                for which in {keypoint, mirrored}
            ),
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
    found: list[Match], all_people: list[PersonAnnotation], skeleton: Skeleton
) -> dict[int, list[str]]:
    """Return the error types of each matched result, by its index.

    Args:
        found: The matches.
        all_people: All people of all images, whether they count or not.
        skeleton: Their keypoints.
    """
    here: dict[int, list[PersonAnnotation]] = {}
    for person in all_people:
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
    missed: list[PersonAnnotation],
    kinds: dict[int, list[str]],
    kind: str,
) -> list[dict]:
    """Return results without one type of error: keypoints moved to their places, scores set to
    the OKS, false positives removed, or false negatives added.
    """
    if kind == FALSE_POSITIVE:
        return [
            results[match.result] for match in found if match.person is not None or match.ignored
        ]
    if kind == FALSE_NEGATIVE:
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


def _perfect(person: PersonAnnotation, results: list[dict], score: float) -> dict:
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
    missed: list[PersonAnnotation],
    kinds: dict[int, list[str]],
    average_precision: Callable[[list[dict]], float],
) -> dict[str, float]:
    """Return the AP that would be gained without the errors of each type, the others unchanged.

    Args:
        average_precision: Function from results to AP.
    """
    now = average_precision(results)
    return {
        kind: average_precision(corrected(results, found, missed, kinds, kind)) - now
        for kind in KINDS
    }


# COCO's sizes, in square pixels of the person.
SIZES = {
    "small (under 32²)": (0, 32**2),
    "medium (to 96²)": (32**2, 96**2),
    "large": (96**2, np.inf),
}
LABELED = {"1 to 5": (1, 6), "6 to 10": (6, 11), "11 to 15": (11, 16), "16 and more": (16, np.inf)}
CROWDED = {"none": (0, 1), "1 or 2": (1, 3), "3 and more": (3, np.inf)}
ROTATED = {"under 30°": (0, 30), "30° to 90°": (30, 90), "over 90°": (90, 181)}
DETECTOR_SCORE = {"under .5": (0, 0.5), ".5 to .8": (0.5, 0.8), "from .8": (0.8, np.inf)}
_MIN_OVERLAP = 0.1  # IoU of boxes above which people overlap


def neighbors(people: list[PersonAnnotation]) -> dict[int, int]:
    """Return, by id, how many boxes of other people overlap a person's by a tenth."""
    here: dict[int, list[PersonAnnotation]] = {}
    for person in people:
        here.setdefault(person.image_id, []).append(person)
    return {
        person.id: sum(
            _overlap(person.box, other.box) > _MIN_OVERLAP
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
    people: list[PersonAnnotation],
    all_people: list[PersonAnnotation],
    skeleton: Skeleton,
    detector_scores: dict[int, float] | None = None,
) -> dict[str, dict[str, set[int]]]:
    """Return ids of people by criterion and range.

    Args:
        people: People who count.
        all_people: All people, who may be in the way.
        skeleton: Their keypoints.
        detector_scores: Score of the detector by id, for a detector's boxes.
    """
    uncounted_by_image = neighbors(all_people)
    rotation = [np.nan] * len(people)
    if skeleton.hips and skeleton.shoulders and people:
        rotation = torso_rotation(np.stack([p.keypoints for p in people]), skeleton)
    asked = {
        "size": (SIZES, [p.area for p in people]),
        "labeled keypoints": (LABELED, [p.num_keypoints for p in people]),
        "others whose box overlaps": (CROWDED, [uncounted_by_image[p.id] for p in people]),
        "rotation of the torso from upright": (ROTATED, list(rotation)),
    }
    if detector_scores is not None:
        asked["score of the detector"] = (
            DETECTOR_SCORE,
            [detector_scores.get(p.id, np.nan) for p in people],
        )
    return {
        question: {
            answer: {p.id for p, value in zip(people, values) if low <= value < high}
            for answer, (low, high) in answers.items()
        }
        for question, (answers, values) in asked.items()
    }


STEPS = 10


class Step(NamedTuple):
    """Results in a range of scores: their number, mean score and mean OKS."""

    count: int
    score: float
    oks: float


def steps(found: list[Match]) -> list[Step]:
    """Return bins of equally many results, by ascending score."""
    by_score = sorted(
        (match for match in found if not match.ignored), key=lambda match: match.score
    )
    parts = np.array_split(np.arange(len(by_score)), min(STEPS, len(by_score)) or 1)
    means = []
    for part in parts:
        some = [by_score[index] for index in part]
        if some:
            means.append(
                Step(
                    len(some),
                    *(float(np.mean([getattr(m, n) for m in some])) for n in ("score", "oks")),
                )
            )
    return means


def rank_correlation(found: list[Match]) -> float:
    """Return Spearman's correlation of score and OKS; NaN for fewer than two results."""
    found = [match for match in found if not match.ignored]
    if len(found) < 2:
        return float("nan")
    from scipy.stats import spearmanr

    return float(spearmanr([m.score for m in found], [m.oks for m in found]).statistic)
