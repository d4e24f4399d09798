"""Metrics of results: COCO's AP, OKS, duplicate suppression, PCK, and tables of them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from tfcpn.data.coco import Annotations, without_keypoints
from tfcpn.skeleton import COCO, Skeleton
from tfcpn.utils.errors import InputError

COCO_METRICS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
# The metrics of tf-cpn's experiment log.
LOG_METRICS = COCO_METRICS[:5]
# The sigma of keypoints without a published one: the mean of COCO's.
MEAN_SIGMA = float(np.mean(COCO.sigmas))
# Sigma of Soft-NMS, as in its paper.
SOFT_NMS_SIGMA = 0.5
PCK_THRESHOLDS = (0.2, 0.1)
PCK_NAMES = tuple(f"PCK@{threshold:g}".replace("0.", ".") for threshold in PCK_THRESHOLDS)
PCK_NORMS = ("auto", "torso", "head", "box")
# Ranges of the torso's rotation from upright, in degrees.
ROTATION_GROUPS = {
    "all": (0, 181),
    "under 30": (0, 30),
    "30 to 90": (30, 90),
    "over 90": (90, 181),
}
_BOOTSTRAP_SAMPLES = 1000


# COCO's evaluation


def _without(keypoints: list, missing_keypoints: tuple[int, ...]) -> list:
    """Return a flat list of x, y, visibility without some keypoints."""
    return [v for index, v in enumerate(keypoints) if index // 3 not in missing_keypoints]


def _truth(
    annotated: Annotations,
    counted: Collection[int] | None,
    missing_keypoints: tuple[int, ...],
) -> dict:
    """Return annotations as pycocotools takes them.

    They are numbered from 1, as pycocotools takes the id 0 for "not matched".
    """
    data = annotated.to_coco()
    for number, record in enumerate(data["annotations"], start=1):
        if counted is not None and record["id"] not in counted:
            record.update(without_keypoints(record))
        if missing_keypoints:
            record["keypoints"] = _without(record["keypoints"], missing_keypoints)
            record["num_keypoints"] = sum(v > 0 for v in record["keypoints"][2::3])
        record["id"] = number
    return data


def coco_metrics(
    annotated: Annotations,
    results: list[dict],
    *,
    counted: Collection[int] | None = None,
    missing_keypoints: tuple[int, ...] = (),
) -> dict[str, float]:
    """Return the ten metrics of COCO's keypoint evaluation over all images of a file.

    Args:
        annotated: The content of the annotation file.
        results: Entries of a results file.
        counted: Ids of the annotations that count; None for all. A result on another one is neither
            right nor wrong.
        missing_keypoints: Indices of keypoints that do not count, as if they were not labeled.
    """
    if not results:  # pycocotools fails for an empty list
        return dict.fromkeys(COCO_METRICS, 0.0)
    # Copies, as pycocotools adds fields to the entries.
    entries = [{**r, "keypoints": _without(r["keypoints"], missing_keypoints)} for r in results]
    sigmas = np.delete(keypoint_sigmas(annotated.skeleton), list(missing_keypoints))
    truth = _truth(annotated, counted, missing_keypoints)
    stats = _coco_stats(truth, entries, "keypoints", annotated.category, sigmas)
    return dict(zip(COCO_METRICS, stats))


def box_metrics(annotated: Annotations, results: list[dict]) -> dict[str, float]:
    """Return AP and AP50 of COCO's box evaluation over all images of a file.

    Args:
        annotated: The content of the annotation file.
        results: Entries of a results file with `bbox`.
    """
    if not results:
        return {"AP": 0.0, "AP50": 0.0}
    truth, entries = _truth(annotated, None, ()), [dict(result) for result in results]
    stats = _coco_stats(truth, entries, "bbox", annotated.category)
    return {"AP": stats[0], "AP50": stats[1]}


def _coco_stats(
    truth: dict, entries: list[dict], kind: str, category: int, sigmas: np.ndarray | None = None
) -> list[float]:
    """Return the numbers that pycocotools summarizes."""
    from pycocotools.coco import COCO as CocoIndex
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        index = CocoIndex()
        index.dataset = truth
        index.createIndex()
        evaluation = COCOeval(index, index.loadRes(entries), kind)
        evaluation.params.catIds = [category]
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = sigmas
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats]


# Object keypoint similarity


def keypoint_sigmas(skeleton: Skeleton) -> np.ndarray:
    """Return the OKS sigma of each annotated keypoint (K,); the mean of COCO's if unknown."""
    count = skeleton.num_annotated
    sigmas = skeleton.sigmas if skeleton.sigmas is not None else [MEAN_SIGMA] * count
    return np.array(sigmas)[:count]


