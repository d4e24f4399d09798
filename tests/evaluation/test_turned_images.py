"""A rotated image with its annotation gives a rotated alignment the same AP."""

import json

import cv2
import numpy as np
import pytest
import tensorflow as tf

from support.perfect import (
    BLAZEPOSE_DEFAULTS,
    PerfectKeypoints,
    ap,
    changed,
    config_of,
    evaluation_of,
)
from tfcpn.evaluation.estimate import regions_of_boxes
from tfcpn.transforms.regions import keypoints_to_crop


def turn_dataset(people, folder, turns):
    """The validation set with its annotations, rotated counterclockwise by quarter turns; lossless
    PNG.
    """
    data = json.loads(people.val_annotations.read_text())
    sizes = {}
    for image in data["images"]:
        pixels = np.rot90(cv2.imread(str(people.val / image["file_name"])), turns)
        sizes[image["id"]] = image["width"], image["height"]
        image["file_name"] = image["file_name"].replace(".jpg", ".png")
        image["height"], image["width"] = pixels.shape[:2]
        cv2.imwrite(str(folder / image["file_name"]), pixels)

    def turn(xy, size):
        xy, (width, height) = np.array(xy, float), size
        for _ in range(turns):
            xy = np.stack([xy[:, 1], width - xy[:, 0]], axis=1)
            width, height = height, width
        return xy

    for record in data["annotations"]:
        size = sizes[record["image_id"]]
        keypoints = np.reshape(record["keypoints"], (-1, 3)).astype(float)
        labeled = keypoints[:, 2] > 0
        keypoints[labeled, :2] = turn(keypoints[labeled, :2], size)
        record["keypoints"] = keypoints.ravel().tolist()
        x, y, w, h = record["bbox"]
        corners = turn([(x, y), (x + w, y + h)], size)
        record["bbox"] = [*corners.min(axis=0), *np.ptp(corners, axis=0)]
        if isinstance(record["segmentation"], list):
            record["segmentation"] = [
                turn(np.reshape(s, (-1, 2)), size).ravel().tolist() for s in record["segmentation"]
            ]
    path = folder / "annotations.json"
    path.write_text(json.dumps(data))
    return path


class MeanPose:
    """A weak predictor: the mean pose of aligned people, shifted a little by the content of the
    crop.
    """

    def __init__(self, evaluation):
        oracle, components, people = (
            PerfectKeypoints(evaluation),
            evaluation.components,
            evaluation.people,
        )
        self.strategy, self.crop_spec = oracle.strategy, oracle.crop_spec
        regions = regions_of_boxes(
            people.boxes, people.image_files, components.alignment, self.crop_spec.size
        )
        keypoints = keypoints_to_crop(oracle.keypoints, regions, self.crop_spec.size).numpy()
        labeled = keypoints[..., 2:] > 0
        self.pose = (keypoints[..., :2] * labeled).sum(axis=0) / labeled.sum(axis=0)

    def __call__(self, crops):
        brightness = tf.reduce_mean(tf.cast(crops, tf.float64), axis=(1, 2))[:, :2] / 50
        return self.pose[None] + brightness[:, None], tf.ones((len(crops), len(self.pose)))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotating_images_keeps_the_ap_of_a_rotated_alignment_and_ruins_that_of_boxes(
    people, tmp_path, turns
):
    straight = evaluation_of(config_of(people, **BLAZEPOSE_DEFAULTS, eval_people="alignable"))
    predictor = MeanPose(straight)
    annotations = turn_dataset(people, tmp_path, turns)
    turned = changed(straight, val_images=str(tmp_path), val_annotations=str(annotations))
    score = ap(straight, predictor)
    assert score > 0.1
    assert ap(turned, predictor) == pytest.approx(score, abs=1e-3)
    upright = changed(turned, align_rotate=False)
    assert ap(upright, predictor) < score / 3
