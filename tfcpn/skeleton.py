"""The 17 joints of COCO: names, left/right pairs, limbs. The only file that knows there are 17."""

from __future__ import annotations

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

LEFT_RIGHT_PAIRS = tuple(
    (left, JOINTS.index(name.replace("left_", "right_")))
    for left, name in enumerate(JOINTS)
    if name.startswith("left_")
)

_OTHER_SIDE = {a: b for left, right in LEFT_RIGHT_PAIRS for a, b in ((left, right), (right, left))}
# MIRROR[j] is the joint that j becomes in a mirror image: left and right trade places.
MIRROR = tuple(_OTHER_SIDE.get(joint, joint) for joint in range(NUM_JOINTS))

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
