"""An evaluation as a Config says it: whom, aligned how, written where."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.base.device import describe_devices, is_chief
from tfcpn.base.files import write_atomically
from tfcpn.base.progress import status
from tfcpn.data.results import result
from tfcpn.evaluation.average_precision import METRICS, coco_metrics
from tfcpn.evaluation.detector import add_detected_points
from tfcpn.evaluation.estimate import aligned_by_first_pass, estimate, region_of_boxes
from tfcpn.evaluation.nms import suppress_duplicates
from tfcpn.evaluation.oks import keypoint_sigmas
from tfcpn.evaluation.pck import NAMES, Pck, pck, resolve_norm
from tfcpn.evaluation.predictor import Predictor
from tfcpn.evaluation.validation_set import ValidationSet, read_validation_set
from tfcpn.parts import Parts
from tfcpn.run.snapshots import INITIAL_EPOCH
from tfcpn.settings.config import FIELDS, REPORTED, Config
from tfcpn.skeleton import Skeleton, to_dict

_SOURCES = {
    "gt": "the annotation, an upper bound",
    "detections": "the detector",
    "two_pass": "a first pass",
}
_SOURCES["detector"] = "MediaPipe's detector"


def read_people(cfg: Config, parts: Parts, annotated: Skeleton) -> ValidationSet:
    """The validation set of a Config. annotated: the keypoints that its file must have."""
    files = cfg.val_annotations, cfg.val_images
    how = {"boxes": cfg.boxes, "source": cfg.align_source, "who": cfg.eval_people}
    people = read_validation_set(*files, annotated, parts.alignment, **how)
    if cfg.align_source != "detector":
        return people
    boxes = add_detected_points(people.boxes, people.image_files, cfg.detector)
    shown = [
        (b, p)
        for b, p in zip(boxes, people.image_files)
        if b.points or cfg.align_missing == "square"
    ]
    boxes, image_files = zip(*shown)
    return replace(people, boxes=boxes, image_files=image_files)


def predict(
    cfg: Config, parts: Parts, people: ValidationSet, predictor: Predictor, label: str
) -> list[dict]:
    """The results file's entries, one for each box."""
    place, size = (people.boxes, people.image_files), predictor.crop_spec.size
    if cfg.align_source == "two_pass":
        how = parts.alignment, parts.skeleton, cfg.first_pass_rotations, cfg.eval_batch_size, label
        regions = aligned_by_first_pass(predictor, *place, *how)
    else:
        regions = region_of_boxes(*place, parts.alignment, size)
    keypoints, scores = estimate(predictor, people.image_files, regions, cfg.eval_batch_size, label)
    annotated, missing_keypoints = people.skeleton.count, parts.codec.missing_keypoints
    found = zip(people.boxes, keypoints[:, :annotated], scores[:, :annotated])
    return [result(*person, people.category, missing_keypoints) for person in found]


def pck_of_results(
    people: ValidationSet, results: list[dict], norm: str, missing_keypoints: tuple[int, ...] = ()
) -> Pck:
    """The PCK of results on annotated boxes. Who counts and was left out is missed. absent: keypoints not to count."""
    place = {box.person: row for row, box in enumerate(people.boxes)}
    missed = np.full((people.skeleton.count, 2), np.nan)
    found = [
        np.reshape(results[place[p.id]]["keypoints"], (-1, 3))[:, :2] if p.id in place else missed
        for p in people.people
    ]
    keypoints, boxes = (
        np.stack([getattr(p, name) for p in people.people]) for name in ("keypoints", "box")
    )
    return pck(np.stack(found), keypoints, boxes, people.skeleton, norm, missing_keypoints)


