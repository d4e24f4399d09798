"""Keypoint sets as values: names, left/right pairs, limbs, and the roles of keypoints.

A Skeleton comes with the data, from the category of an annotation file or the index of records, and
a run stores it in its config.json.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfcpn.utils.errors import InputError
from tfcpn.utils.json_io import is_number_list, read_json

# The mid-hip, and the point above it on the circle around the body: two more keypoints where they
# are predicted.
ALIGN_POINTS = ("mid_hip", "body_circle")
_SIDES_BY_WORD = {"left": "left", "l": "left", "right": "right", "r": "right"}


@dataclass(frozen=True)
class Skeleton:
    """The K keypoints of a person.

    Attributes:
        name: Name of the set.
        keypoints: Names of the keypoints.
        pairs: (left, right) indices that are swapped in a mirror image.
        limbs: Pairs of indices to draw a line between.
        sigmas: (K,) OKS sigmas; None if unknown.
        hips, shoulders: Left and right index, or empty.
        nose, neck, head: One index (head: its top), or empty.
        align_points: Whether the last two keypoints are the alignment points, which are not
        annotated.
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
    def num_keypoints(self) -> int:
        """Number of keypoints."""
        return len(self.keypoints)

    @property
    def num_annotated(self) -> int:
        """Number of annotated keypoints: all but the alignment points."""
        return self.num_keypoints - len(ALIGN_POINTS) * self.align_points

    @property
    def flip_indices(self) -> list[int]:
        """The keypoint that each keypoint becomes in a mirror image."""
        other = {a: b for left, right in self.pairs for a, b in ((left, right), (right, left))}
        return [other.get(keypoint, keypoint) for keypoint in range(self.num_keypoints)]

    def without_align_points(self) -> Skeleton:
        """Return the keypoints without alignment points."""
        if not self.align_points:
            return self
        count = self.num_annotated
        limbs = tuple(limb for limb in self.limbs if max(limb) < count)
        keypoints = self.keypoints[:count]
        return dataclasses.replace(self, keypoints=keypoints, limbs=limbs, align_points=False)

    def with_align_points(self) -> Skeleton:
        """Return the keypoints and then the alignment points, with the body's radius as a limb."""
        first = self.num_keypoints
        limbs = (*self.limbs, (first, first + 1))
        return dataclasses.replace(
            self, keypoints=self.keypoints + ALIGN_POINTS, limbs=limbs, align_points=True
        )

    def indices(self, names: tuple[str, ...], flag: str) -> tuple[int, ...]:
        """Return the indices of keypoints.

        Args:
            names: Names of keypoints.
            flag: Flag that they come from, for the error.

        Raises:
            InputError: For an unknown name.
        """
        for name in names:
            if name not in self.keypoints:
                raise InputError(
                    f"--{flag}={','.join(names)}: there is no keypoint {name!r}; there are "
                    f"{', '.join(self.keypoints)}"
                )
        return tuple(self.keypoints.index(name) for name in names)


def _side_and_part(keypoint: str) -> tuple[str, str]:
    """Split a name: left_knee, LKnee and "Knee L" -> ("left", "knee"); nose -> ("", "nose")."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", keypoint)]
    glued = re.fullmatch(r"([LR])([A-Z][a-z]+)", keypoint)  # LKnee
    if glued:
        words = [part.lower() for part in glued.groups()]
    sides = [_SIDES_BY_WORD[word] for word in words if word in _SIDES_BY_WORD]
    side = sides[0] if len(sides) == 1 else ""
    return side, "".join(word for word in words if not side or word not in _SIDES_BY_WORD)


def body_part(keypoint: str) -> str:
    """Return a keypoint's name without its side: left_knee and LKnee -> knee."""
    return _side_and_part(keypoint)[1]


def unpaired_keypoints(skeleton: Skeleton) -> list[str]:
    """Return the keypoints whose names have a side but whose other side does not exist."""
    paired = {keypoint for pair in skeleton.pairs for keypoint in pair}
    return [
        name
        for number, name in enumerate(skeleton.keypoints)
        if _side_and_part(name)[0] and number not in paired
    ]


# Names without a partner that are on the middle of a body. A part of a name is enough.
_MIDDLE = re.compile(
    "nose|neck|head|chin|jaw|pelvis|thorax|chest|spine|throat|tail|back|belly|withers|root|mouth|"
    "sternum|navel|mid|cent|hip|top|bottom|upper|lower|tip"
)


