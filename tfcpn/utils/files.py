"""Atomic, durable writes of files and folders."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path


def fsync_path(path: Path) -> None:
    """Wait until a file's content or a folder's entries are on disk.

    Args:
        path: A file or folder. Folders are skipped where the file system does not support fsync for
            them, as on some network file systems.

    Raises:
        OSError: If a file cannot be synced.
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
    """Write a file under a temporary name and rename it, so that readers never see half a file.

    Args:
        path: The file to write. Its folder is created.
        content: Text (written as UTF-8) or bytes.
        durable: Also survive a power failure, which takes some milliseconds.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        if durable:
            fsync_path(temporary)
        os.replace(temporary, path)
        if durable:
            fsync_path(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def file_fingerprint(path: str) -> list[int]:
    """Return the size in bytes and the modification time in nanoseconds of a file."""
    state = os.stat(path)
    return [state.st_size, state.st_mtime_ns]


def write_text_stream(path: Path, parts: Iterable[str]) -> None:
    """Write text that comes in parts and need not fit into memory; atomic as `write_atomically`.

    Args:
        path: The file to write. Its folder is created.
        parts: Pieces of the text. Surrogates, as in undecodable file names, are written as escapes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", errors="backslashreplace") as file:
            file.writelines(parts)
        fsync_path(temporary)
        os.replace(temporary, path)
        fsync_path(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_dir(path: Path, fill: Callable[[Path], None]) -> None:
    """Create a folder that exists complete or not at all.

    Args:
        path: The folder. An existing one is replaced.
        fill: Function that writes the content into the folder it is given.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        fill(temporary)
        for file in temporary.rglob("*"):
            fsync_path(file)
        fsync_path(temporary)
        # A folder that is not empty cannot be renamed over. The old one is deleted last.
        old = _move_aside(path) if path.exists() else None
        try:
            temporary.rename(path)
        except OSError:
            if old:
                old.rename(path)
            raise
        fsync_path(path.parent)
        if old:
            shutil.rmtree(old)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_aside(path: Path) -> Path:
    """Rename a folder to a temporary name and return that name."""
    old = path.with_name(f".{path.name}.{os.getpid()}.old.tmp")
    path.rename(old)
    return old


def remove_folder(path: Path) -> None:
    """Delete a folder so that it disappears from its name at once."""
    shutil.rmtree(_move_aside(Path(path)))


def remove_stale_temp(folder: Path, min_age: float = 0.0) -> list[str]:
    """Delete temporary files and folders that crashed processes left behind.

    Args:
        folder: Where to look, not recursively.
        min_age: Age in seconds of what is deleted; 0 where no other process can be writing.

    Returns:
        The names that were deleted.
    """
    left = sorted(Path(folder).glob(".*.tmp")) if Path(folder).is_dir() else []
    swept = []
    for path in left:
        try:
            if time.time() - path.stat().st_mtime < min_age:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            swept.append(path.name)
        except FileNotFoundError:
            continue  # renamed by its writer in the meantime
    return swept
