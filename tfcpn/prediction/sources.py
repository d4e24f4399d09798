"""What the words of a command line name: images and videos, and where each of them goes."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tfcpn.base.errors import InputError
from tfcpn.prediction.video_file import is_camera
from tfcpn.prediction.video_sink import CODECS

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
VIDEO_SUFFIXES = (*CODECS, ".mpg", ".mpeg", ".wmv", ".ogv", ".gif", ".ts")


class Source(NamedTuple):
    """An image or video. path: the file, or a camera's number. name: of what is written, in the output's folder."""

    path: str
    name: str
    video: bool


def kind(path: str) -> str:
    """ "image", "video", or "" for what is neither, by the name."""
    suffix = Path(path).suffix.lower()
    return "picture" if suffix in IMAGE_SUFFIXES else "video" if suffix in VIDEO_SUFFIXES else ""


def find_inputs(words: Sequence[str], output: str, lines: Iterable[str] = ()) -> list[Source]:
    """Files, folders (with what is below), globs, cameras' numbers, and - for `lines`, one of those in each.

    Names are kept as they are below the deepest folder that holds everything. In folders and globs what is neither
    image nor video, hidden, or in the output is passed over. Raises InputError for what is not there, is neither
    image nor video, or would be written over.
    """
    named = [
        word
        for each in words
        for word in ([line.rstrip("\n") for line in lines] if each == "-" else [each])
    ]
    cameras, files, roots = [], {}, []
    for word in (word for word in named if word.strip()):
        if is_camera(word):
            cameras.append(Source(word, f"camera_{word}.mp4", True))
            continue
        word = os.path.expanduser(word)
        inside, root = _inside(Path(word), word, output)
        roots += [root] if root else [Path(os.path.abspath(path)).parent for path in inside]
        # Whoever names a file twice, by a link perhaps, wants it once.
        files = {path.resolve(): path for path in inside} | files
    top = Path(os.path.commonpath(roots)) if roots else Path()
    sources = [_source(path, top) for path in files.values()]
    for source in sources:
        if (Path(output) / source.name).resolve() in files:
            raise InputError(
                f"--output={output}: {source.name} in it would be written over; give another folder"
            )
    return [*dict.fromkeys(cameras), *sorted(sources)]


def _inside(path: Path, word: str, output: str) -> tuple[list[Path], Path | None]:
    """The files that a word stands for, and its folder if it is one. Raises InputError."""
    if path.is_dir():
        found = [p for p in path.rglob("*") if _wanted(p, output)]
        if not found:
            raise InputError(f"{path}: there is neither an image nor a video in it")
        return found, Path(os.path.abspath(path))
    if path.exists():
        if not kind(word):
            raise InputError(
                f"{path}: want an image ({' '.join(IMAGE_SUFFIXES)}) or a video ({' '.join(VIDEO_SUFFIXES)})"
            )
        return [path], None
    found = [Path(p) for p in glob.glob(word, recursive=True)] if glob.has_magic(word) else []
    found = [p for p in found if _wanted(p, output)]
    if not found:
        raise InputError(f"{word} not found")
    return found, None


def _wanted(path: Path, output: str) -> bool:
    below = Path(output).resolve() in path.resolve().parents
    return bool(kind(str(path))) and not path.name.startswith(".") and path.is_file() and not below


def _source(path: Path, top: Path) -> Source:
    name, video = os.path.relpath(os.path.abspath(path), top), kind(str(path)) == "video"
    if video and path.suffix.lower() not in CODECS:
        name += ".mp4"
    return Source(str(path), name, video)
