"""People of whom some cannot be aligned."""

import pytest

from tfcpn.skeleton import COCO


@pytest.fixture
def uneven_people(people_copy, edit_json):
    """The drawn people, of whom two lack a joint that BlazePose's alignment needs."""

    def unlabel(data):
        labelled = [a for a in data["annotations"] if a["num_keypoints"]]
        for record, joint in ((labelled[0], "left_shoulder"), (labelled[3], "right_hip")):
            first = 3 * COCO.joints.index(joint)
            record["keypoints"][first : first + 3] = [0, 0, 0]
            record["num_keypoints"] = sum(v > 0 for v in record["keypoints"][2::3])

    edit_json(people_copy.val_annotations, unlabel)
    return people_copy
