"""The synthetic people: exact annotations of the kinds that COCO has."""

import json

import cv2
import numpy as np
import pytest

from support.commands import run_here
from tfcpn.data.coco import read_annotations


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crowd")
    run_here(
        "tools/make_people.py",
        f"--output={folder}",
        "--train=60",
        "--val=2",
        "--workers=2",
        "--fallen=0.3",
    )
    return folder


def load(folder, split="train"):
    return json.loads((folder / "annotations" / f"person_keypoints_{split}.json").read_text())


def test_the_same_seed_draws_the_same_people(people, tmp_path, command):
    command("tools/make_people.py", f"--output={tmp_path}", "--train=24", "--val=8", "--workers=1")
    for split in ("train", "val"):
        assert load(tmp_path, split) == load(people.folder, split)
    for image in people.train.glob("*.jpg"):
        assert (tmp_path / "train" / image.name).read_bytes() == image.read_bytes()


def test_train_and_validation_share_no_image(people):
    train = {path.read_bytes() for path in people.train.glob("*.jpg")}
    assert not train & {path.read_bytes() for path in people.val.glob("*.jpg")}


def test_a_second_run_does_nothing(people_copy, command):
    before = {p: p.stat().st_mtime_ns for p in people_copy.folder.rglob("*")}
    done = command(
        "tools/make_people.py", f"--output={people_copy.folder}", "--train=24", "--val=8"
    )
    assert done.out.count("nothing to do") == 2
    assert {p: p.stat().st_mtime_ns for p in people_copy.folder.rglob("*")} == before


def test_the_annotations_are_valid_and_of_every_kind(crowd):
    images, people, *_ = read_annotations(crowd / "annotations" / "person_keypoints_train.json")
    for image in images.values():
        pixels = cv2.imread(str(crowd / "train" / image.file_name))
        assert pixels.shape == (image.height, image.width, 3)
    shown = [p for p in people if p.trainable]
    visibility = np.stack([p.keypoints[:, 2] for p in shown])
    shares = [(visibility == v).mean() for v in (0, 1, 2)]
    assert all(share > 0.02 for share in shares), shares
    assert any(p.crowd for p in people)
    counts = [sum(p.image_id == i for p in shown) for i in images]
    assert min(counts) <= 1 and max(counts) >= 3
    # Truncated by the border: a box that touches it, with unlabeled keypoints.
    cut = [p for p in shown if p.box[0] == 0 or p.box[0] + p.box[2] == images[p.image_id].width]
    assert any((p.keypoints[:, 2] == 0).any() for p in cut)


def test_visible_keypoints_lie_on_the_person(crowd):
    """Within the box, and inside or on the edge of the outline of the person's visible part."""
    data = load(crowd)
    for annotation in (a for a in data["annotations"] if a["num_keypoints"]):
        x, y, w, h = annotation["bbox"]
        contours = [
            np.reshape(s, (-1, 1, 2)).astype(np.float32) for s in annotation["segmentation"]
        ]
        for jx, jy, v in np.reshape(annotation["keypoints"], (17, 3)):
            if v == 2:
                assert x - 2 <= jx <= x + w + 2 and y - 2 <= jy <= y + h + 2
                assert (
                    max(cv2.pointPolygonTest(c, (float(jx), float(jy)), True) for c in contours)
                    >= -3
                )


def test_people_face_all_directions_and_some_lie(crowd):
    keypoints = [
        np.reshape(a["keypoints"], (17, 3))
        for a in load(crowd)["annotations"]
        if a["num_keypoints"] == 17
    ]
    across = np.array([k[5, 0] - k[6, 0] for k in keypoints])
    assert (across > 0).any() and (across < 0).any()
    upright = np.array([k[11:13, 1].mean() - k[5:7, 1].mean() for k in keypoints])
    assert (upright > 0).mean() > 0.5 and (upright < 0).any()


def test_the_crowd_region_is_a_run_length_mask_with_its_area(crowd):
    from pycocotools import mask

    for annotation in (a for a in load(crowd)["annotations"] if a["iscrowd"]):
        rle = annotation["segmentation"]
        decoded = mask.decode(mask.frPyObjects(rle, *rle["size"]))
        assert decoded.sum() == annotation["area"]
        assert annotation["num_keypoints"] == 0 and not any(annotation["keypoints"])


def test_a_missing_output_is_reported_in_one_line(command):
    failed = command("tools/make_people.py", check=False)
    assert failed.status == 1 and failed.err.strip().startswith("error: --output is missing")
