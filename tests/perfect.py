"""Evaluations without a network: what stands in its place knows the answer."""

import numpy as np
import tensorflow as tf

from tfcpn import align, coco
from tfcpn.config import Config
from tfcpn.cpn import CpnOutputs
from tfcpn.evaluation import Evaluation, make_codec
from tfcpn.predict import Predictor
from tfcpn.skeleton import mirror

BLAZEPOSE = {"align": "blazepose", "input_size": (128, 128)}


def config_of(people, **changes):
    changes = {"input_size": (128, 96), "label_kernels": (13, 9, 7, 5), **changes}
    return Config(
        val_images=str(people.val), val_annotations=str(people.val_annotations), eval_batch_size=5, **changes
    )


class WatchedEvaluation(Evaluation):
    """Remembers the regions that are cut, pass by pass."""

    def batches(self, regions, context=None):
        self.cut = regions
        return super().batches(regions, context)


class PerfectJoints:
    """Stands where the network's joints come out: those of the annotation, in the crop, each with score 1.

    What is not labelled comes out in the middle with score .5, which is that of an empty map.
    """

    def __init__(self, evaluation):
        self.evaluation, self.seen = evaluation, 0
        _, annotated = coco.read_annotations(evaluation.cfg.val_annotations)
        by_box = {(p.image_id, p.box): p for p in annotated}
        people = [by_box[b.image_id, b.box] for b in evaluation.boxes]
        self.joints = np.stack([p.keypoints for p in people])
        if evaluation.cfg.predict_align_points:
            points = align.alignment_points(self.joints, np.array([p.reach for p in people]), "body").numpy()
            points = np.concatenate([points, np.full((len(points), 2, 1), 2)], axis=2)
            self.joints = np.concatenate([self.joints, points], axis=1)

    def crop_joints(self, count):
        """Joints of the next `count` crops. A pass ends with the last box again, to fill its batch."""
        rows = np.minimum(self.seen + np.arange(count), len(self.joints) - 1)
        self.seen = (self.seen + count) % (-(-len(self.joints) // count) * count)
        return align.joints_to_crop(self.joints[rows], self.evaluation.cut[rows], self.evaluation.cfg.input_size)

    def __call__(self, crops):
        joints = self.crop_joints(len(crops))
        labelled = joints[..., 2:] > 0
        middle = np.array(self.evaluation.cfg.input_size[::-1], np.float32) / 2
        return tf.where(labelled, joints[..., :2], middle), tf.where(labelled[..., 0], 1.0, 0.5)


class PerfectMaps(PerfectJoints):
    """Stands for the network itself: the label maps of the crops, then those of their mirror images."""

    def __init__(self, evaluation):
        super().__init__(evaluation)
        self.codec = make_codec(evaluation.cfg)
        predictor = Predictor(self.model, self.codec, evaluation.cfg.flip_test)
        self.predictor = predictor._predict

    def model(self, images, training):
        joints = self.crop_joints(len(images) // 2)
        xy = joints[..., :2]
        x = tf.where(xy[..., 0] >= 0, self.codec.input_size[1] - 1 - xy[..., 0], xy[..., 0])
        mirrored = tf.gather(tf.stack([x, xy[..., 1]], axis=-1), mirror(joints.shape[1]), axis=1)
        return CpnOutputs((), self.codec.encode(tf.concat([xy, mirrored], axis=0))[-1])

    def __call__(self, crops):
        return self.predictor(crops)


def ap(evaluation, predictor):
    results = evaluation.predict(predictor, "test")
    return coco.evaluate(evaluation.cfg.val_annotations, results, evaluation.counted)["AP"]
