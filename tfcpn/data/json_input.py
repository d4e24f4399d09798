"""JSON files from outside: read whole, and their numbers checked before anything computes with them."""

from __future__ import annotations

import json
import math
from pathlib import Path

from tfcpn.base.errors import InputError

# Coordinates and areas beyond these are damage, and would overflow what computes with them.
MOST_PIXELS = 1e6
MOST_AREA = MOST_PIXELS**2
_MOST_WHOLE = 2**53  # what every program that reads JSON takes for a whole number


def read_json(path):
    """The content of a JSON file. Raises InputError that names it."""
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); was it downloaded completely?") from error


def is_whole(value) -> bool:
    """Whether a value is a whole number, of a size that an id can have."""
    return type(value) is int and abs(value) <= _MOST_WHOLE


def are_numbers(values, count: int | None = None, most: float = MOST_PIXELS) -> bool:
    """Whether a value is a list (of `count`) of finite numbers, none larger than `most` either way."""
    return (
        isinstance(values, list)
        and (count is None or len(values) == count)
        and all(type(v) in (int, float) and abs(v) <= most and math.isfinite(v) for v in values)
    )
