"""Real COCO images, if a sample of them is next to the project; otherwise the drawn people."""

import cv2
import numpy as np
import pytest

from oracle import tf_cpn as reference
from support.commands import ROOT
from tfcpn.data.coco import read_annotations
from tfcpn.data.detections import PersonBox, coco_result, read_detections
from tfcpn.data.images import find_image
from tfcpn.data.pipeline import region_batches
from tfcpn.evaluation.metrics import coco_metrics
from tfcpn.transforms import regions
from tfcpn.transforms.cropping import CropSpec
from tfcpn.transforms.normalize import MEAN_BGR

SAMPLE = ROOT.parent / "shared" / "coco_sample"
pytestmark = pytest.mark.skipif(not SAMPLE.exists(), reason="no COCO sample next to the project")


@pytest.mark.parametrize("split", ["train", "val"])
def test_crops_of_real_people_are_the_references(split):
    images, people, *_ = read_annotations(
        SAMPLE / "annotations" / f"person_keypoints_{split}2017.json"
    )
    shown = [p for p in people if p.trainable]
    of_box = [images[p.image_id] for p in shown]
    folder = SAMPLE / f"{split}2017"
    image_files = [find_image(folder, image) for image in of_box]
    rectangles = regions.crop_rectangle(
        [p.box for p in shown], [(i.height, i.width) for i in of_box], (256, 192)
    )
    places, crop_spec = (
        regions.region_from_rectangle(rectangles),
        CropSpec((256, 192), False, MEAN_BGR),
    )
    crops = np.concatenate(list(region_batches(image_files, places, crop_spec, 16)))
    assert len(crops) == len(shown) > 50
    for person, image, crop, rectangle in zip(shown, of_box, crops, rectangles.numpy()):
        expected, corners = reference.crop(
            cv2.imread(str(folder / image.file_name)), person.box, (256, 192), False
        )
        np.testing.assert_array_equal(rectangle, corners)
        difference = np.abs(crop.astype(int) - expected)
        assert difference.max() <= 1 and difference.mean() < 0.15


def test_perfect_keypoints_of_real_people_score_1():
    path = SAMPLE / "annotations" / "person_keypoints_val2017.json"
    _, people, *_ = read_annotations(path)
    shown = [p for p in people if p.trainable]
    perfect = [
        coco_result(
            PersonBox(p.image_id, p.box, 1.0), keypoints=p.keypoints[:, :2], scores=np.ones(17)
        )
        for p in shown
    ]
    assert coco_metrics(read_annotations(path), perfect)["AP"] == pytest.approx(1)


def test_a_detectors_file_is_read():
    images, _, *_ = read_annotations(SAMPLE / "annotations" / "person_keypoints_val2017.json")
    assert len(read_detections(SAMPLE / "person_detections_val2017.json", images)) == 156
