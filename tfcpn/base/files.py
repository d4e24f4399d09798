"""Files that are there whole or not at all, and still there after the power has failed."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk. Where a file system has no such thing for
    folders, as some network ones, there is nothing to wait for.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not Path(path).is_dir():
            raise
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: str | bytes, durable: bool = True) -> None:
    """Write to a temporary name beside `path` and rename: a reader never sees half a file. durable: nor after the
    power has failed, which takes some milliseconds.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        if durable:
            sync(temporary)
        os.replace(temporary, path)
        if durable:
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def stamp(path: str) -> list[int]:
    """What tells that a file was changed: its size, and when it was written."""
    state = os.stat(path)
    return [state.st_size, state.st_mtime_ns]


def write_parts(path: Path, parts: Iterable[str]) -> None:
    """As `write_atomically`, of a text that comes in parts and need not fit into memory. What is no text in it, as in
    names of files, is written as an escape.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", errors="backslashreplace") as file:
            file.writelines(parts)
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """A folder that is there whole or not at all. fill: writes what shall be in it. One that is there is replaced."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        fill(temporary)
        for file in temporary.rglob("*"):
            sync(file)
        sync(temporary)
        # A folder with something in it cannot be renamed over. What was there goes last, when the new one is safe.
        old = _aside(path) if path.exists() else None
        temporary.rename(path)
        sync(path.parent)
        if old:
            shutil.rmtree(old)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _aside(path: Path) -> Path:
    """Give a folder a temporary name, which is returned."""
    old = path.with_name(f".{path.name}.{os.getpid()}.old.tmp")
    path.rename(old)
    return old


def remove_folder(path: Path) -> None:
    """Delete a folder: it is there whole or not at all under its name."""
    shutil.rmtree(_aside(Path(path)))


def sweep(folder: Path, least_age: float = 0.0) -> list[str]:
    """Delete what processes that died left under temporary names in a folder; the names.

    least_age: in seconds, of what is deleted; 0 where nobody else may write at the time.
    """
    left = sorted(Path(folder).glob(".*.tmp")) if Path(folder).is_dir() else []
    swept = []
    for path in left:
        try:
            if time.time() - path.stat().st_mtime < least_age:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            swept.append(path.name)
        except FileNotFoundError:
            continue  # its writer has just given it its name
    return swept
