"""Real COCO images, where a sample of them lies beside the project; elsewhere the drawn people must do."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT

from benchmarking import reference
from tfcpn import align, coco
from tfcpn.images import read_header
from tfcpn.input_pipeline import evaluation_batches

SAMPLE = Path(ROOT).parent / "shared" / "coco_sample"
pytestmark = pytest.mark.skipif(not SAMPLE.exists(), reason="no COCO sample beside the project")


@pytest.mark.parametrize("split", ["train", "val"])
def test_crops_of_real_people_are_the_references(split):
    images, people = coco.read_annotations(SAMPLE / "annotations" / f"person_keypoints_{split}2017.json")
    shown = [p for p in people if p.trainable]
    of_box = [images[p.image_id] for p in shown]
    folder = SAMPLE / f"{split}2017"
    orientations = {}
    for image in of_box:
        height, width, orientations[image.id] = read_header((folder / image.file_name).read_bytes(), image.file_name)
        assert (height, width) == (image.height, image.width)
    rectangles = align.crop_rectangle([p.box for p in shown], [(i.height, i.width) for i in of_box], (256, 192))
    regions = align.rectangle_region(rectangles)
    crops = np.concatenate(list(evaluation_batches(of_box, regions, orientations, folder, "person", (256, 192), 16)))
    assert len(crops) == len(shown) > 50
    for person, image, crop, rectangle in zip(shown, of_box, crops, rectangles.numpy()):
        expected, corners = reference.crop(cv2.imread(str(folder / image.file_name)), person.box, (256, 192), False)
        np.testing.assert_array_equal(rectangle, corners)
        difference = np.abs(crop.astype(int) - expected)
        assert difference.max() <= 1 and difference.mean() < 0.15


def test_perfect_joints_of_real_people_score_one():
    path = SAMPLE / "annotations" / "person_keypoints_val2017.json"
    _, people = coco.read_annotations(path)
    shown = [p for p in people if p.trainable]
    perfect = [coco.result(coco.Box(p.image_id, p.box, 1.0), p.keypoints[:, :2], np.ones(17)) for p in shown]
    assert coco.evaluate(str(path), perfect)["AP"] == pytest.approx(1)


def test_a_detectors_file_is_read():
    images, _ = coco.read_annotations(SAMPLE / "annotations" / "person_keypoints_val2017.json")
    assert len(coco.read_detections(SAMPLE / "person_detections_val2017.json", images)) == 156