def _share(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def _pck_report(found: Pck, skeleton: Skeleton) -> dict:
    """What metrics.json tells of a PCK, keypoint by keypoint."""
    shares = {
        keypoint: {name: _share(share) for name, share in zip(NAMES, row)}
        for keypoint, row in zip(skeleton.keypoints, found.per_keypoint)
    }
    return {"normalized_by": found.norm, "people": found.people, "keypoints": shares}


class Evaluation:
    """A validation set and how it is evaluated, for any number of models.

    usual: the Config of the run, from which this evaluation may differ; what does gets a folder of its own.
    """

    def __init__(
        self,
        cfg: Config,
        parts: Parts,
        annotated: Skeleton,
        strategy: tf.distribute.Strategy | None = None,
        usual: Config | None = None,
    ):
        self.cfg, self.parts, self.usual = cfg, parts, usual or cfg
        self.strategy = strategy or tf.distribute.get_strategy()
        resolve_norm(annotated, cfg.pck_norm)
        self.people = read_people(cfg, parts, annotated)
        # Of the last evaluation PCK by keypoint and threshold; empty where there is none.
        self.shares: dict[str, dict[str, float | None]] = {}

    def evaluate(self, predictor: Predictor, epoch: int) -> dict[str, float]:
        """Predict, score, write `eval/epoch_NNNN/results.json` and `metrics.json`; returns COCO's numbers and PCK.

        There is no AP if nobody is labeled, no PCK with a detector's boxes (whose people are nobody's), and nothing
        in processes that are not the first of several.
        """
        cfg, people = self.cfg, self.people
        results = predict(
            cfg, self.parts, people, predictor, f"epoch {epoch} on {len(people.images)} images"
        )
        if not is_chief(self.strategy):
            return {}
        metrics, by_keypoint, everybody = {}, None, results
        sigmas, areas = (
            keypoint_sigmas(people.skeleton),
            [box.box[2] * box.box[3] for box in people.boxes],
        )
        results = suppress_duplicates(everybody, areas, sigmas, cfg.result_nms, cfg.nms_oks)
        kind = people.skeleton, people.category, self.parts.codec.missing_keypoints
        if people.labeled:
            with status("scoring"):
                metrics = coco_metrics(cfg.val_annotations, results, people.counted, *kind)
        if cfg.boxes == "gt":
            found = pck_of_results(
                people, everybody, cfg.pck_norm, self.parts.codec.missing_keypoints
            )
            metrics |= {name: _share(share) for name, share in zip(NAMES, found.mean)}
            by_keypoint = _pck_report(found, people.skeleton)
            self.shares = by_keypoint["keypoints"]
        words = variant(cfg, self.usual) + (first_weights(cfg) if epoch == INITIAL_EPOCH else "")
        folder = Path(cfg.model_dir) / "eval" / f"epoch_{epoch:04d}{words}"
        report = {
            "experiment": cfg.experiment,
            "epoch": epoch,
            **dict.fromkeys(METRICS),
            **metrics,
            "pck": by_keypoint,
            "people": people.labeled,
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
        """What decides how many crops several processes predict together, and of whom; JSON can hold it."""
        cfg = self.cfg
        how = [
            cfg.flip_test,
            cfg.align_source,
            cfg.first_pass_rotations,
            cfg.eval_batch_size,
            cfg.decoder,
        ]
        # Whether there are points, not where: a detector's last bits are its processor's.
        return [[[box.image_id, box.box, box.points is not None] for box in self.people.boxes], how]

    def describe(self) -> str:
        """What was evaluated, in one line."""
        cfg, people = self.cfg, self.people
        boxes = "ground-truth boxes" if cfg.boxes == "gt" else cfg.boxes
        parts = [
            f"{len(people.counted)} of {people.labeled} labeled people count",
            f"{len(people.boxes)} boxes ({boxes})",
            "flip test" if cfg.flip_test else "no flip test",
        ]
        if self.parts.alignment.uses_points:
            parts.append(f"alignment points from {_SOURCES[cfg.align_source]}")
        if cfg.align_source == "detector":
            parts.append(f"which found {sum(b.points is not None for b in people.boxes)}")
        missing_keypoints = [
            people.skeleton.keypoints[keypoint] for keypoint in self.parts.codec.missing_keypoints
        ]
        if missing_keypoints:
            parts.append(f"without {', '.join(missing_keypoints)}, which the network does not have")
        if people.labeled and people.skeleton.sigmas is None:
            parts.append("every keypoint with COCO's mean tolerance, for want of the set's own")
        return f"{cfg.experiment}: {', '.join(parts)}"


def _digest(path: str) -> str:
    return f"{Path(path).stem}-{zlib.crc32(Path(path).read_bytes()):08x}"


def _same_file(a: str, b: str) -> bool:
    return os.path.realpath(a) == os.path.realpath(b)


def first_weights(cfg: Config) -> str:
    """What sets apart evaluations of weights that no run has trained, which may all lie in one folder."""
    words = [
        _digest(file) for file in (cfg.init_weights, cfg.val_annotations) if os.path.isfile(file)
    ]
    return "".join(f"_{word}" for word in [*words, cfg.align])


def variant(cfg: Config, usual: Config) -> str:
    """What sets the folder of an evaluation apart from that of the run's usual one; empty for the usual one.

    Files go by name and content, so that two of the same name do not share a folder.
    """
    words = []
    if not _same_file(cfg.val_annotations, usual.val_annotations):
        words.append(_digest(cfg.val_annotations))
    if not _same_file(cfg.val_images, usual.val_images):
        place = os.path.realpath(cfg.val_images)
        words.append(f"{Path(place).name}-{zlib.crc32(place.encode()):08x}")
    if cfg.boxes != "gt":
        words.append(_digest(cfg.boxes))
    if not cfg.flip_test:
        words.append("noflip")
    if cfg.align == "blazepose" and cfg.align_missing == "drop":
        words.append("drop")
    if cfg.align_source != "gt":
        words.append(
            cfg.align_source
            + (f"{cfg.first_pass_rotations}" if cfg.first_pass_rotations > 1 else "")
        )
    if cfg.align_source == "detector" and not _same_file(cfg.detector, FIELDS["detector"].default):
        words.append(_digest(cfg.detector))
    if cfg.eval_people != "all":
        words.append(cfg.eval_people)
    if cfg.refine_landmarks:
        words.append("refined")
    if cfg.decoder != "tf_cpn":
        words.append(cfg.decoder)
    if cfg.result_nms != "none":
        words.append(
            f"{cfg.result_nms}-nms" + (f"{cfg.nms_oks:g}" if cfg.result_nms == "oks" else "")
        )
    if cfg.pck_norm != usual.pck_norm:
        words.append(f"pck-{cfg.pck_norm}")
    if cfg.mixed_precision != usual.mixed_precision:
        words.append(cfg.mixed_precision)
    return "".join(f"_{word}" for word in words)
