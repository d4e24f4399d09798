"""A set of joints as a value: names, left/right pairs, limbs, and which joints stand for hips, shoulders and head.

A Skeleton is passed to whatever needs it. It comes with the data: from the category of an annotation file, or from
the index of records, and a run keeps it in its config.json.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from tfcpn.base.errors import InputError

# The mid-hip, and the point above it on the circle around the body: two more joints where they are predicted.
ALIGN_POINTS = ("mid_hip", "body_circle")
_SIDES_BY_WORD = {"left": "left", "l": "left", "right": "right", "r": "right"}


@dataclass(frozen=True)
class Skeleton:
    """The joints of a person, K of them.

    pairs: (left, right) joints that trade places in a mirror image. limbs: pairs of joints to draw a line between.
    sigmas: (K,) the tolerance of each joint in COCO's object keypoint similarity; None where nobody measured it.
    hips, shoulders: two joints each, left and right, or none. nose, neck, head (its top): one joint, or none. Joints
    are told by their number.
    align_points: whether the last two joints are the alignment points, which nobody annotates.
    """

    name: str
    joints: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...] = ()
    limbs: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] | None = None
    hips: tuple[int, ...] = ()
    shoulders: tuple[int, ...] = ()
    nose: tuple[int, ...] = ()
    neck: tuple[int, ...] = ()
    head: tuple[int, ...] = ()
    align_points: bool = False

    @property
    def count(self) -> int:
        return len(self.joints)

    @property
    def annotated(self) -> int:
        """How many of the joints an annotation has: all but the alignment points, which are the last ones."""
        return self.count - len(ALIGN_POINTS) * self.align_points

    @property
    def mirror(self) -> list[int]:
        """The joint that each joint becomes in a mirror image: left and right trade places."""
        other = {a: b for left, right in self.pairs for a, b in ((left, right), (right, left))}
        return [other.get(joint, joint) for joint in range(self.count)]

    def with_align_points(self) -> Skeleton:
        """The same joints and the two alignment points behind them, with the body's radius as a limb."""
        first = self.count
        limbs = (*self.limbs, (first, first + 1))
        return dataclasses.replace(self, joints=self.joints + ALIGN_POINTS, limbs=limbs, align_points=True)

    def numbers(self, names: tuple[str, ...], flag: str) -> tuple[int, ...]:
        """The numbers of these joints. Raises InputError, naming the flag, for one that there is not."""
        for name in names:
            if name not in self.joints:
                raise InputError(
                    f"--{flag}={','.join(names)}: there is no joint {name!r}; there are {', '.join(self.joints)}"
                )
        return tuple(self.joints.index(name) for name in names)


def _side_and_part(joint: str) -> tuple[str, str]:
    """left_knee, LKnee and "Knee L" -> ("left", "knee"); nose -> ("", "nose")."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", joint)]
    glued = re.fullmatch(r"([LR])([A-Z][a-z]+)", joint)  # LKnee
    if glued:
        words = [part.lower() for part in glued.groups()]
    sides = [_SIDES_BY_WORD[word] for word in words if word in _SIDES_BY_WORD]
    side = sides[0] if len(sides) == 1 else ""
    return side, "".join(word for word in words if not side or word not in _SIDES_BY_WORD)


def joint_part(joint: str) -> str:
    """What a joint's name says without its side: left_knee and LKnee -> knee."""
    return _side_and_part(joint)[1]


def one_sided(skeleton: Skeleton) -> list[str]:
    """Joints whose names say left or right but whose other side is not there."""
    paired = {joint for pair in skeleton.pairs for joint in pair}
    return [name for number, name in enumerate(skeleton.joints) if _side_and_part(name)[0] and number not in paired]


def limits(skeleton: Skeleton) -> list[str]:
    """What cannot be done with these joints, for want of what they do not tell: a line each."""
    lines = []
    if not skeleton.pairs:
        lines.append("no left and right: mirror images keep every joint, which is wrong if there are sides")
    if not skeleton.hips or not (skeleton.shoulders or skeleton.nose):
        lines.append("no hips with shoulders or a nose: no --align=blazepose")
    elif not skeleton.shoulders:
        lines.append("no shoulders: --align=blazepose with --align_radius=nose only")
    if not skeleton.hips or not skeleton.shoulders:
        lines.append("no torso: PCK is relative to the box")
    if skeleton.sigmas is None:
        lines.append("no tolerances: AP is that of COCO's mean tolerance for every joint")
    return lines


def by_names(name: str, joints: tuple[str, ...], limbs=(), sigmas=None) -> Skeleton:
    """The skeleton whose pairs and roles are told by the joints' names: left_hip or LHip, nose, head_top."""
    joints = tuple(joints)
    told = [_side_and_part(joint) for joint in joints]
    # What two joints are called alike says nothing of either.
    parts = {part: number for number, part in enumerate(told) if told.count(part) == 1}

    def named(part: str, *sides: str) -> tuple[int, ...]:
        found = tuple(parts[side, part] for side in sides if (side, part) in parts)
        return found if len(found) == len(sides) else ()

    pairs = [(parts[side, part], parts.get(("right", part))) for side, part in parts if side == "left"]
    return Skeleton(
        name,
        joints,
        pairs=tuple((left, right) for left, right in pairs if right is not None),
        limbs=tuple((int(a), int(b)) for a, b in limbs),
        sigmas=sigmas,
        hips=named("hip", "left", "right"),
        shoulders=named("shoulder", "left", "right"),
        nose=named("nose", ""),
        neck=named("neck", ""),
        head=named("headtop", "") or named("head", ""),
    )


