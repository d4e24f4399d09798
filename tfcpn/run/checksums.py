"""The file in a checkpoint that tells what its other files were, and what the epoch that it lies in had come to."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

FILE = "content.json"


def of_file(path: Path) -> int:
    """CRC-32 of a file."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


def _of_list(files: dict, begun: dict | None) -> int:
    """CRC-32 of what the file tells itself."""
    return zlib.crc32(json.dumps([files, begun], sort_keys=True).encode())


def write(folder: Path, begun: dict | None) -> None:
    """Write the file beside all others of a folder. begun: what else to keep."""
    files = {path.name: [path.stat().st_size, of_file(path)] for path in sorted(folder.iterdir())}
    content = {"files": files, "begun": begun, "checksum": _of_list(files, begun)}
    (folder / FILE).write_text(json.dumps(content) + "\n")


def read(folder: Path) -> dict:
    """What the file tells; without one, that there is nothing to compare. Raises OSError and ValueError."""
    file = folder / FILE
    return json.loads(file.read_text()) if file.exists() else {"files": {}, "begun": None}


def problem(folder: Path, steps: int) -> str:
    """What is wrong with a checkpoint of so many steps within an epoch; empty if nothing is."""
    try:
        content = read(folder)
        if steps and (content.get("begun") or {}).get("steps") != steps:
            return f"{FILE} does not tell what the epoch had come to"
        files = content["files"]
        if "checksum" in content and content["checksum"] != _of_list(files, content["begun"]):
            return f"{FILE} is not what was written"
        for name, (size, checksum) in files.items():
            if (folder / name).stat().st_size != size:
                return f"{name} has {(folder / name).stat().st_size} bytes, {size} were written"
            if of_file(folder / name) != checksum:
                return f"{name} is not what was written"
    except OSError as error:
        return f"{Path(error.filename or folder).name}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{FILE} is not what was written"
    return ""
