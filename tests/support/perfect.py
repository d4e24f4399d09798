"""Evaluations without a network: what stands in its place knows the answer."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tfcpn.data.coco import read_annotations
from tfcpn.evaluation import estimate
from tfcpn.evaluation.average_precision import coco_metrics
from tfcpn.evaluation.evaluation import Evaluation, predict
from tfcpn.evaluation.predictor import Predictor
from tfcpn.geometry.crops import keypoints_to_crop
from tfcpn.geometry.points import alignment_points
from tfcpn.networks.cpn import CpnOutputs
from tfcpn.parts import make_parts
from tfcpn.settings.config import Config
from tfcpn.skeleton import COCO

BLAZEPOSE = {"align": "blazepose", "input_size": (128, 128)}


def config_of(people, **changes) -> Config:
    files = {"val_images": str(people.val), "val_annotations": str(people.val_annotations)}
    small = {"input_size": (128, 96), "label_kernels": (13, 9, 7, 5), "eval_batch_size": 5}
    return Config(**{**files, **small, **changes})


def evaluation_of(cfg: Config) -> Evaluation:
    return Evaluation(cfg, make_parts(cfg, COCO), COCO)


def changed(evaluation: Evaluation, **changes) -> Evaluation:
    """The same with another Config."""
    return evaluation_of(dataclasses.replace(evaluation.cfg, **changes))


class PerfectKeypoints:
    """Stands where a Predictor does: keypoints of the annotation, in the crop, each with score 1.

    What is not labeled comes out in the middle with score .5, which is that of an empty map. `cut` are the regions
    of the pass that is under way.
    """

    def __init__(self, evaluation: Evaluation):
        self.evaluation, self.cut, self.seen = evaluation, None, 0
        self.strategy, self.crop_spec = tf.distribute.get_strategy(), evaluation.parts.crop_spec
        self.codec = evaluation.parts.codec
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
        """See the regions that `estimate` cuts."""
        cut = estimate.region_batches

        def watched(images, regions, *more):
            self.cut, self.seen = regions, 0
            return cut(images, regions, *more)

        monkeypatch.setattr(estimate, "region_batches", watched)
        return self

    def crop_keypoints(self, count):
        """Keypoints of the next `count` crops. A pass ends with the last box again, to fill its batch."""
        rows = np.minimum(self.seen + np.arange(count), len(self.keypoints) - 1)
        self.seen += count
        return keypoints_to_crop(self.keypoints[rows], self.cut[rows], self.crop_spec.size)

    def __call__(self, crops):
        keypoints = self.crop_keypoints(len(crops))
        labeled = keypoints[..., 2:] > 0
        middle = np.array(self.crop_spec.size[::-1], np.float32) / 2
        return tf.where(labeled, keypoints[..., :2], middle), tf.where(labeled[..., 0], 1.0, 0.5)


class PerfectMaps(PerfectKeypoints):
    """Stands for the network itself: the label maps of the crops, then those of their mirror images."""

    def __init__(self, evaluation: Evaluation):
        super().__init__(evaluation)
        parts = evaluation.parts
        self.mirror = parts.skeleton.mirror
        flip = evaluation.cfg.flip_test
        made = Predictor(self.model, parts.network, parts.codec, parts.crop_spec, flip, joined=True)
        self.predictor = made._predict

    def model(self, images, training):
        keypoints = self.crop_keypoints(len(images) // 2)
        xy = keypoints[..., :2]
        x = tf.where(xy[..., 0] >= 0, self.codec.input_size[1] - 1 - xy[..., 0], xy[..., 0])
        mirrored = tf.gather(tf.stack([x, xy[..., 1]], axis=-1), self.mirror, axis=1)
        return CpnOutputs((), self.codec.encode(tf.concat([xy, mirrored], axis=0), None).maps[-1])

    def __call__(self, crops):
        return self.predictor(crops)


def ap(evaluation: Evaluation, predictor) -> float:
    cfg, people = evaluation.cfg, evaluation.people
    results = predict(cfg, evaluation.parts, people, predictor, "test")
    return coco_metrics(cfg.val_annotations, results, people.counted)["AP"]
