import json

import numpy as np
import pytest

from tfcpn.data.coco import CocoImage, coco_categories, read_annotations
from tfcpn.data.detections import PersonBox, coco_result, read_detections
from tfcpn.evaluation.metrics import COCO_METRICS, coco_metrics, metrics_table
from tfcpn.utils.errors import InputError


def person(**changes):
    keypoints = np.zeros((17, 3), int)
    keypoints[:5] = [[10 + i, 20 + i, 1 + i % 2] for i in range(5)]
    record = {
        "id": 7,
        "image_id": 1,
        "category_id": 1,
        "bbox": [5, 6, 50, 60],
        "area": 1500.5,
        "iscrowd": 0,
    }
    record |= {"keypoints": keypoints.ravel().tolist(), "num_keypoints": 5}
    return {**record, **changes}


def write(path, annotations, images=None, others=()):
    images = images or [{"id": 1, "file_name": "a.jpg", "height": 100, "width": 200}]
    path.write_text(
        json.dumps(
            {
                "images": images,
                "annotations": annotations,
                "categories": [*coco_categories(), *others],
            }
        )
    )
    return path


def test_people_are_read_with_their_fields(tmp_path):
    images, people, *_ = read_annotations(
        write(tmp_path / "a.json", [person(), person(id=8, iscrowd=1)])
    )
    assert images == {1: CocoImage(1, "a.jpg", 100, 200)}
    assert people[0].box == (5, 6, 50, 60) and people[0].trainable
    assert not people[1].trainable


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"keypoints": [0] * 48, "num_keypoints": 0},
            "annotation id 7: keypoints has 48 values, expected 17 keypoints x 3",
        ),
        ({"bbox": [1, 2, 3]}, "annotation id 7: bbox"),
        ({"image_id": 99}, "annotation id 7: image_id 99 is not among"),
        ({"bbox": [1, 2, -3, 5]}, "annotation id 7: bbox"),
        ({"area": "large"}, "area is 'large'"),
        ({"area": -1}, "area is -1"),
        ({"iscrowd": 2}, "iscrowd is 2"),
        ({"keypoints": [float("nan")] * 51}, "keypoints .* not a number"),
        ({"keypoints": [1, 1, 3] * 17, "num_keypoints": 17}, "visibility other than"),
    ],
)
def test_a_bad_field_is_named(tmp_path, changes, message):
    with pytest.raises(
        InputError, match=f"a.json: {message}" if message.startswith("ann") else message
    ):
        read_annotations(write(tmp_path / "a.json", [person(**changes)]))


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "is empty"),
        ("{", "not valid JSON"),
        ("[]", "has no list 'images'"),
        ('{"images": [], "annotations": []}', "no person in it has a labeled keypoint"),
        (
            '{"images": [{"id": 3, "height": -1, "width": 5}], "annotations": []}',
            "image id 3: height is -1",
        ),
        ('{"images": [4], "annotations": []}', "image number 0: is not an object"),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(InputError, match=f"a.json: .*{message}|a.json: {message}"):
        read_annotations(path)


def test_only_people_on_annotated_images_are_read_from_detections(tmp_path):
    images = {1: CocoImage(1, "a.jpg", 100, 200)}
    path = tmp_path / "d.json"
    detection = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
    path.write_text(
        json.dumps([detection, {**detection, "category_id": 18}, {**detection, "image_id": 2}])
    )
    assert read_detections(path, images) == [PersonBox(1, (1, 2, 3, 4), 0.5)]
    for bad, message in (
        ([{**detection, "image_id": 2}], "holds no detection of a person on the annotated images"),
        ([{**detection, "image_id": [1]}], "detection number 0: image_id is"),
        ([detection, {**detection, "bbox": [1, 2, 3]}], "detection number 1: bbox"),
        ([{**detection, "score": "high"}], "score is 'high'"),
        ({"boxes": []}, "expected a list of detections"),
    ):
        path.write_text(json.dumps(bad))
        with pytest.raises(InputError, match=message):
            read_detections(path, images)


def test_fields_that_pycocotools_needs_are_optional(tmp_path):
    record = person()
    del record["iscrowd"], record["num_keypoints"], record["category_id"]
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a", "height": 9, "width": 9}],
                "annotations": [record],
            }
        )
    )
    _, (only,), *_ = read_annotations(path)
    found = coco_result(
        PersonBox(1, only.box, 1.0), keypoints=only.keypoints[:, :2], scores=np.ones(17)
    )
    assert coco_metrics(read_annotations(path), [found])["AP"] == pytest.approx(1)


def test_annotations_of_other_categories_are_skipped(tmp_path):
    """As in COCO's instances files, whose dogs have no keypoints."""
    dog = {
        "id": 9,
        "image_id": 1,
        "category_id": 18,
        "bbox": [1, 2, 3, 4],
        "area": 12,
        "iscrowd": 0,
    }
    path = write(tmp_path / "a.json", [dog, person()], others=[{"id": 18, "name": "dog"}])
    _, (only,), *_ = read_annotations(path)
    found = coco_result(
        PersonBox(1, only.box, 1.0), keypoints=only.keypoints[:, :2], scores=np.ones(17)
    )
    assert coco_metrics(read_annotations(path), [found], counted={7})["AP"] == pytest.approx(1)


def test_a_result_is_rounded_as_in_the_original():
    box = PersonBox(1, (0, 0, 9, 9), 0.5)
    entry = coco_result(box, keypoints=np.full((17, 2), 1.23456), scores=np.full(17, 0.77777))
    assert entry["keypoints"][:3] == [1.235, 1.235, 1.0]
    assert entry["score"] == 0.3889


def test_perfect_keypoints_score_1_and_missing_ones_0(people):
    _, annotated, *_ = read_annotations(people.val_annotations)
    trainable = [p for p in annotated if p.trainable]
    perfect = [
        coco_result(
            PersonBox(p.image_id, p.box, 1.0), keypoints=p.keypoints[:, :2], scores=np.ones(17)
        )
        for p in trainable
    ]
    metrics = coco_metrics(read_annotations(people.val_annotations), perfect)
    assert tuple(metrics) == COCO_METRICS
    assert metrics["AP"] == pytest.approx(1) and metrics["AR"] == pytest.approx(1)
    lost = [{**r, "keypoints": [-500.0] * 51} for r in perfect]
    assert coco_metrics(read_annotations(people.val_annotations), lost)["AP"] == 0


def test_the_table_has_the_logs_form():
    metrics = dict(zip(COCO_METRICS, [0.7016, 0.904, 0.7824, 1.0, -1.0, 0, 0, 0, 0, 0]))
    assert (
        metrics_table([("350", metrics)]).splitlines()[-1]
        == "| 350   |  .702 |  .904 |  .782 | 1.000 |   n/a |"
    )
