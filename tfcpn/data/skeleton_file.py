"""--skeleton: a set of keypoints by its name, or from a JSON file of the user's."""

from __future__ import annotations

from tfcpn.base.errors import InputError
from tfcpn.data.json_input import is_number_list, read_json
from tfcpn.skeleton import ALIGN_POINTS, COCO, LSP, MEDIAPIPE, Skeleton

KNOWN = {"coco": COCO, "lsp": LSP, "mediapipe": MEDIAPIPE}
MIN_SIGMA = 0.001  # a thousandth of the square root of the area: less than a pixel of anything
_FIELDS = {
    "name",
    "keypoints",
    "pairs",
    "limbs",
    "sigmas",
    "hips",
    "shoulders",
    "nose",
    "neck",
    "head",
}


def skeleton_from_flag(asked: str) -> Skeleton | None:
    """asked: "auto" (None: what the data tells), one of KNOWN, or a JSON file. Raises InputError."""
    if asked == "auto":
        return None
    if asked in KNOWN:
        return KNOWN[asked]
    if not asked.endswith(".json"):
        raise InputError(f"--skeleton={asked}: want auto, {', '.join(KNOWN)} or a .json file")
    return read_skeleton_file(asked)


def _keypoints_of(
    data: dict, field: str, keypoints: list[str], counts: tuple[int, ...]
) -> tuple[int, ...]:
    """The numbers of the keypoints that a field names; a single one may stand without a list."""
    names = data.get(field, [])
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or len(names) not in counts:
        raise ValueError(
            f"{field} is {data[field]!r}, want {' or '.join(map(str, counts))} names of keypoints"
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
        raise ValueError(f"{field} is {pairs!r}, want a list of pairs of keypoints")
    return tuple(_keypoints_of({field: pair}, field, keypoints, (2,)) for pair in pairs)


def read_skeleton_file(file: str) -> Skeleton:
    """A JSON object: keypoints (names); pairs (left, right); limbs; sigmas (one a keypoint); hips and shoulders (left and
    right); nose, neck, head (a name each). All but keypoints may be missing. Raises InputError for the first fault.
    """
    data = read_json(file)
    try:
        if not isinstance(data, dict):
            raise ValueError("want an object")
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
            raise ValueError(f"keypoints is {keypoints!r}, want a list of names")
        if len(set(keypoints)) < len(keypoints) or set(keypoints) & set(ALIGN_POINTS):
            raise ValueError(
                f"keypoints names one twice, or {' or '.join(ALIGN_POINTS)}, which are no annotated keypoints"
            )
        name = data.get("name", "own")
        if not isinstance(name, str) or not name:
            raise ValueError(f"name is {name!r}, want a text")
        sigmas = data.get("sigmas")
        if sigmas is not None and (
            not is_number_list(sigmas, len(keypoints)) or min(sigmas) < MIN_SIGMA
        ):
            raise ValueError(
                f"sigmas is {sigmas!r}, want {len(keypoints)} numbers from {MIN_SIGMA} on"
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