def keypoint_similarity(found: np.ndarray, truth: np.ndarray, area, sigmas) -> np.ndarray:
    """Return COCO's similarity exp(-d^2 / (2 area (2 sigma)^2)) of keypoints, (...).

    Args:
        found: (..., 2) x, y.
        truth: (..., 2) x, y.
        area: Area of the person in square pixels.
        sigmas: Sigma of the keypoint.
    """
    squares = np.sum((found - truth) ** 2, axis=-1)
    return np.exp(-squares / (2 * (area + np.spacing(1)) * (2 * sigmas) ** 2))


def pairwise_oks(results: list[dict], areas: list[float], sigmas: np.ndarray) -> np.ndarray:
    """Return the OKS of results with each other, over the keypoints that both have.

    Args:
        results: R entries of a results file.
        areas: Areas of their boxes; a pair is judged by the mean.
        sigmas: (K,) OKS sigmas.

    Returns:
        (R, R).
    """
    keypoints = np.array([np.reshape(result["keypoints"], (-1, 3)) for result in results])
    both = (keypoints[:, None, :, 2] > 0) & (keypoints[None, :, :, 2] > 0)
    area = (np.array(areas)[:, None] + np.array(areas)[None]) / 2
    xy = keypoints[..., :2]
    similarity = keypoint_similarity(xy[:, None], xy[None], area[..., None], sigmas)
    return np.sum(similarity * both, axis=-1) / np.maximum(both.sum(axis=-1), 1)


def suppress_duplicates(
    results: list[dict],
    *,
    areas: list[float],
    sigmas: np.ndarray,
    method: str,
    threshold: float,
) -> list[dict]:
    """Suppress results of one image that are of the same person; the order is kept.

    Args:
        results: Entries of a results file.
        areas: Areas of their boxes in square pixels.
        sigmas: (K,) OKS sigmas.
        method: "none" keeps all. "oks" drops results with an OKS above the threshold to a more
            confident one (OKS-NMS, arXiv 1701.01779, section 3.3). "soft" multiplies scores by
            exp(-OKS^2 / sigma) for each more confident result (Soft-NMS, arXiv 1704.04503,
            equation 4).
        threshold: OKS threshold of "oks".
    """
    if method == "none":
        return results
    by_image: dict[int, list[int]] = {}
    for index, result in enumerate(results):
        by_image.setdefault(result["image_id"], []).append(index)
    kept: dict[int, float] = {}
    for indices in by_image.values():
        oks = pairwise_oks([results[i] for i in indices], [areas[i] for i in indices], sigmas)
        scores = np.array([results[i]["score"] for i in indices], float)
        rest = list(range(len(indices)))
        while rest:
            best = max(rest, key=lambda row: scores[row])
            rest.remove(best)
            kept[indices[best]] = float(scores[best])
            if method == "oks":
                rest = [row for row in rest if oks[row, best] <= threshold]
            else:
                scores[rest] *= np.exp(-(oks[rest, best] ** 2) / SOFT_NMS_SIGMA)
    if method == "oks":
        return [results[index] for index in sorted(kept)]
    return [{**results[index], "score": round(kept[index], 4)} for index in sorted(kept)]


# PCK


