"""An evaluation's folder, loaded: results, matched people and error types."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tfcpn.analysis.errors import KEYPOINT_KINDS, Match, error_types_of, gains, groups, matches
from tfcpn.analysis.run_table import SETTINGS, describe_evaluation
from tfcpn.checkpoints import run_config
from tfcpn.data.coco import Annotations, CocoImage, PersonAnnotation, read_annotations
from tfcpn.data.detections import PersonBox, read_detections
from tfcpn.evaluation.metrics import (
    PCK_THRESHOLDS,
    coco_metrics,
    correct_keypoints,
    keypoint_sigmas,
    keypoint_similarity,
    reference_lengths,
    resolve_pck_norm,
)
from tfcpn.skeleton import Skeleton, from_dict
from tfcpn.transforms.regions import has_alignment_keypoints
from tfcpn.utils.errors import InputError
from tfcpn.utils.json_io import read_json


@dataclass(frozen=True)
class LoadedEvaluation:
    """An evaluation, its annotations, and which result belongs to which person.

    Attributes:
        name: Name on the page.
        metrics: Content of metrics.json.
        annotations: Name of the annotation file.
        annotated: Its content.
        results: Entries of results.json.
        images: Images by id.
        people: People who count, without keypoints that the network does not have.
        all_people: All people of the annotations.
        skeleton: Their keypoints.
        missing_keypoints: Indices of keypoints that the network does not have.
        found: Matches of the results.
        missed: People without a result.
        image_dir: Folder of the images.
        detector_scores: Detector's score of each person's box by annotation id; None if unknown.
    """

    name: str
    metrics: dict
    annotations: str
    annotated: Annotations
    results: list[dict]
    images: dict[int, CocoImage]
    people: list[PersonAnnotation]
    all_people: list[PersonAnnotation]
    skeleton: Skeleton
    missing_keypoints: tuple[int, ...]
    found: list[Match]
    missed: list[PersonAnnotation]
    image_dir: str
    detector_scores: dict[int, float] | None

    def average_precision(self, results: list[dict], counted: set[int] | None = None) -> float:
        """Return the AP of results on some people; None: all counted. -1 if there are none."""
        counted = {p.id for p in self.people} if counted is None else counted
        metrics = coco_metrics(
            self.annotated,
            results,
            counted=frozenset(counted),
            missing_keypoints=self.missing_keypoints,
        )
        return metrics["AP"]

    @cached_property
    def kinds(self) -> dict[int, list[str]]:
        """Error types by result, see `error_types_of`."""
        return error_types_of(self.found, self.all_people, self.skeleton)

    @cached_property
    def gains(self) -> dict[str, float]:
        """AP that correcting each error type would gain, see `errors.gains`."""
        return gains(self.results, self.found, self.missed, self.kinds, self.average_precision)

    @cached_property
    def groups(self) -> dict[str, dict[str, set[int]]]:
        """Groups of people, see `errors.groups`."""
        return groups(self.people, self.all_people, self.skeleton, self.detector_scores)

    @cached_property
    def by_keypoint(self) -> list[dict]:
        """Row of each keypoint: labeled people, mean similarity, PCK and counts of error types."""
        sigmas, rows = keypoint_sigmas(self.skeleton), []
        of = [m for m in self.found if m.person is not None]
        whose = [m.person for m in of] + self.missed
        keypoints = np.stack(
            [m.keypoints for m in of]
            + [np.full((self.skeleton.num_annotated, 2), np.nan)] * len(self.missed)
        )
        truth = np.stack([p.keypoints for p in whose])
        norm = resolve_pck_norm(
            self.skeleton, self.metrics.get("settings", {}).get("pck_norm", "auto")
        )
        hit = correct_keypoints(
            keypoints,
            truth,
            reference_lengths(truth, np.array([p.box for p in whose]), self.skeleton, norm),
        )
        for keypoint in range(self.skeleton.num_annotated):
            seen = truth[:, keypoint, 2] > 0
            areas = np.array([p.area for p in whose])
            similarity = keypoint_similarity(
                keypoints[:, keypoint], truth[:, keypoint, :2], areas, sigmas[keypoint]
            )
            kinds = [kinds[keypoint] for kinds in self.kinds.values()]
            row = {"keypoint": self.skeleton.keypoints[keypoint], "labeled": int(seen.sum())}
            row["similarity"] = (
                float(np.nan_to_num(similarity[seen]).mean()) if seen.any() else None
            )
            for place, threshold in enumerate(PCK_THRESHOLDS):
                column = hit[:, keypoint, place]
                row[f"PCK@{threshold:g}"] = (
                    float(np.nanmean(column)) if (~np.isnan(column)).any() else None
                )
            rows.append(row | {kind: kinds.count(kind) for kind in KEYPOINT_KINDS})
        return rows


def read_evaluation(folder: Path, images: str = "") -> LoadedEvaluation:
    """Read an evaluation's folder.

    Args:
        folder: RUN/eval/epoch_NNNN.
        images: Folder of the images; "" for that of the run.

    Raises:
        InputError: If it is no evaluation, or has no labeled people.
    """
    metrics, results = (read_json(folder / name) for name in ("metrics.json", "results.json"))
    settings = metrics.get("settings", {}) if isinstance(metrics, dict) else {}
    if "val_annotations" not in settings or not isinstance(results, list):
        raise InputError(f"{folder}: is not an evaluation of tfcpn.eval")
    annotations = settings["val_annotations"]
    skeleton = resolve_skeleton(folder, metrics)
    image_dir = images or settings.get("val_images") or _images_of(folder)
    annotated = read_annotations(annotations, expected=skeleton, image_dir=image_dir)
    coco_images, all_people, skeleton = annotated.images, annotated.people, annotated.skeleton
    _check(folder, metrics, results, coco_images, skeleton.num_keypoints)
    keypoints = [np.reshape(result["keypoints"], (-1, 3))[:, 2] > 0 for result in results]
    missing_keypoints = (
        tuple(np.flatnonzero(~np.any(keypoints, axis=0)).tolist()) if keypoints else ()
    )
    all_people = [_without(person, missing_keypoints) for person in all_people]
    people = [person for person in all_people if person.trainable]
    if settings.get("eval_people") == "alignable" and people:
        known = has_alignment_keypoints(
            np.stack([p.keypoints for p in people]), skeleton, settings.get("align_radius", "body")
        )
        people = [person for person, is_known in zip(people, known.numpy()) if is_known]
    if not people:
        raise InputError(f"{annotations}: no person is labeled, so {folder} cannot be compared")
    counted = {person.id for person in people}
    found, missed = matches(
        results, people, skeleton, [p for p in all_people if p.id not in counted]
    )
    detector_scores = None
    if settings.get("boxes", "gt") != "gt":
        try:
            detector_scores = _detector_scores(
                read_detections(settings["boxes"], coco_images, annotated.categories),
                results,
                found,
            )
        except InputError:
            detector_scores = None  # the file is elsewhere now; one table goes without it
    name = f"{metrics['experiment']}, epoch {metrics['epoch']}, {describe_evaluation(metrics)}"
    kind = (
        annotations,
        annotated,
        results,
        coco_images,
        people,
        all_people,
        skeleton,
        missing_keypoints,
        found,
        missed,
    )
    return LoadedEvaluation(
        name,
        metrics,
        *kind,
        image_dir,
        detector_scores,
    )


def resolve_skeleton(folder: Path, metrics: dict) -> Skeleton | None:
    """Return the keypoints of an evaluation, with their pairs, roles and tolerances.

    Args:
        folder: RUN/eval/epoch_NNNN.
        metrics: Content of its metrics.json. Older ones have no keypoints; then those of the run's
            config.json are returned.

    Returns:
        None if neither file has them.
    """
    try:
        kept = metrics.get("keypoints", metrics.get("joints"))  # 1.x: joints
        if kept is not None:
            return from_dict(kept)
    except (TypeError, AttributeError) as error:
        raise InputError(f"{folder}/metrics.json: keypoints is damaged ({error})") from error
    run = folder.parent.parent
    return run_config.load_run(str(run)).skeleton if (run / run_config.FILE).exists() else None


def _check(folder: Path, metrics: dict, results: list, images: dict, keypoints: int) -> None:
    """Raise InputError unless metrics and results fit the images and keypoints."""
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
    """Return the detector's score by annotation id; None if boxes and results do not match."""
    given: dict[int, list[float]] = {}
    for box in boxes:
        given.setdefault(box.image_id, []).append(box.score)
    if Counter(result["image_id"] for result in results) != Counter(box.image_id for box in boxes):
        return None
    # Both are in the file's order within an image.
    score = {place: given[result["image_id"]].pop(0) for place, result in enumerate(results)}
    return {match.person.id: score[match.result] for match in found if match.person is not None}


def _without(person: PersonAnnotation, missing_keypoints: tuple[int, ...]) -> PersonAnnotation:
    if not missing_keypoints:
        return person
    keypoints = person.keypoints.copy()
    keypoints[list(missing_keypoints), 2] = 0
    return dataclasses.replace(
        person, keypoints=keypoints, num_keypoints=int((keypoints[:, 2] > 0).sum())
    )


def _images_of(folder: Path) -> str:
    """Return the images folder of the run of an evaluation; "" if there is no run."""
    try:
        return run_config.load_run(str(folder.parent.parent)).config.val_images
    except InputError:
        return ""
