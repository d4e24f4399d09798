"""python -m tfcpn.eval --epoch=350: AP of a run's snapshots, and a results file to submit."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf

from tfcpn import align, coco, command_line, config, device, run_config
from tfcpn.checkpoint import Snapshots
from tfcpn.codec import HeatmapCodec
from tfcpn.config import Config
from tfcpn.cpn import build_cpn
from tfcpn.errors import InputError
from tfcpn.files import write_atomically
from tfcpn.images import read_header
from tfcpn.input_pipeline import evaluation_batches
from tfcpn.predict import Predictor
from tfcpn.progress import progress
from tfcpn.records import check_image
from tfcpn.skeleton import NUM_JOINTS

REPORTED = (
    "backbone",
    "input_size",
    "heatmap_scale",
    "align",
    "boxes",
    "flip_test",
    "mixed_precision",
    "val_annotations",
)


def make_codec(cfg: Config) -> HeatmapCodec:
    return HeatmapCodec(cfg.input_size, cfg.heatmap_size, cfg.label_kernels, cfg.heatmap_scale)


class Evaluation:
    """A validation set, read and checked once, that any number of models can be evaluated on."""

    def __init__(self, cfg: Config):
        self.cfg = cfg
        self.images, people = coco.read_annotations(cfg.val_annotations)
        if cfg.boxes == "gt":
            self.boxes = coco.annotated_boxes(people)
        else:
            self.boxes = coco.read_detections(cfg.boxes, self.images)
        self.people = sum(p.trainable for p in people)
        # Neighbours in the list share their image's file.
        self.boxes.sort(key=lambda b: b.image_id)
        needed = sorted({b.image_id for b in self.boxes})
        with ThreadPoolExecutor(8) as pool:
            self.orientations = dict(zip(needed, pool.map(self._check, (self.images[i] for i in needed))))

    def _check(self, image: coco.CocoImage) -> int:
        path = Path(self.cfg.val_images) / image.file_name
        try:
            encoded = path.read_bytes()
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); does --val_images fit --val_annotations?"
            ) from error
        height, width, orientation = read_header(encoded, str(path))
        if (height, width) != (image.height, image.width):
            raise InputError(f"{path}: is {width}x{height} pixels, but annotated as {image.width}x{image.height}")
        return orientation

    def _name_bad_image(self) -> None:
        """Raise InputError for the first image that cannot be decoded: inside a pipeline it has no name."""
        for image_id in self.orientations:
            image = self.images[image_id]
            check_image(image, (Path(self.cfg.val_images) / image.file_name).read_bytes())

    def predict(self, predictor: Predictor, label: str) -> list[dict]:
        """The results file's entries, one for each box."""
        cfg = self.cfg
        batches = evaluation_batches(
            self.boxes,
            self.images,
            self.orientations,
            cfg.val_images,
            cfg.align,
            cfg.input_size,
            cfg.eval_batch_size,
        )
        results = []
        with progress(len(self.boxes), label, "person") as bar:
            try:
                for numbers, crops, rectangles in batches:
                    joints, scores = predictor(crops)
                    joints = align.joints_to_image(joints, rectangles, cfg.input_size).numpy()
                    for number, person, score in zip(numbers.numpy(), joints, scores.numpy()):
                        results.append(coco.result(self.boxes[number], person, score))
                    bar.update(len(joints))
            except tf.errors.InvalidArgumentError as error:
                self._name_bad_image()
                raise InputError(f"an image in {cfg.val_images} cannot be decoded: {error.message}") from error
        return results

    def evaluate(self, predictor: Predictor, epoch: int) -> dict[str, float]:
        """Predict, score, write `eval/epoch_NNNN/results.json` and `metrics.json`; returns the ten numbers."""
        results = self.predict(predictor, f"epoch {epoch} on {len(self.images)} images")
        metrics = coco.evaluate(self.cfg.val_annotations, results)
        folder = Path(self.cfg.model_dir) / "eval" / f"epoch_{epoch:04d}"
        report = {
            "experiment": self.cfg.experiment,
            "epoch": epoch,
            **metrics,
            "people": self.people,
            "boxes_evaluated": len(self.boxes),
            "images": len(self.images),
            "settings": {name: getattr(self.cfg, name) for name in REPORTED},
        }
        write_atomically(folder / "results.json", json.dumps(results))
        write_atomically(folder / "metrics.json", json.dumps(report, indent=2) + "\n")
        return metrics


def main() -> None:
    cfg = run_config.for_evaluation(config.from_flags(), config.given_flags())
    snapshots = Snapshots(cfg.model_dir)
    epochs = snapshots.parse(cfg.epoch)
    cfg = dataclasses.replace(cfg, mixed_precision=device.resolve_precision(cfg.mixed_precision))
    device.set_up(cfg.deterministic)
    evaluation = Evaluation(cfg)
    device.set_precision(cfg.mixed_precision)
    model = build_cpn(cfg.input_size, cfg.backbone, NUM_JOINTS)
    predictor = Predictor(model, make_codec(cfg), cfg.flip_test)
    rows = []
    for epoch in epochs:
        snapshots.restore(epoch, model)
        rows.append((str(epoch), evaluation.evaluate(predictor, epoch)))
    boxes = "ground-truth boxes" if cfg.boxes == "gt" else cfg.boxes
    print(
        f"{cfg.experiment}: {evaluation.people} labelled people, {len(evaluation.boxes)} boxes ({boxes}), "
        f"{'flip test' if cfg.flip_test else 'no flip test'}"
    )
    print(coco.table(rows))
    print(f"written: {Path(cfg.model_dir) / 'eval'}/epoch_*/results.json and metrics.json")


if __name__ == "__main__":
    command_line.run(
        main,
        "python -m tfcpn.eval",
        "Evaluate snapshots of a run: COCO's AP and a results file.",
        config.GROUPS,
    )
