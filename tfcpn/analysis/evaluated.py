"""An evaluation's folder read again: its results, whose they are, and what is wrong with them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tfcpn.analysis.errors import KEYPOINT_KINDS, error_types_of, gains
from tfcpn.analysis.groups import groups
from tfcpn.analysis.matching import Match, matches
from tfcpn.base.errors import InputError
from tfcpn.data.coco import CocoImage, Person, read_annotations
from tfcpn.data.detections import PersonBox, read_detections
from tfcpn.data.json_input import read_json
from tfcpn.evaluation.average_precision import coco_metrics
from tfcpn.evaluation.oks import keypoint_sigmas, keypoint_similarity
from tfcpn.evaluation.pck import THRESHOLDS, correct_keypoints, reference_lengths, resolve_norm
from tfcpn.geometry.points import has_alignment_keypoints
from tfcpn.report.runs import SETTINGS, what
from tfcpn.run import config_file
from tfcpn.skeleton import Skeleton, from_dict


@dataclass(frozen=True)
class LoadedEvaluation:
    """name: how the page calls it. people: who count, without keypoints that the network does not have. everybody: all
    of the file. absent: numbers of keypoints that no result has. sure: the detector's score of each person, by id; None
    for annotated boxes. folder_of_images: where the images may lie.
    """

    name: str
    metrics: dict
    annotations: str
    results: list[dict]
    images: dict[int, CocoImage]
    people: list[Person]
    everybody: list[Person]
    skeleton: Skeleton
    category: int
    missing_keypoints: tuple[int, ...]
    found: list[Match]
    missed: list[Person]
    folder_of_images: str
    sure: dict[int, float] | None

    def average_precision(self, results: list[dict], counted: set[int] | None = None) -> float:
        """AP of results on the people of these ids; None: on all who count. -1 where there is nobody."""
        counted = {p.id for p in self.people} if counted is None else counted
        kind = self.skeleton, self.category, self.missing_keypoints
        return coco_metrics(self.annotations, results, frozenset(counted), *kind)["AP"]

    @cached_property
    def kinds(self) -> dict[int, list[str]]:
        """As `errors.kinds_of`."""
        return error_types_of(self.found, self.everybody, self.skeleton)

    @cached_property
    def gains(self) -> dict[str, float]:
        """As `errors.gains`."""
        return gains(self.results, self.found, self.missed, self.kinds, self.average_precision)

    @cached_property
    def groups(self) -> dict[str, dict[str, set[int]]]:
        """As `groups.groups`."""
        return groups(self.people, self.everybody, self.skeleton, self.sure)

    @cached_property
    def by_keypoint(self) -> list[dict]:
        """Of each keypoint its name, how many have it labeled, mean similarity and PCK, and how many of each kind."""
        sigmas, rows = keypoint_sigmas(self.skeleton), []
        of = [m for m in self.found if m.person is not None]
        whose = [m.person for m in of] + self.missed
        keypoints = np.stack(
            [m.keypoints for m in of]
            + [np.full((self.skeleton.num_annotated, 2), np.nan)] * len(self.missed)
        )
        truth = np.stack([p.keypoints for p in whose])
        norm = resolve_norm(self.skeleton, self.metrics.get("settings", {}).get("pck_norm", "auto"))
        hit = correct_keypoints(
            keypoints,
            truth,
            reference_lengths(truth, np.array([p.box for p in whose]), self.skeleton, norm),
        )
        for keypoint in range(self.skeleton.num_annotated):
            seen = truth[:, keypoint, 2] > 0
            areas = np.array([p.area for p in whose])
            alike = keypoint_similarity(
                keypoints[:, keypoint], truth[:, keypoint, :2], areas, sigmas[keypoint]
            )
            kinds = [kinds[keypoint] for kinds in self.kinds.values()]
            row = {"keypoint": self.skeleton.keypoints[keypoint], "labeled": int(seen.sum())}
            row["similarity"] = float(np.nan_to_num(alike[seen]).mean()) if seen.any() else None
            for place, threshold in enumerate(THRESHOLDS):
                column = hit[:, keypoint, place]
                row[f"PCK@{threshold:g}"] = (
                    float(np.nanmean(column)) if (~np.isnan(column)).any() else None
                )
            rows.append(row | {kind: kinds.count(kind) for kind in KEYPOINT_KINDS})
        return rows


def read_evaluation(folder: Path, images: str = "") -> LoadedEvaluation:
    """An evaluation's folder, RUN/eval/epoch_NNNN. images: folder of the images, instead of the run's own.

    Raises InputError for one that is none, or on people whom nobody has labeled.
    """
    metrics, results = (read_json(folder / name) for name in ("metrics.json", "results.json"))
    settings = metrics.get("settings", {}) if isinstance(metrics, dict) else {}
    if "val_annotations" not in settings or not isinstance(results, list):
        raise InputError(f"{folder}: is no evaluation of tfcpn.eval")
    annotations = settings["val_annotations"]
    skeleton = resolve_skeleton(folder, metrics)
    coco_images, everybody, skeleton, category = read_annotations(annotations, expected=skeleton)
    _check(folder, metrics, results, coco_images, skeleton.count)
    keypoints = [np.reshape(result["keypoints"], (-1, 3))[:, 2] > 0 for result in results]
    missing_keypoints = (
        tuple(np.flatnonzero(~np.any(keypoints, axis=0)).tolist()) if keypoints else ()
    )
    everybody = [_without(person, missing_keypoints) for person in everybody]
    people = [person for person in everybody if person.trainable]
    if settings.get("eval_people") == "alignable" and people:
        known = has_alignment_keypoints(
            np.stack([p.keypoints for p in people]), skeleton, settings.get("align_radius", "body")
        )
        people = [person for person, is_known in zip(people, known.numpy()) if is_known]
    if not people:
        raise InputError(
            f"{annotations}: nobody is labeled, so there is nothing to compare {folder} with"
        )
    counted = {person.id for person in people}
    found, missed = matches(
        results, people, skeleton, [p for p in everybody if p.id not in counted]
    )
    sure = None
    if settings.get("boxes", "gt") != "gt":
        try:
            sure = _detector_scores(
                read_detections(settings["boxes"], coco_images, category), results, found
            )
        except InputError:
            sure = None  # the file is elsewhere now; one table goes without it
    name = f"{metrics['experiment']}, epoch {metrics['epoch']}, {what(metrics)}"
    kind = (
        annotations,
        results,
        coco_images,
        people,
        everybody,
        skeleton,
        category,
        missing_keypoints,
        found,
        missed,
    )
    return LoadedEvaluation(
        name, metrics, *kind, images or settings.get("val_images") or _images_of(folder), sure
    )


def resolve_skeleton(folder: Path, metrics: dict) -> Skeleton | None:
    """Return the keypoints that an evaluation was made with, with their own pairs, roles and tolerances.

    Args:
        folder: RUN/eval/epoch_NNNN.
        metrics: The content of its metrics.json. Where an older one does not tell, the run's config.json does.

    Returns:
        None if neither tells, and the annotation file has to.
    """
    try:
        kept = metrics.get("keypoints", metrics.get("joints"))  # 1.x: joints
        if kept is not None:
            return from_dict(kept)
    except (TypeError, AttributeError) as error:
        raise InputError(f"{folder}/metrics.json: keypoints is damaged ({error})") from error
    run = folder.parent.parent
    return config_file.load(str(run)).skeleton if (run / config_file.FILE).exists() else None


def _check(folder: Path, metrics: dict, results: list, images: dict, keypoints: int) -> None:
    """Raise InputError for metrics or results that are not those of an evaluation on these images and keypoints."""
    lacking = {"experiment", "epoch", "settings"} - set(metrics)
    lacking |= SETTINGS - set(metrics.get("settings", ()))
    if lacking:
        raise InputError(f"{folder}/metrics.json: lacks {', '.join(sorted(lacking))}")
    for number, result in enumerate(results):
        where = f"{folder}/results.json: entry {number}"
        fields = {"image_id", "category_id", "keypoints", "score"}
        if not isinstance(result, dict) or not fields <= set(result):
            raise InputError(f"{where} is not a result of tfcpn.eval")
        if result["image_id"] not in images:
            raise InputError(
                f"{where} is on image {result['image_id']}, which the annotations no longer have"
            )
        if not isinstance(result["keypoints"], list) or len(result["keypoints"]) != 3 * keypoints:
            raise InputError(
                f"{where}: its keypoints are not the {keypoints} of the annotations; evaluate again"
            )


def _detector_scores(
    boxes: list[PersonBox], results: list[dict], found: list[Match]
) -> dict[int, float] | None:
    """By a person's id the score of the box in which it was found; None where boxes and results do not fit."""
    given: dict[int, list[float]] = {}
    for box in boxes:
        given.setdefault(box.image_id, []).append(box.score)
    if Counter(result["image_id"] for result in results) != Counter(box.image_id for box in boxes):
        return None
    # Both are in the file's order within an image.
    score = {place: given[result["image_id"]].pop(0) for place, result in enumerate(results)}
    return {match.person.id: score[match.result] for match in found if match.person is not None}


def _without(person: Person, missing_keypoints: tuple[int, ...]) -> Person:
    if not missing_keypoints:
        return person
    keypoints = person.keypoints.copy()
    keypoints[list(missing_keypoints), 2] = 0
    return dataclasses.replace(
        person, keypoints=keypoints, num_keypoints=int((keypoints[:, 2] > 0).sum())
    )


def _images_of(folder: Path) -> str:
    """Where the run of an evaluation's folder has its images; empty where no run lives."""
    try:
        return config_file.load(str(folder.parent.parent)).config.val_images
    except InputError:
        return ""
