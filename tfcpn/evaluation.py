"""Evaluation of a model on a validation set: boxes -> crops -> joints -> a results file and COCO's AP."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn import align, coco, first_pass
from tfcpn.codec import HeatmapCodec
from tfcpn.config import EVALUATION, FIELDS, Config
from tfcpn.device import is_chief
from tfcpn.errors import InputError
from tfcpn.files import write_atomically
from tfcpn.images import read_header
from tfcpn.input_pipeline import evaluation_batches
from tfcpn.predict import Predictor
from tfcpn.progress import progress
from tfcpn.records import check_image, check_size

# What metrics.json tells of an evaluation: all that decides the weights, and how they were evaluated.
REPORTED = [
    name
    for name, field in FIELDS.items()
    if not field.metadata["free"]
    or (field.metadata["group"] == EVALUATION and name not in ("epoch", "eval_batch_size"))
]
REPORTED.append("val_annotations")


def make_codec(cfg: Config) -> HeatmapCodec:
    return HeatmapCodec(cfg.input_size, cfg.heatmap_size, cfg.label_kernels, cfg.heatmap_scale)


def check_source(cfg: Config) -> None:
    """See that the alignment points can come from where --align_source says. Raises InputError."""
    if cfg.align != "blazepose":
        if cfg.align_source != "gt":
            raise InputError(f"--align_source={cfg.align_source}: --align={cfg.align} needs no alignment points")
    elif cfg.align_source == "gt" and cfg.boxes != "gt":
        raise InputError(
            "--align_source=gt wants --boxes=gt; a detector's boxes are aligned by --align_source=two_pass, or by "
            "detections if its file has the field align_points"
        )
    elif cfg.align_source == "detections" and cfg.boxes == "gt":
        raise InputError("--align_source=detections wants a detector's file in --boxes")


class Evaluation:
    """A validation set, read and checked once, that any number of models can be evaluated on.

    boxes: whom to look at. regions: (B, 5) where, in the first pass if there are two. counted: the annotations that
    count. people: how many people are labelled. dataset: a name for the folder of the results, if this is not the
    validation set of the run.
    """

    def __init__(self, cfg: Config, strategy: tf.distribute.Strategy | None = None, dataset: str = ""):
        self.cfg, self.dataset = cfg, dataset
        self.strategy = strategy or tf.distribute.get_strategy()
        check_source(cfg)
        self.images, people = coco.read_annotations(cfg.val_annotations)
        people = [p for p in people if p.trainable]
        self.people = len(people)
        keypoints = np.stack([p.keypoints for p in people])
        alignable = align.alignable(keypoints, cfg.align_radius).numpy()
        if cfg.eval_people == "alignable":
            if not alignable.any():
                raise InputError(f"{cfg.val_annotations}: nobody has the joints of the alignment points")
            people = [p for p, has_them in zip(people, alignable) if has_them]
            keypoints, alignable = keypoints[alignable], alignable[alignable]
        self.counted = {p.id for p in people}
        if cfg.boxes == "gt":
            reach = np.array([p.reach for p in people])
            points = align.alignment_points(keypoints, reach, cfg.align_radius).numpy().reshape(-1, 4)
            self.boxes = [
                coco.Box(p.image_id, p.box, 1.0, tuple(xy) if known else None)
                for p, xy, known in zip(people, points.tolist(), alignable)
            ]
        else:
            self.boxes = coco.read_detections(cfg.boxes, self.images)
        self._settle_missing_points()
        # Neighbours in the list share their image's file.
        self.boxes.sort(key=lambda b: b.image_id)
        needed = sorted({b.image_id for b in self.boxes})
        with ThreadPoolExecutor(8) as pool:
            self.orientations = dict(zip(needed, pool.map(self._check, (self.images[i] for i in needed))))
        self.regions = self._first_regions()

    def _settle_missing_points(self) -> None:
        """Leave out the boxes without alignment points, if that is what becomes of them."""
        if self.cfg.align != "blazepose" or self.cfg.align_source == "two_pass":
            return
        known = [b for b in self.boxes if b.points is not None]
        if not known and self.cfg.align_source == "detections":
            raise InputError(f"{self.cfg.boxes}: no detection has align_points; use --align_source=two_pass")
        if self.cfg.align_missing == "drop":
            if not known:
                raise InputError(
                    f"{self.cfg.val_annotations}: nobody has the joints of the alignment points, and "
                    "--align_missing=drop leaves everybody out"
                )
            self.boxes = known

    def _first_regions(self) -> np.ndarray:
        """The regions that are cut first: (B, 5). With two passes those of the square box."""
        points = np.array([b.points or (0, 0, 0, 0) for b in self.boxes], np.float64).reshape(-1, 2, 2)
        found = np.array([b.points is not None for b in self.boxes])
        if self.cfg.align_source == "two_pass":
            found[:] = False
        return self._regions(points, found)

    def _regions(self, points, found) -> np.ndarray:
        boxes = np.array([b.box for b in self.boxes], np.float32)
        sizes = np.array([(self.images[b.image_id].height, self.images[b.image_id].width) for b in self.boxes])
        cfg = self.cfg
        return align.person_region(boxes, points, found, sizes, cfg.alignment, cfg.input_size).numpy()

    def _check(self, image: coco.CocoImage) -> int:
        path = Path(self.cfg.val_images) / image.file_name
        try:
            encoded = path.read_bytes()
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); does --val_images fit --val_annotations?"
            ) from error
        height, width, orientation = read_header(encoded, str(path))
        check_size(image, (height, width), str(path))
        return orientation

    def _name_bad_image(self) -> None:
        """Raise InputError for the first image that cannot be decoded: inside a pipeline it has no name."""
        for image_id in self.orientations:
            image = self.images[image_id]
            check_image(image, (Path(self.cfg.val_images) / image.file_name).read_bytes())

    def batches(self, regions: np.ndarray, context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        """Batches of the crops of these regions, one for each box, in their order.

        The last box comes again until all replicas have batches of one size.
        """
        cfg, replicas = self.cfg, self.strategy.num_replicas_in_sync
        batch_size = min(cfg.eval_batch_size, -(-len(regions) // replicas))
        fill = -len(regions) % (batch_size * replicas)
        regions = np.concatenate([regions, np.repeat(regions[-1:], fill, axis=0)])
        of_box = [self.images[b.image_id] for b in self.boxes + self.boxes[-1:] * fill]
        where = cfg.val_images, cfg.align, cfg.input_size, batch_size
        return evaluation_batches(of_box, regions, self.orientations, *where, context)

    def _pass(self, predictor: Predictor, regions: np.ndarray, label: str) -> tuple[np.ndarray, np.ndarray]:
        """Joints (B, K, 2) in their images and scores (B, K) of the people in these regions."""
        joints, scores = [], []
        batches = self.strategy.distribute_datasets_from_function(lambda context: self.batches(regions, context))
        with progress(len(self.boxes), label, "person") as bar:
            try:
                for crops in batches:
                    # In the order of the replicas, which is that of the boxes.
                    found = [self.strategy.gather(value, axis=0).numpy() for value in predictor(crops)]
                    joints.append(found[0])
                    scores.append(found[1])
                    bar.update(min(len(found[0]), len(self.boxes) - bar.n))
            except tf.errors.InvalidArgumentError as error:
                self._name_bad_image()
                raise InputError(f"an image in {self.cfg.val_images} cannot be decoded: {error.message}") from error
        joints, scores = (np.concatenate(parts)[: len(self.boxes)] for parts in (joints, scores))
        return align.joints_to_image(joints, regions, self.cfg.input_size).numpy(), scores

    def _aligned_regions(self, predictor: Predictor, label: str) -> np.ndarray:
        """The regions that the network finds by itself: its joints in the square box tell where the body is."""
        passes = []
        for turn in range(self.cfg.first_pass_turns):
            regions = self.regions + np.array([0, 0, 0, 0, turn * np.pi / 2])
            passes.append(self._pass(predictor, regions, f"{label}, first pass"))
        joints, scores = first_pass.surest_turn(*(np.stack(tensors) for tensors in zip(*passes)))
        points = first_pass.alignment_points(joints, scores, self.cfg.align_radius)
        return self._regions(points, np.ones(len(joints), bool))

    def predict(self, predictor: Predictor, label: str) -> list[dict]:
        """The results file's entries, one for each box."""
        regions = self.regions
        if self.cfg.align_source == "two_pass":
            regions = self._aligned_regions(predictor, label)
        joints, scores = self._pass(predictor, regions, label)
        return [coco.result(*person) for person in zip(self.boxes, joints, scores)]

    def evaluate(self, predictor: Predictor, epoch: int) -> dict[str, float]:
        """Predict, score, write `eval/epoch_NNNN/results.json` and `metrics.json`; returns the ten numbers."""
        results = self.predict(predictor, f"epoch {epoch} on {len(self.images)} images")
        metrics = coco.evaluate(self.cfg.val_annotations, results, self.counted)
        folder = Path(self.cfg.model_dir) / "eval" / f"epoch_{epoch:04d}{self._variant()}"
        report = {
            "experiment": self.cfg.experiment,
            "epoch": epoch,
            **metrics,
            "people": self.people,
            "people_counted": len(self.counted),
            "boxes_evaluated": len(self.boxes),
            "images": len(self.images),
            "settings": {name: getattr(self.cfg, name) for name in REPORTED},
        }
        if is_chief(self.strategy):
            write_atomically(folder / "results.json", json.dumps(results))
            write_atomically(folder / "metrics.json", json.dumps(report, indent=2) + "\n")
        return metrics

    def _variant(self) -> str:
        """What sets the folder of this evaluation apart from that of the usual one; empty for the usual one."""
        cfg, words = self.cfg, [self.dataset] if self.dataset else []
        if cfg.boxes != "gt":
            words.append(Path(cfg.boxes).stem)
        if not cfg.flip_test:
            words.append("noflip")
        if cfg.align == "blazepose" and cfg.align_missing == "drop":
            words.append("drop")
        if cfg.align_source != "gt":
            words.append(cfg.align_source + (f"{cfg.first_pass_turns}" if cfg.first_pass_turns > 1 else ""))
        if cfg.eval_people != "all":
            words.append(cfg.eval_people)
        return "".join(f"_{word}" for word in words)

    def describe(self) -> str:
        """What was evaluated, in one line."""
        cfg = self.cfg
        boxes = "ground-truth boxes" if cfg.boxes == "gt" else cfg.boxes
        parts = [
            f"{len(self.counted)} of {self.people} labelled people count",
            f"{len(self.boxes)} boxes ({boxes})",
            "flip test" if cfg.flip_test else "no flip test",
        ]
        if cfg.align == "blazepose":
            source = {
                "gt": "the annotation, an upper bound",
                "detections": "the detector",
                "two_pass": "a first pass",
            }
            parts.append(f"alignment points from {source[cfg.align_source]}")
        return f"{cfg.experiment}: {', '.join(parts)}"
