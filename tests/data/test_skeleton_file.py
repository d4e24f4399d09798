"""Custom keypoints from a file."""

import json

import pytest

from tfcpn.skeleton import COCO, LSP, MEDIAPIPE, skeleton_from_flag
from tfcpn.utils.errors import InputError

BEETLE = {
    "name": "beetle",
    "keypoints": ["jaw", "wing_a", "wing_b", "tail"],
    "pairs": [["wing_a", "wing_b"]],
    "limbs": [["jaw", "tail"]],
    "sigmas": [0.1, 0.2, 0.2, 0.05],
    "nose": "jaw",
}


def test_keypoints_are_chosen_by_name():
    assert skeleton_from_flag("auto") is None
    assert [skeleton_from_flag(name) for name in ("coco", "lsp", "mediapipe")] == [
        COCO,
        LSP,
        MEDIAPIPE,
    ]
    assert (
        MEDIAPIPE.num_keypoints == 33 and len(MEDIAPIPE.pairs) == 16 and MEDIAPIPE.hips == (23, 24)
    )
    assert MEDIAPIPE.keypoints[31:] == ("left_foot_index", "right_foot_index")
    message = "--skeleton=beetle: expected auto, coco, lsp, .*, posetrack or a .json file"
    with pytest.raises(InputError, match=message):
        skeleton_from_flag("beetle")


def test_a_file_defines_what_keypoint_names_cannot(tmp_path):
    path = tmp_path / "beetle.json"
    path.write_text(json.dumps(BEETLE))
    skeleton = skeleton_from_flag(str(path))
    assert (skeleton.name, skeleton.num_keypoints, skeleton.flip_indices) == (
        "beetle",
        4,
        [0, 2, 1, 3],
    )
    assert (skeleton.limbs, skeleton.sigmas, skeleton.nose) == (
        ((0, 3),),
        (0.1, 0.2, 0.2, 0.05),
        (0,),
    )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"keypoints": None}, "keypoints is None, expected a list of names"),
        ({"keypoints": ["a", "a"]}, "keypoints names one twice"),
        ({"name": 5}, "name is 5, expected a text"),
        ({"pairs": [["jaw"]]}, r"pairs is \['jaw'\], expected 2 names of keypoints"),
        ({"pairs": [["jaw", "leg"]]}, "pairs: there is no keypoint 'leg'"),
        ({"pairs": [["jaw", "jaw"]]}, "pairs names a keypoint twice"),
        ({"pairs": [["jaw", "tail"], ["tail", "wing_a"]]}, "pairs has a keypoint in two pairs"),
        ({"limbs": 3}, "limbs is 3, expected a list of pairs"),
        ({"sigmas": [1, 2]}, r"sigmas is \[1, 2\], expected 4 numbers from 0.001 on"),
        ({"sigmas": [1, 2, 3, 0]}, "expected 4 numbers from 0.001 on"),
        ({"hips": ["jaw", "jaw"]}, "hips names a keypoint twice"),
        ({"keypoints": ["mid_hip", "a"]}, "which are no annotated keypoints"),
        ({"hips": ["jaw"]}, r"hips is \['jaw'\], expected 0 or 2 names"),
        ({"nose": ["jaw", "tail"]}, "expected 0 or 1 names"),
        ({"nose": {"a": 1}}, "expected 0 or 1 names"),
        ({"legs": []}, "there is no field 'legs'; there are aliases, head, hips"),
    ],
)
def test_each_fault_of_a_file_is_named(tmp_path, change, message):
    path = tmp_path / "beetle.json"
    path.write_text(json.dumps({**BEETLE, **change}))
    with pytest.raises(InputError, match=f"beetle.json: .*{message}"):
        skeleton_from_flag(str(path))


def test_an_invalid_skeleton_file_is_named(tmp_path):
    for content, message in (
        ("", "is empty"),
        ("[1]", "expected an object"),
        ("{", "not valid JSON"),
    ):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(InputError, match=message):
            skeleton_from_flag(str(tmp_path / "a.json"))
    with pytest.raises(InputError, match="nowhere.json: cannot be read"):
        skeleton_from_flag("nowhere.json")
