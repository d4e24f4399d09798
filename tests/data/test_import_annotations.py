"""Annotations of other formats become COCO's, and COCO's a YOLO-pose dataset."""

import json

import numpy as np
import pytest
from scipy.io import savemat

from support.photos import photo, write
from tfcpn.data.coco import read_annotations
from tfcpn.skeleton import COCO, KNOWN_SKELETONS

IMPORT = ("-m", "tfcpn.commands.import_annotations")
YOLO = ("-m", "tfcpn.commands.export_yolo")


@pytest.fixture
def images(tmp_path):
    """Return a folder with images a.jpg and sub/b.jpg of 200 x 100 pixels."""
    for name in ("a.jpg", "sub/b.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / "images" / name, photo(100, 200))
    return tmp_path / "images"


def test_a_yolo_dataset_comes_back_as_it_was(people, command, tmp_path):
    source = [f"--annotations={people.val_annotations}", f"--images={people.val}"]
    done = command(*YOLO, *source, f"--output={tmp_path / 'yolo'}", "--split=val")
    assert "8 images and" in done.out
    yaml = (tmp_path / "yolo/data.yaml").read_text()
    assert "kpt_shape: [17, 3]\nflip_idx: [0, 2, 1, 4, 3," in yaml and "val: images/val" in yaml
    back = tmp_path / "back.json"
    folder = f"--images={tmp_path / 'yolo/images/val'}"
    command(*IMPORT, "yolo", folder, f"--output={back}")
    before, after = read_annotations(people.val_annotations), read_annotations(back, strict=True)
    assert after.skeleton == COCO
    names = {i.id: i.file_name for i in before.images.values()}
    assert sorted(names.values()) == sorted(i.file_name for i in after.images.values())
    old = sorted((names[p.image_id], *p.box) for p in before.people if not p.crowd)
    new = sorted((after.images[p.image_id].file_name, *p.box) for p in after.people)
    assert [row[0] for row in old] == [row[0] for row in new]
    np.testing.assert_allclose([r[1:] for r in old], [r[1:] for r in new], atol=0.02)
    for person in before.people:
        if person.trainable:
            same = [
                p
                for p in after.people
                if after.images[p.image_id].file_name == names[person.image_id]
                and np.allclose(p.box, person.box, atol=0.02)
            ]
            np.testing.assert_allclose(same[0].keypoints, person.keypoints, atol=0.02)


def test_a_yolo_dataset_is_written_into_the_folder_of_its_own_images(images, command, tmp_path):
    """And keypoints outside their image, which Ultralytics refuses, are not labeled."""
    own = tmp_path / "pose/images/train"
    own.parent.mkdir(parents=True)
    images.rename(own)
    before = (own / "a.jpg").read_bytes()
    keypoints = [250, 40, 2, 100, 50, 2]
    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [80, 30, 100, 40]}
    person |= {"keypoints": keypoints, "num_keypoints": 2, "area": 4000, "iscrowd": 0}
    image = {"id": 1, "file_name": "a.jpg", "width": 200, "height": 100}
    category = {"id": 1, "name": "person", "keypoints": ["a, b", "left: eye"], "skeleton": []}
    content = {"images": [image], "annotations": [person], "categories": [category]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    arguments = [f"--annotations={tmp_path / 'a.json'}", f"--output={tmp_path / 'pose'}"]
    command(*YOLO, *arguments, f"--images={own}")
    assert not (own / "a.jpg").is_symlink() and (own / "a.jpg").read_bytes() == before
    words = (tmp_path / "pose/labels/train/a.txt").read_text().split()
    assert [float(w) for w in words[5:]] == [0, 0, 0, 0.5, 0.5, 2]
    assert 'kpt_names:\n  0: ["a, b", "left: eye"]' in (tmp_path / "pose/data.yaml").read_text()
    failed = command(*YOLO, *arguments, f"--images={tmp_path}", check=False)
    assert failed.status == 1 and "holds none of the images of" in failed.err


def test_yolo_labels_without_visibility_and_wrong_lines(images, command, tmp_path):
    labels = tmp_path / "labels"
    (labels / "sub").mkdir(parents=True)
    (labels / "a.txt").write_text("0 .5 .5 .2 .4 .45 .4 0 0 .55 .6\n")
    skeleton = tmp_path / "three.json"
    skeleton.write_text(json.dumps({"name": "three", "keypoints": ["top", "middle", "end"]}))
    arguments = [f"--images={images}", f"--output={tmp_path / 'o.json'}", f"--skeleton={skeleton}"]
    done = command(*IMPORT, "yolo", *arguments)
    assert "2 images, 1 people, 2 labeled keypoints of 'three'" in done.out
    (person,) = read_annotations(tmp_path / "o.json").people
    assert person.box == pytest.approx((80, 30, 40, 40))
    np.testing.assert_allclose(person.keypoints, [[90, 40, 2], [0, 0, 0], [110, 60, 2]])
    (labels / "sub/b.txt").write_text("0 .5 .5 .2 .4 .1\n")
    failed = command(*IMPORT, "yolo", *arguments, check=False)
    assert failed.status == 1 and "b.txt: line 1 has 6 values, expected class" in failed.err
    (labels / "sub/b.txt").write_text("0 .5 .5 .2 .4 .1 .1 .97 .2 .2 .9 .3 .3 .1\n")
    failed = command(*IMPORT, "yolo", *arguments, check=False)
    assert failed.status == 1 and "line 1: a keypoint has visibility 0.97" in failed.err


def test_mpii(images, command, tmp_path):
    def point(number, x, y, **more):
        return {"id": number, "x": x, "y": y, **more}

    points = [point(9, 50, 10), point(8, 50, 30), point(0, 40, 90, is_visible=0)]
    points += [point(5, 60, 92, is_visible="1")]
    person = {"x1": 45, "y1": 8, "x2": 55, "y2": 30, "annopoints": {"point": points}}
    unlabeled = {"x1": 1, "y1": 2, "x2": 3, "y2": 4}
    release = {
        "annolist": [
            {"image": {"name": "a.jpg"}, "annorect": [person, unlabeled]},
            {"image": {"name": "sub/b.jpg"}, "annorect": unlabeled},
            {"image": {"name": "gone.jpg"}, "annorect": person},
        ],
        "img_train": [1, 0, 1],
    }
    savemat(tmp_path / "mpii.mat", {"RELEASE": release})
    arguments = [f"--images={images}", f"--source={tmp_path / 'mpii.mat'}"]
    done = command(*IMPORT, "mpii", *arguments, f"--output={tmp_path / 'o.json'}")
    assert "left out: 1 images" in done.out and "1 images, 1 people, 4 labeled" in done.out
    annotations = read_annotations(tmp_path / "o.json", strict=True)
    assert annotations.skeleton == KNOWN_SKELETONS["mpii"]
    rows = annotations.people[0].keypoints
    assert [tuple(rows[n]) for n in (9, 8, 0, 5, 3)] == [
        (50, 10, 2),
        (50, 30, 2),
        (40, 90, 1),
        (60, 92, 2),
        (0, 0, 0),
    ]
    # A tenth of the longer side about the keypoints
    assert annotations.people[0].box == pytest.approx((31.8, 1.8, 36.4, 98.4))
    (tmp_path / "text.mat").write_text("x")
    bad = [f"--images={images}", f"--source={tmp_path / 'text.mat'}", f"--output={tmp_path / 'p'}"]
    failed = command(*IMPORT, "mpii", *bad, check=False)
    assert failed.status == 1 and "text.mat: not the .mat file of MPII" in failed.err


def region(key, name, x, y, parent=None):
    value = {"x": x, "y": y, "width": 0.5, "keypointlabels": [name]}
    size = {"original_width": 200, "original_height": 100}
    return {"id": key, "type": "keypointlabels", "value": value, "parentID": parent, **size}


def rectangle(key, x, y, width, height):
    value = {"x": x, "y": y, "width": width, "height": height, "rectanglelabels": ["person"]}
    size = {"original_width": 200, "original_height": 100}
    return {"id": key, "type": "rectanglelabels", "value": value, **size}


def test_label_studio(images, command, tmp_path):
    two = [rectangle("r1", 10, 10, 30, 80), rectangle("r2", 50, 10, 40, 80)]
    two += [region("k1", "nose", 20, 20), region("k2", "nose", 60, 30)]
    two += [region("k3", "left_hip", 45, 50, parent="r2"), region("k4", "left_hip", 12, 60)]
    one = [region("k1", "nose", 50, 50)]
    # Other answers are about the image, or have no keypoints.
    one += [{"id": "c", "type": "choices", "value": {"choices": ["sharp"]}, "to_name": "img"}]
    one += [{**region("p", "nose", 0, 0), "type": "polygonlabels", "value": {"points": [[1, 2]]}}]
    tasks = [
        {"data": {"img": "/data/upload/4/a.jpg"}, "annotations": [{"result": two}]},
        {"data": {"img": "/data/local-files/?d=set/sub%2Fb.jpg"}, "annotations": [{"result": one}]},
        {"data": {"img": "a.jpg"}, "annotations": []},
    ]
    (tmp_path / "l.json").write_text(json.dumps(tasks))
    arguments = [f"--images={images}", f"--source={tmp_path / 'l.json'}"]
    command(*IMPORT, "label_studio", *arguments, f"--output={tmp_path / 'o.json'}")
    annotations = read_annotations(tmp_path / "o.json")
    assert annotations.skeleton.keypoints == ("nose", "left_hip")
    assert [p.box for p in annotations.people[:2]] == [(20, 10, 60, 80), (100, 10, 80, 80)]
    assert [p.keypoints.tolist() for p in annotations.people] == [
        [[40, 20, 2], [24, 60, 2]],
        [[120, 30, 2], [90, 50, 2]],
        [[100, 50, 2], [0, 0, 0]],
    ]
    assert annotations.images[2].file_name == "sub/b.jpg"
    # The same keypoints in COCO's order
    more = [*arguments, f"--output={tmp_path / 'c.json'}", "--skeleton=coco"]
    command(*IMPORT, "label_studio", *more)
    rows = read_annotations(tmp_path / "c.json").people[0].keypoints
    assert tuple(rows[COCO.keypoints.index("left_hip")]) == (24, 60, 2)
    tasks[1]["annotations"][0]["result"] = [*one, region("k9", "nose", 60, 50)]
    (tmp_path / "l.json").write_text(json.dumps(tasks))
    failed = command(*IMPORT, "label_studio", *more, check=False)
    assert failed.status == 1 and "task number 1: " in failed.err
    assert "nose twice for one person" in failed.err


def test_cvat(images, command, tmp_path):
    (tmp_path / "c.xml").write_text(
        """<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>
        <image id="0" name="a.jpg" width="200" height="100">
        <skeleton label="person" z_order="0">
        <points label="nose" occluded="0" outside="0" points="40.00,20.00"/>
        <points label="left_hip" occluded="1" outside="0" points="30.50,60.00"/>
        <points label="right_hip" occluded="0" outside="1" points="1.00,2.00"/></skeleton></image>
        <image id="1" name="sub/b.jpg" width="200" height="100"/></annotations>"""
    )
    arguments = [f"--images={images}", f"--output={tmp_path / 'o.json'}", "--skeleton=coco"]
    done = command(*IMPORT, "cvat", *arguments, f"--source={tmp_path / 'c.xml'}")
    assert "2 images, 1 people, 2 labeled keypoints of 'coco'" in done.out
    (person,) = read_annotations(tmp_path / "o.json").people
    hips = [COCO.keypoints.index(f"{side}_hip") for side in ("left", "right")]
    assert person.keypoints[[0, *hips]].tolist() == [[40, 20, 2], [30.5, 60, 1], [0, 0, 0]]
    for content, message in (
        ("<annotations/>", "has no images of CVAT"),
        ("<annotations><track/></annotations>", "export as CVAT for images"),
        ("<a", "not valid XML"),
    ):
        (tmp_path / "c.xml").write_text(content)
        failed = command(*IMPORT, "cvat", *arguments, f"--source={tmp_path / 'c.xml'}", check=False)
        assert failed.status == 1 and message in failed.err
