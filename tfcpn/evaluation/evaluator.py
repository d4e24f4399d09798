"""Evaluate a model on a validation set and write the COCO results and metrics."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.builders import Components
from tfcpn.checkpoints.detectors import is_detector_run, read_detector_bytes
from tfcpn.checkpoints.manager import INITIAL_EPOCH
from tfcpn.checkpoints.transfer import find_source
from tfcpn.config import EVALUATION, FIELDS, REPORTED, Config
from tfcpn.data.detections import coco_result
from tfcpn.evaluation.estimate import estimate, regions_by_first_pass, regions_of_boxes
from tfcpn.evaluation.eval_dataset import ValidationSet, add_detected_points, read_validation_set
from tfcpn.evaluation.metrics import (
    COCO_METRICS,
    PCK_NAMES,
    Pck,
    coco_metrics,
    compute_pck,
    keypoint_sigmas,
    resolve_pck_norm,
    suppress_duplicates,
)
from tfcpn.evaluation.predictor import Predictor
from tfcpn.skeleton import Skeleton, to_dict
from tfcpn.utils.console import status
from tfcpn.utils.device import describe_devices, is_chief
from tfcpn.utils.files import write_atomically

_POINT_SOURCES = {
    "gt": "the annotation, an upper bound",
    "detections": "the detector",
    "two_pass": "a first pass",
    "detector": "MediaPipe's detector",
}


def validation_set_of(cfg: Config, components: Components, annotated: Skeleton) -> ValidationSet:
    """Read the validation set of a Config.

    Args:
        cfg: The settings.
        components: The components of the run.
        annotated: Keypoints that the annotation file must have.
    """
    people = read_validation_set(
        cfg.val_annotations,
        cfg.val_images,
        skeleton=annotated,
        alignment=components.alignment,
        boxes=cfg.boxes,
        source=cfg.align_source,
        subset=cfg.eval_people,
        strict=cfg.strict,
    )
    if cfg.align_source != "detector":
        return people
    boxes = add_detected_points(people.boxes, people.image_files, cfg.detector)
    kept = [
        (box, image_file)
        for box, image_file in zip(boxes, people.image_files)
        if box.points or cfg.align_missing == "square"
    ]
    boxes, image_files = zip(*kept)
    return replace(people, boxes=boxes, image_files=image_files)


def predict(
    cfg: Config, components: Components, people: ValidationSet, predictor: Predictor, label: str
) -> list[dict]:
    """Return the entries of the results file, one for each box.

    Args:
        cfg: The settings.
        components: The components of the run.
        people: The validation set.
        predictor: Predicts crops.
        label: Label of the progress bar.
    """
    boxes, image_files = people.boxes, people.image_files
    if cfg.align_source == "two_pass":
        regions = regions_by_first_pass(
            predictor,
            boxes,
            image_files,
            alignment=components.alignment,
            skeleton=components.skeleton,
            rotations=cfg.first_pass_rotations,
            batch_size=cfg.eval_batch_size,
            label=label,
        )
    else:
        size = predictor.crop_spec.size
        regions = regions_of_boxes(boxes, image_files, components.alignment, size)
    keypoints, scores = estimate(predictor, image_files, regions, cfg.eval_batch_size, label)
    count = people.skeleton.num_keypoints
    return [
        coco_result(
            box,
            keypoints=person,
            scores=person_scores,
            category=people.category,
            missing_keypoints=components.codec.missing_keypoints,
        )
        for box, person, person_scores in zip(boxes, keypoints[:, :count], scores[:, :count])
    ]


def pck_of_results(
    people: ValidationSet, results: list[dict], norm: str, missing_keypoints: tuple[int, ...] = ()
) -> Pck:
    """Return the PCK of results on annotated boxes; people without a result are missed.

    Args:
        people: The validation set.
        results: A result for each of its boxes.
        norm: Reference length.
        missing_keypoints: Indices of keypoints that do not count.
    """
    row_of = {box.annotation_id: row for row, box in enumerate(people.boxes)}
    missed = np.full((people.skeleton.num_keypoints, 2), np.nan)
    found = [
        np.reshape(results[row_of[person.id]]["keypoints"], (-1, 3))[:, :2]
        if person.id in row_of
        else missed
        for person in people.people
    ]
    return compute_pck(
        np.stack(found),
        np.stack([person.keypoints for person in people.people]),
        np.stack([person.box for person in people.people]),
        skeleton=people.skeleton,
        norm=norm,
        missing_keypoints=missing_keypoints,
    )


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


class Evaluator:
    """A validation set and how it is evaluated, for any number of models.

    Attributes:
        people: The validation set.
        pck_by_keypoint: PCK of the last evaluation by keypoint and threshold; {} if there is none.
    """

    metric_names = (*COCO_METRICS, *PCK_NAMES)

    def __init__(
        self,
        cfg: Config,
        components: Components,
        annotated: Skeleton,
        strategy: tf.distribute.Strategy | None = None,
        run_config: Config | None = None,
    ):
        """Read the validation set.

        Args:
            cfg: The settings.
            components: The components of the run.
            annotated: Keypoints that the annotation file must have.
            strategy: The strategy of the models.
            run_config: Settings of the run. An evaluation that differs from them gets an output
                folder of its own.
        """
        self.cfg, self.components, self.run_config = cfg, components, run_config or cfg
        self.strategy = strategy or tf.distribute.get_strategy()
        resolve_pck_norm(annotated, cfg.pck_norm)
        self.people = validation_set_of(cfg, components, annotated)
        self.pck_by_keypoint: dict[str, dict[str, float | None]] = {}

    def evaluate(self, predictor: Predictor, epoch: int) -> dict[str, float | None]:
        """Predict, score, and write `eval/epoch_NNNN/results.json` and `metrics.json`.

        Args:
            predictor: Predicts crops.
            epoch: Epoch of its weights.

        Returns:
            COCO's metrics and PCK. No AP if there are no labels, no PCK with a detector's boxes,
            which are not matched to people, and nothing in processes that are not the chief.
        """
        cfg, people, missing = self.cfg, self.people, self.components.codec.missing_keypoints
        label = f"epoch {epoch} on {len(people.images)} images"
        all_results = predict(cfg, self.components, people, predictor, label)
        if not is_chief(self.strategy):
            return {}
        results = suppress_duplicates(
            all_results,
            areas=[box.box[2] * box.box[3] for box in people.boxes],
            sigmas=keypoint_sigmas(people.skeleton),
            method=cfg.result_nms,
            threshold=cfg.nms_oks,
        )
        metrics, pck_report = {}, None
        if people.num_labeled:
            with status("scoring"):
                metrics = coco_metrics(
                    people.annotated,
                    results,
                    counted=people.counted,
                    missing_keypoints=missing,
                )
        if cfg.boxes == "gt":
            pck = pck_of_results(people, all_results, cfg.pck_norm, missing)
            metrics |= {name: _rounded(value) for name, value in zip(PCK_NAMES, pck.mean)}
            self.pck_by_keypoint = {
                name: {key: _rounded(value) for key, value in zip(PCK_NAMES, row)}
                for name, row in zip(people.skeleton.keypoints, pck.per_keypoint)
            }
            pck_report = {"normalized_by": pck.norm, "people": pck.people}
            pck_report["keypoints"] = self.pck_by_keypoint
        suffix = output_suffix(cfg, self.run_config)
        if epoch == INITIAL_EPOCH:
            suffix += initial_weights_suffix(cfg)
        folder = Path(cfg.model_dir) / "eval" / f"epoch_{epoch:04d}{suffix}"
        report = {
            "experiment": cfg.experiment,
            "epoch": epoch,
            **dict.fromkeys(COCO_METRICS),
            **metrics,
            "pck": pck_report,
            "people": people.num_labeled,
            "people_counted": len(people.counted),
            "boxes_evaluated": len(people.boxes),
            "images": len(people.images),
            "keypoints": to_dict(people.skeleton),
            "device": describe_devices(),
            "replicas": self.strategy.num_replicas_in_sync,
            "settings": {name: getattr(cfg, name) for name in REPORTED},
        }
        write_atomically(folder / "results.json", json.dumps(results))
        write_atomically(folder / "metrics.json", json.dumps(report, indent=2) + "\n")
        return metrics

    def shared_work(self) -> list:
        """Return what decides which crops several processes predict together, for comparison."""
        cfg = self.cfg
        settings = [
            cfg.flip_test,
            cfg.align_source,
            cfg.first_pass_rotations,
            cfg.eval_batch_size,
            cfg.decoder,
        ]
        # Whether there are points, not where: a detector's last bits depend on the processor.
        boxes = [[box.image_id, box.box, box.points is not None] for box in self.people.boxes]
        return [boxes, settings]

    def describe(self) -> str:
        """Return a line that describes the evaluation."""
        cfg, people = self.cfg, self.people
        boxes = "ground-truth boxes" if cfg.boxes == "gt" else cfg.boxes
        parts = [
            f"{len(people.counted)} of {people.num_labeled} labeled people count",
            f"{len(people.boxes)} boxes ({boxes})",
            "flip test" if cfg.flip_test else "no flip test",
        ]
        if self.components.alignment.uses_points:
            parts.append(f"alignment points from {_POINT_SOURCES[cfg.align_source]}")
        if cfg.align_source == "detector":
            found = sum(box.points is not None for box in people.boxes)
            parts.append(f"which found {found}")
        missing = [people.skeleton.keypoints[i] for i in self.components.codec.missing_keypoints]
        if missing:
            parts.append(f"without {', '.join(missing)}, which the network does not have")
        if people.num_labeled and people.skeleton.sigmas is None:
            parts.append("COCO's mean tolerance for every keypoint, as the dataset has none")
        return f"{cfg.experiment}: {', '.join(parts)}"


def inherited_settings(cfg: Config, explicit: set[str]) -> str:
    """Return a line with the evaluation settings taken from the run; "" if all are defaults.

    Args:
        cfg: The settings of the evaluation.
        explicit: Names of the flags that were set.
    """
    names = [name for name, field in FIELDS.items() if field.metadata["in_eval"]]
    names.sort(key=lambda name: FIELDS[name].metadata["group"] != EVALUATION)
    flags = [
        f"--{name}={getattr(cfg, name)}"
        for name in names
        if name not in (*explicit, "epoch", "strategy", "detector")
        and getattr(cfg, name) != FIELDS[name].default
    ]
    return f"as the run was validated: {' '.join(flags)}\n" if flags else ""


def _digest(path: str) -> str:
    is_run = is_detector_run(path)
    content = read_detector_bytes(path) if is_run else Path(path).read_bytes()
    return f"{Path(path).stem}-{zlib.crc32(content):08x}"


def _is_same_file(a: str, b: str) -> bool:
    return os.path.realpath(a) == os.path.realpath(b)


def initial_weights_suffix(cfg: Config) -> str:
    """Return the part of an output folder's name that identifies initial weights."""
    words = []
    if os.path.isdir(cfg.init_weights):
        index = find_source(cfg.init_weights).index_file
        words.append(
            f"{Path(cfg.init_weights).resolve().name}-{zlib.crc32(index.read_bytes()):08x}"
        )
    files = [file for file in (cfg.init_weights, cfg.val_annotations) if os.path.isfile(file)]
    return "".join(f"_{word}" for word in [*words, *map(_digest, files), cfg.align])


