"""The 17 joints of COCO: names, left/right pairs, limbs; two alignment points that may be predicted as joints too.

The only file that knows how many there are.
"""

from __future__ import annotations

from tfcpn.errors import InputError

JOINTS = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
NUM_JOINTS = len(JOINTS)
# The mid-hip, and the point above it on the circle around the body: joints 18 and 19 where they are predicted.
ALIGN_POINTS = ("mid_hip", "body_circle")


def num_joints(predict_align_points: bool) -> int:
    """Joints that a network predicts."""
    return NUM_JOINTS + (len(ALIGN_POINTS) if predict_align_points else 0)


LEFT_RIGHT_PAIRS = tuple(
    (left, JOINTS.index(name.replace("left_", "right_")))
    for left, name in enumerate(JOINTS)
    if name.startswith("left_")
)

_OTHER_SIDE = {a: b for left, right in LEFT_RIGHT_PAIRS for a, b in ((left, right), (right, left))}


def parse_joints(text: str, flag: str) -> tuple[str, ...]:
    """Names of joints, separated by commas; "" names none. Raises InputError for one that there is not."""
    names = tuple(word.strip() for word in text.split(",") if word.strip())
    for name in names:
        if name not in JOINTS:
            raise InputError(f"--{flag}={text}: there is no joint {name!r}; there are {', '.join(JOINTS)}")
    return names


def mirror(count: int) -> list[int]:
    """The joint that each of the first `count` becomes in a mirror image: left and right trade places."""
    return [_OTHER_SIDE.get(joint, joint) for joint in range(count)]


_LIMB_NAMES = (
    ("nose", "left_eye"),
    ("nose", "right_eye"),
    ("left_eye", "left_ear"),
    ("right_eye", "right_ear"),
    ("left_shoulder", "right_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
    ("left_hip", "right_hip"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
)
LIMBS = tuple((JOINTS.index(a), JOINTS.index(b)) for a, b in _LIMB_NAMES)
