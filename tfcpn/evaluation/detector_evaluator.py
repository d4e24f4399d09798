"""Evaluate a detector on a validation set: its people, and AP of their boxes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.builders import Components
from tfcpn.checkpoints.manager import INITIAL_EPOCH
from tfcpn.config import REPORTED, Config
from tfcpn.data.coco import read_annotations
from tfcpn.data.images import find_images, read_image
from tfcpn.evaluation.detection_metrics import (
    DETECTION_METRICS,
    detect_people,
    detection_table,
    detections_of,
    people_to_find,
)
from tfcpn.evaluation.evaluator import initial_weights_suffix, output_suffix
from tfcpn.evaluation.metrics import COCO_METRICS, box_metrics
from tfcpn.models.blazepose.detector import PoseDetector, body_box
from tfcpn.models.blazepose.detector_model import export_detector
from tfcpn.utils.console import progress_bar
from tfcpn.utils.device import is_chief
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

# AP needs detections of any score, the other metrics those that MediaPipe returns by default.
AP_THRESHOLD, THRESHOLD = 0.05, 0.5


class DetectorEvaluator:
    """A validation set, for any number of detectors; it takes the place of an `Evaluator`.

    Attributes:
        metric_names: Names of the metrics.
        table: Table of the last evaluation by the rotation of people.
    """

    metric_names = DETECTION_METRICS

    def __init__(
        self,
        cfg: Config,
        components: Components,
        strategy: tf.distribute.Strategy | None = None,
        run_config: Config | None = None,
    ):
        """Read the validation set, whose keypoints may be others than those of the training.

        Args:
            cfg: The settings.
            components: The components of the run.
            strategy: The strategy of the models; only its chief evaluates.
            run_config: Settings of the run. An evaluation that differs from them gets an output
                folder of its own.

        Raises:
            InputError: If no person is to be found, or an image is missing or of another size.
        """
        self.cfg, self.template, self.table = cfg, components.network.template, ""
        self.strategy = strategy or tf.distribute.get_strategy()
        self.run_config = run_config or cfg
        self.annotated = read_annotations(
            cfg.val_annotations,
            image_dir=cfg.val_images,
            strict=cfg.strict,
        )
        self.people = people_to_find(self.annotated.people, self.annotated.skeleton)
        if not self.people:
            raise InputError(
                f"{cfg.val_annotations}: no person has the keypoints of the alignment points"
            )
        images = self.annotated.images
        files = find_images(cfg.val_images, [*images.values()], cfg.val_annotations, cfg.strict)
        self.image_files = dict(zip(images, files))
        self.num_people = Counter(person.image_id for person in self.annotated.people)

    def evaluate(self, model, epoch: int) -> dict[str, float | None]:
        """Detect, score, and write `eval/epoch_NNNN/results.json` and `metrics.json`.

        Args:
            model: The detector; it is evaluated as it is exported.
            epoch: Epoch of its weights.

        Returns:
            `DETECTION_METRICS`; None for those that the images do not define. Nothing in processes
            that are not the chief.
        """
        if not is_chief(self.strategy):
            return {}
        cfg = self.cfg
        detector = PoseDetector(export_detector(model, self.template), AP_THRESHOLD)
        found, results = {}, []
        with progress_bar(len(self.image_files), f"epoch {epoch}", "image") as bar:
            for image_id, file in self.image_files.items():
                found[image_id] = detector(read_image(file.path, file.orientation))
                results += [
                    {
                        "image_id": image_id,
                        "category_id": self.annotated.category,
                        "bbox": [round(v, 2) for v in body_box(detection.points)],
                        "score": round(detection.score, 5),
                    }
                    for detection in found[image_id]
                ]
                bar.update()
        confident = {i: [d for d in found[i] if d.score >= THRESHOLD] for i in found}
        rows = detect_people(
            self.people, self.annotated.skeleton, confident.__getitem__, self.num_people
        )
        count = detections_of(rows)
        self.table = detection_table(rows)
        metrics = {
            **box_metrics(self.annotated, results),
            "found": float(np.mean([row.found for row in rows])),
            "in_place": float(np.mean([row.placed for row in rows])),
            "aligned": float(np.mean([row.aligned for row in rows])),
            "detections": None if np.isnan(count) else count,
            "false": None,
        }
        empty = [len(confident[i]) for i in self.image_files if i not in self.num_people]
        if empty:
            metrics["false"] = float(np.mean(empty))
        suffix = output_suffix(cfg, self.run_config)
        if epoch == INITIAL_EPOCH:
            suffix += initial_weights_suffix(cfg)
        folder = Path(cfg.model_dir) / "eval" / f"epoch_{epoch:04d}{suffix}"
        report = {
            "experiment": cfg.experiment,
            "epoch": epoch,
            **dict.fromkeys(COCO_METRICS),
            **metrics,
            "people": len(self.people),
            "images": len(self.image_files),
            "images_without_people": len(empty),
            "settings": {name: getattr(cfg, name) for name in REPORTED},
        }
        write_atomically(folder / "results.json", json.dumps(results))
        write_atomically(folder / "metrics.json", json.dumps(report, indent=2) + "\n")
        return metrics

    def shared_work(self) -> list:
        """Return what several processes evaluate together: nothing, each has the whole model."""
        return []

    def describe(self) -> str:
        """Return a line that describes the evaluation."""
        count = len(self.annotated.images) - len(self.num_people)
        return (
            f"{self.cfg.experiment}: {len(self.people)} people to find in "
            f"{len(self.num_people)} images, {count} images without people"
        )
