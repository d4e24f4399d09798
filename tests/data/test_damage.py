"""Files that were damaged anywhere are read, or refused in one line; what is read can be scored."""

import copy
import json
import random

import pytest

from tfcpn.base.errors import InputError
from tfcpn.data.coco import read_annotations
from tfcpn.data.detections import read_detections
from tfcpn.evaluation.average_precision import coco_metrics

STRANGE = [
    None,
    True,
    False,
    0,
    -1,
    2**200,
    -(2**70),
    1e300,
    0.5,
    "",
    "x",
    "\0",
    [],
    [[]],
    {},
    {"id": 1},
    "1",
    [1, 2],
]


def places(value, path=()):
    """The way to everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def damaged(data, rng: random.Random):
    """A copy with one thing replaced by something strange, left out, or put there twice."""
    data = copy.deepcopy(data)
    path = rng.choice(list(places(data)))
    holder = data
    for key in path[:-1]:
        holder = holder[key]
    kind = rng.choice(["replace", "replace", "remove", "double"])
    if kind == "remove":
        del holder[path[-1]]
    elif kind == "double" and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[path[-1]]))
    else:
        holder[path[-1]] = rng.choice(STRANGE)
    return data


def one_of_each(data):
    """A file of one picture, so that a damage hits a field and not a polygon's hundredth point."""
    data = copy.deepcopy(data)
    labelled = next(a for a in data["annotations"] if a["num_keypoints"])
    crowd = next(a for a in data["annotations"] if a["iscrowd"])
    crowd = {**crowd, "image_id": labelled["image_id"]}
    crowd["segmentation"]["counts"] = crowd["segmentation"]["counts"][:4]
    labelled["segmentation"] = [polygon[:6] for polygon in labelled["segmentation"][:1]]
    images = [image for image in data["images"] if image["id"] == labelled["image_id"]]
    return {**data, "images": images, "annotations": [labelled, crowd]}


def test_three_thousand_damaged_annotation_files(people, tmp_path):
    data = one_of_each(json.loads(people.train_annotations.read_text()))
    path, rng, refused = tmp_path / "a.json", random.Random(0), 0
    for number in range(3000):
        path.write_text(json.dumps(damaged(data, rng)))
        try:
            read = read_annotations(path)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error) and str(error).startswith(f"{path}: ")
            continue
        if number % 4 == 0:  # what was accepted can be scored
            joints = [1.0] * 3 * read.skeleton.count
            results = [
                {"image_id": p.image_id, "category_id": read.category, "keypoints": joints, "score": 1}
                for p in read.people
            ]
            coco_metrics(str(path), results, None, read.skeleton, read.category)
    assert 1000 < refused < 2900


def test_a_thousand_damaged_detection_files(people, tmp_path):
    images, annotated, *_ = read_annotations(people.train_annotations)
    boxes = [{"image_id": p.image_id, "category_id": 1, "bbox": list(p.box), "score": 0.5} for p in annotated[:3]]
    boxes[0]["align_points"] = [1, 2, 3, 4]
    path, rng, refused = tmp_path / "d.json", random.Random(1), 0
    for _ in range(1000):
        path.write_text(json.dumps(damaged(boxes, rng)))
        try:
            read_detections(path, images)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error) and str(error).startswith(f"{path}: ")
    assert 200 < refused < 950


def perfect(people):
    return [
        {"image_id": p.image_id, "category_id": 1, "keypoints": p.keypoints.ravel().tolist(), "score": 1.0}
        for p in people
        if p.trainable
    ]


def test_an_annotation_with_id_0_counts_like_any_other(people_copy, edit_json):
    """pycocotools takes 0 for "matched to nobody": perfect joints scored .931."""

    def renumber(data):
        for number, record in enumerate(data["annotations"]):
            record["id"] = number

    edit_json(people_copy.val_annotations, renumber)
    _, people, *_ = read_annotations(people_copy.val_annotations)
    assert min(p.id for p in people) == 0
    counted = {p.id for p in people if p.trainable}
    for who in (None, counted):
        assert coco_metrics(str(people_copy.val_annotations), perfect(people), who)["AP"] == pytest.approx(1)


def test_an_annotation_id_that_appears_twice_is_refused(people_copy, edit_json):
    edit_json(people_copy.val_annotations, lambda d: d["annotations"][1].update(id=d["annotations"][0]["id"]))
    with pytest.raises(InputError, match=r"annotation id \d+ appears twice"):
        read_annotations(people_copy.val_annotations)


@pytest.mark.parametrize(
    "categories, message",
    [
        (5, "categories is no list of objects"),
        ([{"name": "person"}], "categories is no list of objects, each with an id"),
        ([{"id": 1, "name": "person"}], "none of its categories has keypoints"),
        ([{"id": 1, "keypoints": ["a", "a"]}], "category id 1: keypoints names a joint twice"),
        ([{"id": 2, "keypoints": ["a"]}, {"id": 3, "keypoints": ["b"]}], "2 categories have keypoints"),
        ([{"id": 7, "keypoints": ["nose"]}], "category_id is 1, which is not among the file's categories"),
    ],
)
def test_categories_are_checked(people_copy, edit_json, categories, message):
    edit_json(people_copy.val_annotations, lambda data: data.update(categories=categories))
    with pytest.raises(InputError, match=message):
        read_annotations(people_copy.val_annotations)


def test_a_file_that_knows_only_0_and_1_gets_cocos_visibilities(people_copy, edit_json):
    """Else the global loss, which wants to see joints, would train everything towards zero."""

    def flatten(data):
        for record in data["annotations"]:
            record["keypoints"][2::3] = [min(v, 1) for v in record["keypoints"][2::3]]

    _, before, *_ = read_annotations(people_copy.val_annotations)
    edit_json(people_copy.val_annotations, flatten)
    _, people, *_ = read_annotations(people_copy.val_annotations)
    for p, q in zip(people, before):
        assert ((p.keypoints[:, 2] == 2) == (q.keypoints[:, 2] > 0)).all() and (p.keypoints[:, 2] != 1).all()
