"""A set of keypoints as a value: names, left/right pairs, limbs, and which keypoints stand for hips, shoulders and head.

A Skeleton is passed to whatever needs it. It comes with the data: from the category of an annotation file, or from
the index of records, and a run keeps it in its config.json.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from tfcpn.base.errors import InputError

# The mid-hip, and the point above it on the circle around the body: two more keypoints where they are predicted.
ALIGN_POINTS = ("mid_hip", "body_circle")
_SIDES_BY_WORD = {"left": "left", "l": "left", "right": "right", "r": "right"}


@dataclass(frozen=True)
class Skeleton:
    """The keypoints of a person, K of them.

    pairs: (left, right) keypoints that trade places in a mirror image. limbs: pairs of keypoints to draw a line between.
    sigmas: (K,) the tolerance of each keypoint in COCO's object keypoint similarity; None where nobody measured it.
    hips, shoulders: two keypoints each, left and right, or none. nose, neck, head (its top): one keypoint, or none. Keypoints
    are told by their number.
    align_points: whether the last two keypoints are the alignment points, which nobody annotates.
    """

    name: str
    keypoints: tuple[str, ...]
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
        return len(self.keypoints)

    @property
    def num_annotated(self) -> int:
        """How many of the keypoints an annotation has: all but the alignment points, which are the last ones."""
        return self.count - len(ALIGN_POINTS) * self.align_points

    @property
    def mirror(self) -> list[int]:
        """The keypoint that each keypoint becomes in a mirror image: left and right trade places."""
        other = {a: b for left, right in self.pairs for a, b in ((left, right), (right, left))}
        return [other.get(keypoint, keypoint) for keypoint in range(self.count)]

    def with_align_points(self) -> Skeleton:
        """The same keypoints and the two alignment points behind them, with the body's radius as a limb."""
        first = self.count
        limbs = (*self.limbs, (first, first + 1))
        return dataclasses.replace(
            self, keypoints=self.keypoints + ALIGN_POINTS, limbs=limbs, align_points=True
        )

    def indices(self, names: tuple[str, ...], flag: str) -> tuple[int, ...]:
        """The numbers of these keypoints. Raises InputError, naming the flag, for one that there is not."""
        for name in names:
            if name not in self.keypoints:
                raise InputError(
                    f"--{flag}={','.join(names)}: there is no keypoint {name!r}; there are {', '.join(self.keypoints)}"
                )
        return tuple(self.keypoints.index(name) for name in names)


def _side_and_part(keypoint: str) -> tuple[str, str]:
    """left_knee, LKnee and "Knee L" -> ("left", "knee"); nose -> ("", "nose")."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", keypoint)]
    glued = re.fullmatch(r"([LR])([A-Z][a-z]+)", keypoint)  # LKnee
    if glued:
        words = [part.lower() for part in glued.groups()]
    sides = [_SIDES_BY_WORD[word] for word in words if word in _SIDES_BY_WORD]
    side = sides[0] if len(sides) == 1 else ""
    return side, "".join(word for word in words if not side or word not in _SIDES_BY_WORD)


def body_part(keypoint: str) -> str:
    """What a keypoint's name says without its side: left_knee and LKnee -> knee."""
    return _side_and_part(keypoint)[1]


def unpaired_keypoints(skeleton: Skeleton) -> list[str]:
    """Keypoints whose names say left or right but whose other side is not there."""
    paired = {keypoint for pair in skeleton.pairs for keypoint in pair}
    return [
        name
        for number, name in enumerate(skeleton.keypoints)
        if _side_and_part(name)[0] and number not in paired
    ]


def limits(skeleton: Skeleton) -> list[str]:
    """What cannot be done with these keypoints, for want of what they do not tell: a line each."""
    lines = []
    if not skeleton.pairs:
        lines.append(
            "no left and right: mirror images keep every keypoint, which is wrong if there are sides"
        )
    if not skeleton.hips or not (skeleton.shoulders or skeleton.nose):
        lines.append("no hips with shoulders or a nose: no --align=blazepose")
    elif not skeleton.shoulders:
        lines.append("no shoulders: --align=blazepose with --align_radius=nose only")
    if not skeleton.hips or not skeleton.shoulders:
        lines.append("no torso: PCK is relative to the box")
    if skeleton.sigmas is None:
        lines.append("no tolerances: AP is that of COCO's mean tolerance for every keypoint")
    return lines