_SIDES = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_COCO_JOINTS = ("nose", *(f"{side}_{part}" for part in _SIDES for side in ("left", "right")))
_COCO_LIMBS = (
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
# COCO's published tolerances, from nose to ankle, the same left and right.
_COCO_SIGMAS = (0.25, 0.35, 0.79, 0.72, 0.62, 1.07, 0.87, 0.89)
COCO = by_names(
    "coco",
    _COCO_JOINTS,
    tuple((_COCO_JOINTS.index(a), _COCO_JOINTS.index(b)) for a, b in _COCO_LIMBS),
    (0.26 / 10, *(sigma / 10 for sigma in _COCO_SIGMAS for _ in range(2))),
)


# Leeds Sports Pose: COCO's tolerances where it has the joint; those of neck and head top are CrowdPose's.
_LSP_JOINTS = ("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle")
_LSP_JOINTS += ("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist")
_LSP_JOINTS += ("neck", "head_top")
_LSP_LIMBS = ((0, 1), (1, 2), (5, 4), (4, 3), (6, 7), (7, 8), (11, 10), (10, 9), (8, 2), (9, 3), (2, 3))
LSP = by_names(
    "lsp",
    _LSP_JOINTS,
    (*_LSP_LIMBS, (8, 12), (9, 12), (12, 13)),
    tuple(COCO.sigmas[COCO.joints.index(j)] if j in COCO.joints else 0.079 for j in _LSP_JOINTS),
)


# MediaPipe's 33 landmarks, as its documentation numbers them; nobody published tolerances of all.
_HAND = ("pinky", "index", "thumb")
_MEDIAPIPE_JOINTS = ("nose", "left_eye_inner", "left_eye", "left_eye_outer")
_MEDIAPIPE_JOINTS += ("right_eye_inner", "right_eye", "right_eye_outer", "left_ear", "right_ear")
_MEDIAPIPE_JOINTS += ("mouth_left", "mouth_right")
_MEDIAPIPE_JOINTS += tuple(f"{s}_{part}" for part in ("shoulder", "elbow", "wrist") for s in ("left", "right"))
_MEDIAPIPE_JOINTS += tuple(f"{s}_{part}" for part in _HAND for s in ("left", "right"))
_MEDIAPIPE_JOINTS += tuple(
    f"{s}_{part}" for part in ("hip", "knee", "ankle", "heel", "foot_index") for s in ("left", "right")
)
_MEDIAPIPE_LIMBS = (
    (0, 1),
    (1, 2),
    (2, 3),
    (3, 7),
    (0, 4),
    (4, 5),
    (5, 6),
    (6, 8),
    (9, 10),
    (11, 12),
    (11, 23),
    (12, 24),
)
_MEDIAPIPE_LIMBS += ((23, 24), (11, 13), (13, 15), (12, 14), (14, 16), (15, 17), (15, 19), (15, 21), (17, 19))
_MEDIAPIPE_LIMBS += ((16, 18), (16, 20), (16, 22), (18, 20), (23, 25), (25, 27), (24, 26), (26, 28))
_MEDIAPIPE_LIMBS += ((27, 29), (27, 31), (29, 31), (28, 30), (28, 32), (30, 32))
MEDIAPIPE = by_names("mediapipe", _MEDIAPIPE_JOINTS, _MEDIAPIPE_LIMBS)


def from_category(category: dict) -> Skeleton:
    """The skeleton of a category of an annotation file: COCO's own, or by the names of its keypoints.

    category: an object with `keypoints`, names of joints, and perhaps `skeleton`, pairs of joints counted from 1.
    Raises ValueError that says what is wrong with it.
    """
    joints = category.get("keypoints")
    if not isinstance(joints, list) or not joints or not all(isinstance(j, str) and j for j in joints):
        raise ValueError("keypoints is no list of names")
    if len(set(joints)) < len(joints):
        raise ValueError("keypoints names a joint twice")
    for known in (COCO, LSP, MEDIAPIPE):
        if tuple(joints) == known.joints:
            return known
    limbs = category.get("skeleton", [])
    numbers = range(1, len(joints) + 1)
    if not isinstance(limbs, list) or not all(
        isinstance(limb, list) and len(limb) == 2 and all(type(j) is int and j in numbers for j in limb)
        for limb in limbs
    ):
        raise ValueError(f"skeleton is no list of pairs of joints 1 to {len(joints)}")
    name = category.get("name", "person")
    return by_names(str(name), tuple(joints), [(a - 1, b - 1) for a, b in limbs])


def to_dict(skeleton: Skeleton) -> dict:
    """What JSON files keep of a skeleton; `from_dict` reads it."""
    return dataclasses.asdict(skeleton)


def from_dict(values: dict) -> Skeleton:
    """The inverse of `to_dict`, after JSON made lists of its tuples. Raises TypeError for other fields."""

    def frozen(value):
        return tuple(map(frozen, value)) if isinstance(value, (list, tuple)) else value

    return Skeleton(**{name: frozen(value) for name, value in values.items()})
