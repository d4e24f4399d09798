import json

import numpy as np
import pytest
from pycocotools.cocoeval import Params

from tfcpn.data.coco import coco_categories
from tfcpn.skeleton import (
    COCO,
    LSP,
    from_category,
    from_dict,
    from_names,
    to_dict,
    unpaired_keypoints,
)
from tfcpn.utils.errors import InputError

BEETLE = from_names("beetle", ("jaw", "left_wing", "right_wing", "tail"), [(0, 3), (1, 2)])


def test_flip_pairs_equal_those_of_coco():
    assert COCO.pairs == ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))


def test_mirroring_twice_changes_nothing():
    mirror = COCO.flip_indices
    assert [mirror[mirror[j]] for j in range(17)] == list(range(17))
    assert (
        mirror[0] == 0 and COCO.keypoints[mirror[COCO.keypoints.index("left_knee")]] == "right_knee"
    )


def test_limbs_reach_every_keypoint_and_their_mirror_is_a_limb():
    assert {j for limb in COCO.limbs for j in limb} == set(range(17))
    limbs = {frozenset(limb) for limb in COCO.limbs}
    assert {frozenset(COCO.flip_indices[j] for j in limb) for limb in limbs} == limbs


def test_coco_sigmas_equal_those_of_pycocotools_exactly():
    np.testing.assert_array_equal(COCO.sigmas, Params("keypoints").kpt_oks_sigmas)


def test_roles_are_found_by_name_and_may_be_missing():
    assert (COCO.hips, COCO.shoulders, COCO.nose, COCO.head) == ((11, 12), (5, 6), (0,), ())
    assert (BEETLE.hips, BEETLE.shoulders, BEETLE.nose, BEETLE.pairs) == ((), (), (), ((1, 2),))


def test_alignment_points_come_last_and_are_not_annotated():
    more = COCO.with_align_points()
    assert (more.num_keypoints, more.num_annotated, COCO.num_annotated) == (19, 17, 17)
    assert more.flip_indices == [*COCO.flip_indices, 17, 18] and more.limbs[-1] == (17, 18)


@pytest.mark.parametrize("skeleton", [COCO, BEETLE, COCO.with_align_points()])
def test_a_skeleton_is_read_back_from_json(skeleton):
    assert from_dict(json.loads(json.dumps(to_dict(skeleton)))) == skeleton


@pytest.mark.parametrize("skeleton", [COCO, BEETLE])
def test_a_skeleton_is_read_back_from_a_coco_category(skeleton):
    (category,) = coco_categories(skeleton)
    again = from_category({**category, "name": skeleton.name})
    assert again == skeleton


@pytest.mark.parametrize(
    "change, message",
    [
        ({"keypoints": "nose"}, "keypoints is no list of names"),
        ({"keypoints": []}, "keypoints is no list of names"),
        ({"keypoints": ["a", "a"]}, "names a keypoint twice"),
        (
            {"keypoints": ["a", "b"], "skeleton": [[1, 3]]},
            "skeleton is no list of pairs of keypoints 1 to 2",
        ),
        ({"keypoints": ["a", "b"], "skeleton": 5}, "skeleton is no list"),
    ],
)
def test_a_category_without_a_skeleton_is_refused_with_the_reason(change, message):
    with pytest.raises(ValueError, match=message):
        from_category({"id": 1, "name": "x", **change})


def test_an_unknown_keypoint_is_named_with_the_flag():
    assert COCO.indices(("nose", "left_hip"), "require") == (0, 11)
    with pytest.raises(
        InputError, match="--require=tail: there is no keypoint 'tail'; there are nose, "
    ):
        COCO.indices(("tail",), "require")


@pytest.mark.parametrize(
    "left, right",
    [
        ("left_knee", "right_knee"),
        ("LKnee", "RKnee"),
        ("knee_l", "knee_r"),
        ("Left Knee", "Right Knee"),
    ],
)
def test_left_and_right_are_found_by_a_word_in_the_name(left, right):
    assert from_names("x", ("tail", left, right)).pairs == ((1, 2),)
    assert unpaired_keypoints(from_names("x", ("tail", left))) == [left]


def test_words_that_begin_like_a_side_are_not_sides():
    assert from_names("x", ("lips", "rips", "l", "leftover", "rightover")).pairs == ()


def test_leeds_sports_pose_is_known():
    assert (
        LSP.num_keypoints == 14
        and LSP.hips == (3, 2)
        and LSP.shoulders == (9, 8)
        and LSP.head == (13,)
    )
    assert sorted(LSP.pairs) == [(3, 2), (4, 1), (5, 0), (9, 8), (10, 7), (11, 6)]
    assert LSP.sigmas[0] == COCO.sigmas[16]
