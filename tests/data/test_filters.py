"""Filters of training people: the same rule in the pipeline and in tools/filter_coco.py."""

import json

import numpy as np
import pytest

from tfcpn.builders import training_filter
from tfcpn.config import Config
from tfcpn.data.coco import read_annotations
from tfcpn.data.record_sets import PersonFilter, passes_filter, read_records
from tfcpn.data.sampling import open_training_set, training_stream
from tfcpn.skeleton import COCO
from tfcpn.transforms.regions import has_alignment_keypoints
from tfcpn.utils.errors import InputError

RULES = {
    "no filter": PersonFilter(),
    "least keypoints": PersonFilter(min_keypoints=17),
    "required keypoints": PersonFilter(required=(3, 4)),
    "people in the image": PersonFilter(max_people=1),
    "area": PersonFilter(min_area=6000.0),
    "all of it": PersonFilter(15, (0, 11, 12), 2, 3000.0),
}


def slowly(people, rules):
    """Return the ids that pass the filters, in plain Python."""
    passed = set()
    for p in people:
        labeled = {j for j in range(17) if p.keypoints[j, 2] > 0}
        neighbors = sum(q.image_id == p.image_id for q in people)
        if (
            len(labeled) < rules.min_keypoints
            or not set(rules.required) <= labeled
            or p.area < rules.min_area
        ):
            continue
        if not rules.max_people or neighbors <= rules.max_people:
            passed.add(p.id)
    return passed


@pytest.mark.parametrize("name", RULES)
def test_training_uses_each_person_that_passes_the_filters_once_per_pass(people, name):
    rules = RULES[name]
    _, annotated, *_ = read_annotations(people.train_annotations)
    trainable = [p for p in annotated if p.trainable]
    expected = slowly(trainable, rules)
    assert 0 < len(expected) < len(trainable) or name == "no filter"
    source = open_training_set(read_records(people.records), rules, shuffle_buffer=8)
    assert source.people == len(expected)

    def ids(first, count):
        return [
            int(i) for i in training_stream(source, first, lambda group: group["id"]).take(count)
        ]

    assert sorted(ids(0, 2 * len(expected))) == sorted([*expected, *expected])
    # A resumed run counts only people that pass.
    assert ids(len(expected) + 2, 3) == ids(0, 2 * len(expected))[len(expected) + 2 :][:3]


def test_people_without_alignment_keypoints_are_dropped():
    cfg = Config(
        align="blazepose",
        input_size=(256, 256),
        align_missing="drop",
        align_radius="nose",
        filter_require=("left_knee",),
    )
    assert training_filter(cfg, COCO).required == (0, 11, 12, 13)
    for other in (Config(align="blazepose", input_size=(256, 256)), Config(align_missing="drop")):
        assert training_filter(other, COCO) == PersonFilter()


def test_a_filter_that_no_person_passes_is_named(people):
    with pytest.raises(InputError, match=r"none of its \d+ people passes the filters"):
        open_training_set(read_records(people.records), PersonFilter(min_area=1e9))


@pytest.fixture
def run_filter(people, command, tmp_path):
    def run(*arguments, check=True):
        done = command(
            *(
                "tools/filter_coco.py",
                f"--annotations={people.train_annotations}",
                f"--output={tmp_path / 'f.json'}",
            ),
            *arguments,
            check=check,
        )
        return done, tmp_path / "f.json"

    return run


def test_the_tool_writes_and_counts_the_people_that_pass(people, run_filter):
    rules = PersonFilter(15, (0, 11, 12), 2, 3000.0)
    arguments = [
        "--min_keypoints=15",
        "--require=nose,left_hip,right_hip",
        "--max_people=2",
        "--min_area=3000",
    ]
    done, path = run_filter(*arguments)
    _, before, *_ = read_annotations(people.train_annotations)
    before = [p for p in before if p.trainable]
    images_left, after, *_ = read_annotations(path)
    left = {p.id for p in after if p.trainable}
    assert left == slowly(before, rules)
    # Other people stay in the images, without keypoints.
    assert {p.id for p in after} > left
    assert {p.image_id for p in before if p.id in left} <= set(images_left)
    row = next(line for line in done.out.splitlines() if "labeled people" in line).split("|")
    assert (int(row[2]), int(row[3])) == (len(before), len(left))
    row = next(line for line in done.out.splitlines() if "BlazePose" in line).split("|")
    assert int(row[2]) == sum(
        bool(has_alignment_keypoints(p.keypoints, COCO, "body")) for p in before
    )
    assert json.loads(path.read_text())["info"]["filter"]["min_keypoints"] == 15


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--require=tail"], "--require=tail: there is no keypoint 'tail'; there are nose"),
        (["--min_keypoints=18"], "none of its"),
        (["--annotations=nowhere.json"], "nowhere.json: cannot be read"),
    ],
)
def test_invalid_input_is_reported_in_one_line_and_nothing_is_written(
    run_filter, arguments, message
):
    failed, path = run_filter(*arguments, check=False)
    (line,) = failed.err.strip().splitlines()
    assert failed.status == 1 and line.startswith("error: ") and message in line
    assert not path.exists()


def test_a_filter_accepts_one_person_and_arrays():
    keypoints = np.zeros((2, 17, 3))
    keypoints[0, :5, 2] = 2
    assert passes_filter(
        keypoints, [10.0, 10.0], [1, 1], PersonFilter(min_keypoints=5)
    ).numpy().tolist() == [True, False]
    assert bool(passes_filter(keypoints[0], 10.0, 1, PersonFilter(min_keypoints=5)))