def output_suffix(cfg: Config, run_config: Config) -> str:
    """Return the part of an output folder's name that identifies how it differs from the run.

    Files are identified by name and content, so that two of the same name do not share a folder.

    Args:
        cfg: The settings of the evaluation.
        run_config: The settings of the run.
    """
    words = []
    if not _is_same_file(cfg.val_annotations, run_config.val_annotations):
        words.append(_digest(cfg.val_annotations))
    if not _is_same_file(cfg.val_images, run_config.val_images):
        place = os.path.realpath(cfg.val_images)
        words.append(f"{Path(place).name}-{zlib.crc32(place.encode()):08x}")
    if cfg.boxes != "gt":
        words.append(_digest(cfg.boxes))
    if not cfg.flip_test:
        words.append("noflip")
    if cfg.align == "blazepose" and cfg.align_missing == "drop":
        words.append("drop")
    if cfg.align_source != "gt":
        rotations = cfg.first_pass_rotations
        words.append(cfg.align_source + (f"{rotations}" if rotations > 1 else ""))
    is_default = _is_same_file(cfg.detector, FIELDS["detector"].default)
    if cfg.align_source == "detector" and not is_default:
        words.append(_digest(cfg.detector))
    if cfg.eval_people != "all":
        words.append(cfg.eval_people)
    if cfg.refine_landmarks:
        words.append("refined")
    if cfg.decoder != "tf_cpn":
        words.append(cfg.decoder)
    if cfg.result_nms != "none":
        threshold = f"{cfg.nms_oks:g}" if cfg.result_nms == "oks" else ""
        words.append(f"{cfg.result_nms}-nms{threshold}")
    if cfg.pck_norm != run_config.pck_norm:
        words.append(f"pck-{cfg.pck_norm}")
    if cfg.mixed_precision != run_config.mixed_precision:
        words.append(cfg.mixed_precision)
    return "".join(f"_{word}" for word in words)
