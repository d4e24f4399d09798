"""Read JSON files from outside, and check their numbers."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from tfcpn.utils.errors import InputError

# Larger coordinates and areas are damage, and would overflow later.
MAX_COORDINATE = 1e6
MAX_AREA = MAX_COORDINATE**2
_MAX_INT = 2**53  # the integers that every JSON reader keeps


_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def _text_of(content: bytes, path) -> str:
    """Decode a file in UTF-8, or with a byte order mark UTF-8 or UTF-16, as PowerShell writes."""
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    # JSON begins with two ASCII characters, so a zero byte tells UTF-16 without a mark (RFC 4627).
    if encoding == "utf-8" and len(content) > 1 and 0 in content[:2]:
        encoding = "utf-16-be" if content[0] == 0 else "utf-16-le"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        before, byte = content[: error.start], content[error.start : error.start + 1]
        raise InputError(
            f"{path}: line {before.count(10) + 1}, byte {error.start + 1}: {byte!r} is not valid "
            f"{encoding.upper().removesuffix('-SIG')} (after "
            f"{_end_of(before.decode(encoding, 'replace'))}); save the file as UTF-8"
        ) from error


def _end_of(text: str) -> str:
    """Return the end of a text and the last id in it, to locate an error."""
    ids = re.findall(r'"id"\s*:\s*(\d+)', text[-20_000:])
    return ascii(text[-40:]) + (f", in the record with id {ids[-1]} or the next one" if ids else "")


def read_json(path):
    """Read a JSON file.

    Raises:
        InputError: Naming the file and, where it is damaged, the line and its content.
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
                f"{path}: line {text.count(chr(10), 0, place) + 1}: the control character "
                f"{text[place]!a} stands "
                f"in a text (after {_end_of(text[:place])}); remove it, or write it as an escape "
                "such as \\n"
            ) from error
        raise InputError(
            f"{path}: not valid JSON ({error}); was it downloaded completely?"
        ) from error


def is_int(value) -> bool:
    """Return whether a value is an integer of a size that ids can have."""
    return type(value) is int and abs(value) <= _MAX_INT


def is_number_list(values, count: int | None = None, maximum: float = MAX_COORDINATE) -> bool:
    """Return whether a value is a list of finite numbers.

    Args:
        values: The value.
        count: Required length; None for any.
        maximum: Largest allowed absolute value.
    """
    return (
        isinstance(values, list)
        and (count is None or len(values) == count)
        and all(type(v) in (int, float) and abs(v) <= maximum and math.isfinite(v) for v in values)
    )
