"""JSON files from outside: read whole, and their numbers checked before anything computes with them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from tfcpn.base.errors import InputError

# Coordinates and areas beyond these are damage, and would overflow what computes with them.
MOST_PIXELS = 1e6
MAX_AREA = MOST_PIXELS**2
_MOST_WHOLE = 2**53  # what every program that reads JSON takes for a whole number


_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def _text_of(content: bytes, path) -> str:
    """Return the text of a file in UTF-8, or in UTF-8 or UTF-16 with a byte order mark, as PowerShell writes it."""
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        before, byte = content[: error.start], content[error.start : error.start + 1]
        raise InputError(
            f"{path}: line {before.count(10) + 1}, byte {error.start + 1}: {byte!r} is no "
            f"{encoding.upper().removesuffix('-SIG')} (behind {_shown(before.decode(encoding, 'replace'))}); save "
            "the file as UTF-8"
        ) from error


def _shown(text: str) -> str:
    """Return the end of a text, as a place to look for, and the id that stands last before it."""
    ids = re.findall(r'"id"\s*:\s*(\d+)', text[-20_000:])
    return ascii(text[-40:]) + (f", in the record with id {ids[-1]} or the next one" if ids else "")


def read_json(path):
    """Read a JSON file.

    Raises:
        InputError: That names the file, and where it is damaged the line and what stands there.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    text = _text_of(content, path)
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    except ValueError as error:
        place = getattr(error, "pos", 0)
        if "control character" in str(error):
            raise InputError(
                f"{path}: line {text.count(chr(10), 0, place) + 1}: the control character {text[place]!a} stands "
                f"in a text (behind {_shown(text[:place])}); remove it, or write it as an escape such as \\n"
            ) from error
        raise InputError(
            f"{path}: not valid JSON ({error}); was it downloaded completely?"
        ) from error


def is_int(value) -> bool:
    """Whether a value is a whole number, of a size that an id can have."""
    return type(value) is int and abs(value) <= _MOST_WHOLE


def is_number_list(values, count: int | None = None, most: float = MOST_PIXELS) -> bool:
    """Whether a value is a list (of `count`) of finite numbers, none larger than `most` either way."""
    return (
        isinstance(values, list)
        and (count is None or len(values) == count)
        and all(type(v) in (int, float) and abs(v) <= most and math.isfinite(v) for v in values)
    )
