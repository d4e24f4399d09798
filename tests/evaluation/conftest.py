"""People, some of whom lack the alignment keypoints."""

import pytest

from tfcpn.skeleton import COCO


@pytest.fixture
def uneven_people(people_copy, edit_json):
    """The drawn people; two lack a keypoint that BlazePose's alignment needs."""

    def unlabel(data):
        labeled = [a for a in data["annotations"] if a["num_keypoints"]]
        for record, keypoint in ((labeled[0], "left_shoulder"), (labeled[3], "right_hip")):
            first = 3 * COCO.keypoints.index(keypoint)
            record["keypoints"][first : first + 3] = [0, 0, 0]
            record["num_keypoints"] = sum(v > 0 for v in record["keypoints"][2::3])

    edit_json(people_copy.val_annotations, unlabel)
    return people_copy