def from_names(name: str, keypoints: tuple[str, ...], limbs=(), sigmas=None) -> Skeleton:
    """The skeleton whose pairs and roles are told by the keypoints' names: left_hip or LHip, nose, head_top."""
    keypoints = tuple(keypoints)
    told = [_side_and_part(keypoint) for keypoint in keypoints]
    # What two keypoints are called alike says nothing of either.
    parts = {part: number for number, part in enumerate(told) if told.count(part) == 1}

    def named(part: str, *sides: str) -> tuple[int, ...]:
        found = tuple(parts[side, part] for side in sides if (side, part) in parts)
        return found if len(found) == len(sides) else ()

    pairs = [
        (parts[side, part], parts.get(("right", part))) for side, part in parts if side == "left"
    ]
    return Skeleton(
        name,
        keypoints,
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
_COCO_KEYPOINTS = ("nose", *(f"{side}_{part}" for part in _SIDES for side in ("left", "right")))
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
COCO = from_names(
    "coco",
    _COCO_KEYPOINTS,
    tuple((_COCO_KEYPOINTS.index(a), _COCO_KEYPOINTS.index(b)) for a, b in _COCO_LIMBS),
    (0.26 / 10, *(sigma / 10 for sigma in _COCO_SIGMAS for _ in range(2))),
)


# Leeds Sports Pose: COCO's tolerances where it has the keypoint; those of neck and head top are CrowdPose's.
_LSP_KEYPOINTS = ("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle")
_LSP_KEYPOINTS += (
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
)
_LSP_KEYPOINTS += ("neck", "head_top")
_LSP_LIMBS = (
    (0, 1),
    (1, 2),
    (5, 4),
    (4, 3),
    (6, 7),
    (7, 8),
    (11, 10),
    (10, 9),
    (8, 2),
    (9, 3),
    (2, 3),
)
LSP = from_names(
    "lsp",
    _LSP_KEYPOINTS,
    (*_LSP_LIMBS, (8, 12), (9, 12), (12, 13)),
    tuple(
        COCO.sigmas[COCO.keypoints.index(j)] if j in COCO.keypoints else 0.079
        for j in _LSP_KEYPOINTS
    ),
)


# MediaPipe's 33 landmarks, as its documentation numbers them; nobody published tolerances of all.
_HAND = ("pinky", "index", "thumb")
_MEDIAPIPE_KEYPOINTS = ("nose", "left_eye_inner", "left_eye", "left_eye_outer")
_MEDIAPIPE_KEYPOINTS += ("right_eye_inner", "right_eye", "right_eye_outer", "left_ear", "right_ear")
_MEDIAPIPE_KEYPOINTS += ("mouth_left", "mouth_right")
_MEDIAPIPE_KEYPOINTS += tuple(
    f"{s}_{part}" for part in ("shoulder", "elbow", "wrist") for s in ("left", "right")
)
_MEDIAPIPE_KEYPOINTS += tuple(f"{s}_{part}" for part in _HAND for s in ("left", "right"))
_MEDIAPIPE_KEYPOINTS += tuple(
    f"{s}_{part}"
    for part in ("hip", "knee", "ankle", "heel", "foot_index")
    for s in ("left", "right")
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
_MEDIAPIPE_LIMBS += (
    (23, 24),
    (11, 13),
    (13, 15),
    (12, 14),
    (14, 16),
    (15, 17),
    (15, 19),
    (15, 21),
    (17, 19),
)
_MEDIAPIPE_LIMBS += ((16, 18), (16, 20), (16, 22), (18, 20), (23, 25), (25, 27), (24, 26), (26, 28))
_MEDIAPIPE_LIMBS += ((27, 29), (27, 31), (29, 31), (28, 30), (28, 32), (30, 32))
MEDIAPIPE = from_names("mediapipe", _MEDIAPIPE_KEYPOINTS, _MEDIAPIPE_LIMBS)


def from_category(category: dict) -> Skeleton:
    """The skeleton of a category of an annotation file: COCO's own, or by the names of its keypoints.

    category: an object with `keypoints`, names of keypoints, and perhaps `skeleton`, pairs of keypoints counted from 1.
    Raises ValueError that says what is wrong with it.
    """
    keypoints = category.get("keypoints")
    if (
        not isinstance(keypoints, list)
        or not keypoints
        or not all(isinstance(j, str) and j for j in keypoints)
    ):
        raise ValueError("keypoints is no list of names")
    if len(set(keypoints)) < len(keypoints):
        raise ValueError("keypoints names a keypoint twice")
    for known in (COCO, LSP, MEDIAPIPE):
        if tuple(keypoints) == known.keypoints:
            return known
    limbs = category.get("skeleton", [])
    numbers = range(1, len(keypoints) + 1)
    if not isinstance(limbs, list) or not all(
        isinstance(limb, list)
        and len(limb) == 2
        and all(type(j) is int and j in numbers for j in limb)
        for limb in limbs
    ):
        raise ValueError(f"skeleton is no list of pairs of keypoints 1 to {len(keypoints)}")
    name = category.get("name", "person")
    return from_names(str(name), tuple(keypoints), [(a - 1, b - 1) for a, b in limbs])


def to_dict(skeleton: Skeleton) -> dict:
    """What JSON files keep of a skeleton; `from_dict` reads it."""
    return dataclasses.asdict(skeleton)


def from_dict(values: dict) -> Skeleton:
    """The inverse of `to_dict`, after JSON made lists of its tuples. Raises TypeError for other fields."""

    def frozen(value):
        return tuple(map(frozen, value)) if isinstance(value, (list, tuple)) else value

    values = {
        "keypoints" if name == "joints" else name: value for name, value in values.items()
    }  # 1.x: joints
    return Skeleton(**{name: frozen(value) for name, value in values.items()})