class Pck(NamedTuple):
    """Percentage of correct keypoints (Yang and Ramanan).

    Attributes:
        norm: The reference length.
        people: Number of people with that length.
        per_keypoint: (K, T) share of each keypoint by threshold; NaN for unlabeled keypoints.
        mean: (T,) share of all labeled keypoints.
    """

    norm: str
    people: int
    per_keypoint: np.ndarray
    mean: np.ndarray


def resolve_pck_norm(skeleton: Skeleton, norm: str) -> str:
    """Resolve "auto": the torso if the skeleton defines it, else the box.

    Raises:
        InputError: For a length that the skeleton does not define.
    """
    is_defined = {
        "torso": skeleton.hips and skeleton.shoulders,
        "head": skeleton.head and skeleton.neck,
        "box": True,
    }
    if norm == "auto":
        return "torso" if is_defined["torso"] else "box"
    if not is_defined[norm]:
        raise InputError(f"--pck_norm={norm}: the keypoints {skeleton.name!r} do not define it")
    return norm


def reference_lengths(
    keypoints: np.ndarray, boxes: np.ndarray, skeleton: Skeleton, norm: str
) -> np.ndarray:
    """Return the reference lengths of people in pixels.

    Args:
        keypoints: (B, K, 3) x, y, visibility.
        boxes: (B, 4) x, y, width, height.
        skeleton: The keypoints' definition.
        norm: "torso": left shoulder to right hip; "head": neck to head top; "box": longer side.

    Returns:
        (B,) float64; NaN where the keypoints are not labeled.
    """
    if norm == "box":
        return boxes[:, 2:].max(axis=1).astype(np.float64)
    if norm == "torso":
        ends = skeleton.shoulders[0], skeleton.hips[1]
    else:
        ends = skeleton.neck[0], skeleton.head[0]
    a, b = (keypoints[:, end].astype(np.float64) for end in ends)
    length = np.linalg.norm(a[:, :2] - b[:, :2], axis=1)
    return np.where((a[:, 2] > 0) & (b[:, 2] > 0) & (length > 0), length, np.nan)


