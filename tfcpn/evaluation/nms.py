"""Results of one image that are of the same person: the surest stays, or the others' scores fall."""

from __future__ import annotations

import numpy as np

from tfcpn.evaluation.oks import keypoint_similarity

# Soft-NMS's sigma, as in its paper.
SPREAD = 0.5


def pairwise_oks(results: list[dict], areas: list[float], sigmas: np.ndarray) -> np.ndarray:
    """OKS (R, R) of results with each other, by the mean of their boxes' areas: of row r as seen from column c, over
    the keypoints that both have.
    """
    keypoints = np.array([np.reshape(result["keypoints"], (-1, 3)) for result in results])
    both = (keypoints[:, None, :, 2] > 0) & (keypoints[None, :, :, 2] > 0)
    area = (np.array(areas)[:, None] + np.array(areas)[None]) / 2
    alike = keypoint_similarity(
        keypoints[:, None, :, :2], keypoints[None, :, :, :2], area[..., None], sigmas
    )
    return np.sum(alike * both, axis=-1) / np.maximum(both.sum(axis=-1), 1)


def suppress_duplicates(
    results: list[dict], areas: list[float], sigmas: np.ndarray, how: str, most: float
) -> list[dict]:
    """Results without doubles, in their order. areas: of the boxes that were looked at, in square pixels.

    how: "none" leaves all; "oks" drops who is more alike than `most` to a surer one that stays (OKS-NMS, arXiv
    1701.01779, section 3.3); "soft" multiplies the score of each less sure one by exp(-OKS^2 / SPREAD), again and
    again, as Soft-NMS does with boxes (arXiv 1704.04503, equation 4); `most` has no part in it.
    """
    if how == "none":
        return results
    by_image: dict[int, list[int]] = {}
    for place, result in enumerate(results):
        by_image.setdefault(result["image_id"], []).append(place)
    stay: dict[int, float] = {}
    for places in by_image.values():
        alike = pairwise_oks([results[p] for p in places], [areas[p] for p in places], sigmas)
        scores = np.array([results[p]["score"] for p in places], float)
        left = list(range(len(places)))
        while left:
            best = max(left, key=lambda row: scores[row])
            left.remove(best)
            stay[places[best]] = float(scores[best])
            if how == "oks":
                left = [row for row in left if alike[row, best] <= most]
            else:
                scores[left] *= np.exp(-(alike[left, best] ** 2) / SPREAD)
    kept = sorted(stay)
    if how == "oks":
        return [results[place] for place in kept]
    return [{**results[place], "score": round(stay[place], 4)} for place in kept]