def possibly_unpaired_keypoints(skeleton: Skeleton) -> list[str]:
    """Return keypoints without a partner that may need one, of a set that has pairs.

    Names that are known to be on the middle of the body are left out, those with a side are in
    `unpaired_keypoints`. The known skeletons have all their pairs.
    """
    if not skeleton.pairs or skeleton.name in KNOWN_SKELETONS:
        return []
    paired = {keypoint for pair in skeleton.pairs for keypoint in pair}
    return [
        name
        for number, name in enumerate(skeleton.keypoints)
        if number not in paired and not _side_and_part(name)[0] and not _MIDDLE.search(name.lower())
    ]


@functools.lru_cache(maxsize=1)
def _aliases() -> dict[tuple[str, str], set[tuple[str, str]]]:
    """Return the other names of keypoints in the known skeletons: name, then synonyms."""
    synonyms: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for file in sorted(_FOLDER.glob("*.json")):
        for other, name in read_json(file).get("aliases", {}).items():
            a, b = _side_and_part(other), _side_and_part(name)
            synonyms.setdefault(a, set()).add(b)
            synonyms.setdefault(b, set()).add(a)
    return synonyms


def is_same_keypoint(a: str, b: str) -> bool:
    """Return whether two names are of one keypoint: left_hip and LHip, top_head and head."""
    if a == b:
        return True
    first, second = _side_and_part(a), _side_and_part(b)
    return first == second or second in _aliases().get(first, ())


def same_keypoints(a: Sequence[str], b: Sequence[str]) -> bool:
    """Return whether two lists name the same keypoints in the same order."""
    return len(a) == len(b) and all(is_same_keypoint(x, y) for x, y in zip(a, b))


def match_keypoints(wanted: Sequence[str], given: Sequence[str]) -> list[int]:
    """Return for each wanted keypoint its index among the given ones by name, or -1.

    An equal name goes before a synonym.
    """
    found = []
    for name in wanted:
        if name in given:
            found.append(list(given).index(name))
            continue
        same = [index for index, other in enumerate(given) if is_same_keypoint(name, other)]
        found.append(same[0] if len(same) == 1 and given[same[0]] not in wanted else -1)
    return found


