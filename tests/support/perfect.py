"""Evaluations with a stand-in for the network that returns known keypoints."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tfcpn.builders import build_components
from tfcpn.config import Config
from tfcpn.data.coco import read_annotations
from tfcpn.evaluation import estimate
from tfcpn.evaluation.evaluator import Evaluator, predict
from tfcpn.evaluation.metrics import coco_metrics
from tfcpn.evaluation.predictor import Predictor
from tfcpn.models.cpn import CpnOutputs
from tfcpn.skeleton import COCO
from tfcpn.transforms.regions import alignment_points, keypoints_to_crop

BLAZEPOSE_DEFAULTS = {"align": "blazepose", "input_size": (128, 128)}


def config_of(people, **changes) -> Config:
    files = {"val_images": str(people.val), "val_annotations": str(people.val_annotations)}
    small = {"input_size": (128, 96), "label_kernels": (13, 9, 7, 5), "eval_batch_size": 5}
    return Config(**{**files, **small, **changes})


def evaluation_of(cfg: Config) -> Evaluator:
    return Evaluator(cfg, build_components(cfg, COCO), COCO)


def changed(evaluation: Evaluator, **changes) -> Evaluator:
    """The same evaluation with changes of the Config."""
    return evaluation_of(dataclasses.replace(evaluation.cfg, **changes))


class PerfectKeypoints:
    """Stand-in for a Predictor: keypoints of the annotation, in the crop, each with score 1.

    An unlabeled keypoint is in the center with score .5, that of an empty map. `cut` are the
    regions of the current pass.
    """

    def __init__(self, evaluation: Evaluator):
        self.evaluation, self.cut, self.seen = evaluation, None, 0
        self.strategy, self.crop_spec = (
            tf.distribute.get_strategy(),
            evaluation.components.crop_spec,
        )
        self.codec = evaluation.components.codec
        _, annotated, *_ = read_annotations(evaluation.cfg.val_annotations)
        by_box = {(p.image_id, p.box): p for p in annotated}
        people = [by_box[b.image_id, b.box] for b in evaluation.people.boxes]
        self.keypoints = np.stack([p.keypoints for p in people])
        if evaluation.cfg.predict_align_points:
            points = alignment_points(
                self.keypoints, np.array([p.max_radius for p in people]), COCO, "body"
            ).numpy()
            points = np.concatenate([points, np.full((len(points), 2, 1), 2)], axis=2)
            self.keypoints = np.concatenate([self.keypoints, points], axis=1)

    def watch(self, monkeypatch) -> PerfectKeypoints:
        """Record the regions that `estimate` cuts."""
        cut = estimate.region_batches

        def watched(images, regions, *more):
            self.cut, self.seen = regions, 0
            return cut(images, regions, *more)

        monkeypatch.setattr(estimate, "region_batches", watched)
        return self

    def crop_keypoints(self, count):
        """Keypoints of the next `count` crops.

        A pass repeats the last box to fill the last batch.
        """
        rows = np.minimum(self.seen + np.arange(count), len(self.keypoints) - 1)
        self.seen += count
        return keypoints_to_crop(self.keypoints[rows], self.cut[rows], self.crop_spec.size)

    def __call__(self, crops):
        keypoints = self.crop_keypoints(len(crops))
        labeled = keypoints[..., 2:] > 0
        middle = np.array(self.crop_spec.size[::-1], np.float32) / 2
        return tf.where(labeled, keypoints[..., :2], middle), tf.where(labeled[..., 0], 1.0, 0.5)


class PerfectMaps(PerfectKeypoints):
    """Stand-in for the network: returns the label maps of the crops, then those of the mirrored
    crops.
    """

    def __init__(self, evaluation: Evaluator):
        super().__init__(evaluation)
        components = evaluation.components
        self.flip_indices = components.skeleton.flip_indices
        flip = evaluation.cfg.flip_test
        made = Predictor(
            self.model,
            components.network,
            components.codec,
            components.crop_spec,
            flip_test=flip,
            single_batch_flip=True,
        )
        self.predictor = made._predict

    def model(self, images, training):
        keypoints = self.crop_keypoints(len(images) // 2)
        xy = keypoints[..., :2]
        x = tf.where(xy[..., 0] >= 0, self.codec.input_size[1] - 1 - xy[..., 0], xy[..., 0])
        mirrored = tf.gather(tf.stack([x, xy[..., 1]], axis=-1), self.flip_indices, axis=1)
        return CpnOutputs((), self.codec.encode(tf.concat([xy, mirrored], axis=0), None).maps[-1])

    def __call__(self, crops):
        return self.predictor(crops)


def ap(evaluation: Evaluator, predictor) -> float:
    cfg, people = evaluation.cfg, evaluation.people
    results = predict(cfg, evaluation.components, people, predictor, "test")
    return coco_metrics(people.annotated, results, counted=people.counted)["AP"]