def correct_keypoints(found: np.ndarray, keypoints: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return whether keypoints are correct by threshold.

    Args:
        found: (B, K, 2) x, y; NaN for missed keypoints.
        keypoints: (B, K, 3) annotated.
        lengths: (B,) reference lengths.

    Returns:
        (B, K, T) 0 or 1; NaN for keypoints that do not count.
    """
    error = np.linalg.norm(found - keypoints[..., :2], axis=-1) / lengths[:, None]
    is_correct = error[..., None] <= np.array(PCK_THRESHOLDS)
    counts = (keypoints[..., 2] > 0) & ~np.isnan(lengths)[:, None]
    return np.where(counts[..., None], is_correct, np.nan)


def compute_pck(
    found: np.ndarray,
    keypoints: np.ndarray,
    boxes: np.ndarray,
    *,
    skeleton: Skeleton,
    norm: str = "auto",
    missing_keypoints: tuple[int, ...] = (),
) -> Pck:
    """Compute PCK.

    Args:
        found: (B, K, 2) x, y in the image; NaN for missed keypoints.
        keypoints: (B, K, 3) annotated.
        boxes: (B, 4) x, y, width, height.
        skeleton: The keypoints' definition.
        norm: One of `PCK_NORMS`.
        missing_keypoints: Indices of keypoints that do not count.
    """
    norm = resolve_pck_norm(skeleton, norm)
    lengths = reference_lengths(keypoints, boxes, skeleton, norm)
    if missing_keypoints:
        keypoints = keypoints.copy()
        keypoints[:, list(missing_keypoints), 2] = 0
    is_correct = correct_keypoints(found, keypoints, lengths)
    counted = ~np.isnan(is_correct)
    correct = np.nansum(is_correct, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        per_keypoint = correct / counted.sum(axis=0)
        mean = correct.sum(axis=0) / counted.sum(axis=(0, 1))
    return Pck(norm, int((~np.isnan(lengths)).sum()), per_keypoint, mean)


class Proportion(NamedTuple):
    """A share with its 95% interval, by resampling people.

    Attributes:
        mean: The share.
        low, high: The interval.
        people: Number of people it is based on.
    """

    mean: float
    low: float
    high: float
    people: int


def torso_rotation(keypoints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return the rotation of torsos from upright in degrees: 180 is upside down.

    Args:
        keypoints: (B, K, 3).
        skeleton: The keypoints' definition.

    Returns:
        (B,) float64; NaN for people with an unlabeled hip or shoulder.
    """
    keypoints = keypoints.astype(np.float64)
    hips, shoulders = (keypoints[:, list(i)] for i in (skeleton.hips, skeleton.shoulders))
    known = np.all([(ends[..., 2] > 0).all(axis=1) for ends in (hips, shoulders)], axis=0)
    offset = shoulders[..., :2].mean(axis=1) - hips[..., :2].mean(axis=1)
    degrees = np.degrees(np.arctan2(np.abs(offset[:, 0]), -offset[:, 1]))
    return np.where(known, degrees, np.nan)


def proportion_with_interval(is_correct: np.ndarray, seed: int = 0) -> Proportion:
    """Return the share of correct keypoints of people.

    Args:
        is_correct: (B, K) 0 or 1; NaN for keypoints that do not count.
        seed: Seed of the resampling.
    """
    correct, counted = np.nansum(is_correct, axis=1), (~np.isnan(is_correct)).sum(axis=1)
    correct, counted = correct[counted > 0], counted[counted > 0]
    if not len(correct):
        return Proportion(np.nan, np.nan, np.nan, 0)
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(correct), (_BOOTSTRAP_SAMPLES, len(correct)))
    samples = correct[rows].sum(axis=1) / counted[rows].sum(axis=1)
    low, high = np.percentile(samples, [2.5, 97.5])
    mean = float(correct.sum() / counted.sum())
    return Proportion(mean, float(low), float(high), len(correct))


def pck_by_rotation(is_correct: np.ndarray, rotation: np.ndarray) -> dict[str, Proportion]:
    """Return the share of correct keypoints in each of `ROTATION_GROUPS`.

    Args:
        is_correct: (B, K) 0 or 1; NaN for keypoints that do not count.
        rotation: (B,) degrees.
    """
    return {
        name: proportion_with_interval(is_correct[(rotation >= low) & (rotation < high)])
        for name, (low, high) in ROTATION_GROUPS.items()
    }


# Tables


def format_metric(value: float | None) -> str:
    """Format a metric as .702; "n/a" for None and for COCO's -1, where there is no such person.

    Numbers above 1, such as detections per image, have two decimals.
    """
    if value is None or not value >= 0:
        return "n/a"
    if value > 1:
        return f"{value:.2f}"
    return f"{value:.3f}".replace("0.", ".", 1) if value < 0.9995 else "1.000"


def metrics_table(
    rows: list[tuple[str, dict[str, float | None]]], names: Sequence[str] = LOG_METRICS
) -> str:
    """Return metrics as an aligned Markdown table in the form of tf-cpn's experiment log.

    Args:
        rows: Pairs of an epoch and its metrics. PCK is added where it is known.
        names: Names of the metrics.
    """
    pck = dict.fromkeys(name for _, m in rows for name in m if name.startswith("PCK"))
    names = [*names, *pck]
    width = max([len("epoch"), *(len(label) for label, _ in rows)])
    header = [f"{name:>{max(5, len(name))}}" for name in names]
    lines = [f"| {'epoch':<{width}} | {' | '.join(header)} |"]
    lines.append(f"|{'-' * (width + 2)}|" + "|".join("-" * 7 for _ in names) + "|")
    for label, metrics in rows:
        cells = [f"{format_metric(metrics.get(n)):>{max(5, len(n))}}" for n in names]
        lines.append(f"| {label:<{width}} | {' | '.join(cells)} |")
    return "\n".join(lines)