def limitations(skeleton: Skeleton) -> list[str]:
    """Return a line for each feature that is impossible with these keypoints."""
    lines = []
    if not skeleton.pairs:
        lines.append(
            "no left and right: mirror images keep every keypoint, which is wrong if there are "
            "sides"
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
    """Build a skeleton; pairs and roles follow from names such as left_hip, LHip, nose, head_top.

    Args:
        name: Name of the set.
        keypoints: Names of the keypoints.
        limbs: Pairs of indices.
        sigmas: OKS sigmas.
    """
    keypoints = tuple(keypoints)
    split = [_side_and_part(keypoint) for keypoint in keypoints]
    # A name that occurs twice identifies neither.
    index_of = {part: number for number, part in enumerate(split) if split.count(part) == 1}

    def named(part: str, *sides: str) -> tuple[int, ...]:
        found = tuple(index_of[side, part] for side in sides if (side, part) in index_of)
        return found if len(found) == len(sides) else ()

    pairs = [
        (index_of[side, part], index_of.get(("right", part)))
        for side, part in index_of
        if side == "left"
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


def from_category(category: dict) -> Skeleton:
    """Return the skeleton of a category of an annotation file: a known one, or by its names.

    Args:
        category: An object with `keypoints` (names) and optionally `skeleton` (pairs counted from
            1). A known skeleton keeps the names of the file.

    Raises:
        ValueError: Describing what is wrong with it.
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
    for known in KNOWN_SKELETONS.values():
        if same_keypoints(keypoints, known.keypoints):
            return dataclasses.replace(known, keypoints=tuple(keypoints))
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
    """Return a skeleton as JSON files store it; see `from_dict`."""
    return dataclasses.asdict(skeleton)


def from_dict(values: dict) -> Skeleton:
    """Return the skeleton of a dict read from JSON: the inverse of `to_dict`.

    Raises:
        TypeError: For unknown fields.
    """

    def frozen(value):
        return tuple(map(frozen, value)) if isinstance(value, (list, tuple)) else value

    values = {
        "keypoints" if name == "joints" else name: value for name, value in values.items()
    }  # 1.x: joints
    return Skeleton(**{name: frozen(value) for name, value in values.items()})


MIN_SIGMA = 0.001  # a thousandth of the square root of the area: less than a pixel of anything
# Fields of a file that describe a skeleton; source and aliases are for readers and `ALIASES`.
_FIELDS = {f.name for f in dataclasses.fields(Skeleton)} - {"align_points"} | {"source", "aliases"}


def skeleton_from_flag(flag: str) -> Skeleton | None:
    """Return the skeleton of --skeleton.

    Args:
        flag: "auto" (None: that of the data), a key of `KNOWN_SKELETONS`, or a JSON file.

    Raises:
        InputError: For anything else, and for a damaged file.
    """
    if flag == "auto":
        return None
    if flag in KNOWN_SKELETONS:
        return KNOWN_SKELETONS[flag]
    if not flag.endswith(".json"):
        raise InputError(
            f"--skeleton={flag}: expected auto, {', '.join(KNOWN_SKELETONS)} or a .json file"
        )
    return read_skeleton_file(flag)


def _keypoints_of(
    data: dict, field: str, keypoints: list[str], counts: tuple[int, ...]
) -> tuple[int, ...]:
    """The numbers of the keypoints that a field names; a single one may stand without a list."""
    names = data.get(field, [])
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or len(names) not in counts:
        raise ValueError(
            f"{field} is {data[field]!r}, expected {' or '.join(map(str, counts))} names of "
            "keypoints"
        )
    for name in names:
        if name not in keypoints:
            raise ValueError(f"{field}: there is no keypoint {name!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"{field} names a keypoint twice")
    return tuple(keypoints.index(name) for name in names)


def _pairs_of(data: dict, field: str, keypoints: list[str]) -> tuple[tuple[int, int], ...]:
    pairs = data.get(field, [])
    if not isinstance(pairs, list):
        raise ValueError(f"{field} is {pairs!r}, expected a list of pairs of keypoints")
    return tuple(_keypoints_of({field: pair}, field, keypoints, (2,)) for pair in pairs)


def read_skeleton_file(file: str) -> Skeleton:
    """Read a JSON file with a skeleton.

    Its fields are keypoints (names), pairs (left, right), limbs, sigmas (one per keypoint), hips
    and shoulders (left and right), nose, neck and head (a name each). All but keypoints are
    optional. `tfcpn/skeletons` has examples.

    Raises:
        InputError: Naming the first fault.
    """
    data = read_json(file)
    try:
        if not isinstance(data, dict):
            raise ValueError("expected an object")
        data = {
            "keypoints" if field == "joints" else field: value for field, value in data.items()
        }  # 1.x: joints
        unknown = sorted(set(data) - _FIELDS)
        if unknown:
            raise ValueError(
                f"there is no field {unknown[0]!r}; there are {', '.join(sorted(_FIELDS))}"
            )
        keypoints = data.get("keypoints")
        if (
            not isinstance(keypoints, list)
            or not keypoints
            or not all(isinstance(j, str) and j for j in keypoints)
        ):
            raise ValueError(f"keypoints is {keypoints!r}, expected a list of names")
        if len(set(keypoints)) < len(keypoints) or set(keypoints) & set(ALIGN_POINTS):
            raise ValueError(
                f"keypoints names one twice, or {' or '.join(ALIGN_POINTS)}, which are no "
                "annotated keypoints"
            )
        name = data.get("name", "own")
        if not isinstance(name, str) or not name:
            raise ValueError(f"name is {name!r}, expected a text")
        sigmas = data.get("sigmas")
        if sigmas is not None and (
            not is_number_list(sigmas, len(keypoints)) or min(sigmas) < MIN_SIGMA
        ):
            raise ValueError(
                f"sigmas is {sigmas!r}, expected {len(keypoints)} numbers from {MIN_SIGMA} on"
            )
        pairs = _pairs_of(data, "pairs", keypoints)
        if len({keypoint for pair in pairs for keypoint in pair}) < 2 * len(pairs):
            raise ValueError("pairs has a keypoint in two pairs")
        return Skeleton(
            name,
            tuple(keypoints),
            pairs,
            _pairs_of(data, "limbs", keypoints),
            None if sigmas is None else tuple(map(float, sigmas)),
            hips=_keypoints_of(data, "hips", keypoints, (0, 2)),
            shoulders=_keypoints_of(data, "shoulders", keypoints, (0, 2)),
            nose=_keypoints_of(data, "nose", keypoints, (0, 1)),
            neck=_keypoints_of(data, "neck", keypoints, (0, 1)),
            head=_keypoints_of(data, "head", keypoints, (0, 1)),
        )
    except ValueError as error:
        raise InputError(f"{file}: {error}") from error


_FOLDER = Path(__file__).with_name("skeletons")
_NAMES = ("coco", "lsp", "mediapipe", "crowdpose", "mpii", "aic", "halpe26", "wholebody", "ap10k")
KNOWN_SKELETONS = {
    name: read_skeleton_file(_FOLDER / f"{name}.json") for name in (*_NAMES, "posetrack")
}
COCO, LSP, MEDIAPIPE = (KNOWN_SKELETONS[name] for name in ("coco", "lsp", "mediapipe"))
