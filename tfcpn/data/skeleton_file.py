"""--skeleton: a set of joints by its name, or from a JSON file of the user's."""

from __future__ import annotations

from tfcpn.base.errors import InputError
from tfcpn.data.json_input import are_numbers, read_json
from tfcpn.skeleton import ALIGN_POINTS, COCO, LSP, MEDIAPIPE, Skeleton

KNOWN = {"coco": COCO, "lsp": LSP, "mediapipe": MEDIAPIPE}
LEAST_SIGMA = 0.001  # a thousandth of the square root of the area: less than a pixel of anything
_FIELDS = {"name", "joints", "pairs", "limbs", "sigmas", "hips", "shoulders", "nose", "neck", "head"}


def choose_skeleton(asked: str) -> Skeleton | None:
    """asked: "auto" (None: what the data tells), one of KNOWN, or a JSON file. Raises InputError."""
    if asked == "auto":
        return None
    if asked in KNOWN:
        return KNOWN[asked]
    if not asked.endswith(".json"):
        raise InputError(f"--skeleton={asked}: want auto, {', '.join(KNOWN)} or a .json file")
    return read_skeleton(asked)


def _joints_of(data: dict, field: str, joints: list[str], counts: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers of the joints that a field names; a single one may stand without a list."""
    names = data.get(field, [])
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or len(names) not in counts:
        raise ValueError(f"{field} is {data[field]!r}, want {' or '.join(map(str, counts))} names of joints")
    for name in names:
        if name not in joints:
            raise ValueError(f"{field}: there is no joint {name!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"{field} names a joint twice")
    return tuple(joints.index(name) for name in names)


def _pairs_of(data: dict, field: str, joints: list[str]) -> tuple[tuple[int, int], ...]:
    pairs = data.get(field, [])
    if not isinstance(pairs, list):
        raise ValueError(f"{field} is {pairs!r}, want a list of pairs of joints")
    return tuple(_joints_of({field: pair}, field, joints, (2,)) for pair in pairs)


def read_skeleton(file: str) -> Skeleton:
    """A JSON object: joints (names); pairs (left, right); limbs; sigmas (one a joint); hips and shoulders (left and
    right); nose, neck, head (a name each). All but joints may be missing. Raises InputError for the first fault.
    """
    data = read_json(file)
    try:
        if not isinstance(data, dict):
            raise ValueError("want an object")
        unknown = sorted(set(data) - _FIELDS)
        if unknown:
            raise ValueError(f"there is no field {unknown[0]!r}; there are {', '.join(sorted(_FIELDS))}")
        joints = data.get("joints")
        if not isinstance(joints, list) or not joints or not all(isinstance(j, str) and j for j in joints):
            raise ValueError(f"joints is {joints!r}, want a list of names")
        if len(set(joints)) < len(joints) or set(joints) & set(ALIGN_POINTS):
            raise ValueError(f"joints names one twice, or {' or '.join(ALIGN_POINTS)}, which are no annotated joints")
        name = data.get("name", "own")
        if not isinstance(name, str) or not name:
            raise ValueError(f"name is {name!r}, want a text")
        sigmas = data.get("sigmas")
        if sigmas is not None and (not are_numbers(sigmas, len(joints)) or min(sigmas) < LEAST_SIGMA):
            raise ValueError(f"sigmas is {sigmas!r}, want {len(joints)} numbers from {LEAST_SIGMA} on")
        pairs = _pairs_of(data, "pairs", joints)
        if len({joint for pair in pairs for joint in pair}) < 2 * len(pairs):
            raise ValueError("pairs has a joint in two pairs")
        return Skeleton(
            name,
            tuple(joints),
            pairs,
            _pairs_of(data, "limbs", joints),
            None if sigmas is None else tuple(map(float, sigmas)),
            hips=_joints_of(data, "hips", joints, (0, 2)),
            shoulders=_joints_of(data, "shoulders", joints, (0, 2)),
            nose=_joints_of(data, "nose", joints, (0, 1)),
            neck=_joints_of(data, "neck", joints, (0, 1)),
            head=_joints_of(data, "head", joints, (0, 1)),
        )
    except ValueError as error:
        raise InputError(f"{file}: {error}") from error
