"""Annotation files that are unusual but readable; test_fuzz.py damages them at random."""

import pytest

from tfcpn.data.coco import read_annotations
from tfcpn.evaluation.metrics import coco_metrics
from tfcpn.utils.errors import InputError


def perfect(people):
    return [
        {
            "image_id": p.image_id,
            "category_id": 1,
            "keypoints": p.keypoints.ravel().tolist(),
            "score": 1.0,
        }
        for p in people
        if p.trainable
    ]


def test_an_annotation_with_id_0_is_evaluated(people_copy, edit_json):
    """pycocotools takes 0 for "not matched": perfect keypoints scored .931."""

    def renumber(data):
        for number, record in enumerate(data["annotations"]):
            record["id"] = number

    edit_json(people_copy.val_annotations, renumber)
    _, people, *_ = read_annotations(people_copy.val_annotations)
    assert min(p.id for p in people) == 0
    counted = {p.id for p in people if p.trainable}
    for counted_ids in (None, counted):
        assert coco_metrics(
            read_annotations(people_copy.val_annotations), perfect(people), counted=counted_ids
        )["AP"] == pytest.approx(1)


def test_an_annotation_id_that_appears_twice_is_refused(people_copy, edit_json):
    edit_json(
        people_copy.val_annotations,
        lambda d: d["annotations"][1].update(id=d["annotations"][0]["id"]),
    )
    with pytest.raises(InputError, match=r"annotation id \d+ appears twice"):
        read_annotations(people_copy.val_annotations)


@pytest.mark.parametrize(
    "categories, message",
    [
        (5, "categories is no list of objects"),
        ([{"name": "person"}], "categories is no list of objects, each with an id"),
        ([{"id": 1, "keypoints": ["a", "a"]}], "category id 1: keypoints names a keypoint twice"),
        (
            [{"id": 2, "keypoints": ["a"]}, {"id": 3, "keypoints": ["b"]}],
            r"different keypoints \(2 0, 3 0 annotations\): choose by --category",
        ),
        (
            [{"id": 7, "keypoints": ["nose"]}],
            "category_id is 1, which is not among the file's categories",
        ),
    ],
)
def test_categories_are_checked(people_copy, edit_json, categories, message):
    edit_json(people_copy.val_annotations, lambda data: data.update(categories=categories))
    with pytest.raises(InputError, match=message):
        read_annotations(people_copy.val_annotations)


def test_visibilities_of_0_and_1_become_those_of_coco(people_copy, edit_json):
    """Otherwise the global loss, which counts only visible keypoints, would train every map to
    zero.
    """

    def flatten(data):
        for record in data["annotations"]:
            record["keypoints"][2::3] = [min(v, 1) for v in record["keypoints"][2::3]]

    _, before, *_ = read_annotations(people_copy.val_annotations)
    edit_json(people_copy.val_annotations, flatten)
    _, people, *_ = read_annotations(people_copy.val_annotations)
    for p, q in zip(people, before):
        assert ((p.keypoints[:, 2] == 2) == (q.keypoints[:, 2] > 0)).all() and (
            p.keypoints[:, 2] != 1
        ).all()
