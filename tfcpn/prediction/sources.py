"""What the words of a command line name: pictures and videos, and where each of them goes."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from tfcpn.base.errors import InputError
from tfcpn.prediction.video_file import CODECS

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
VIDEOS = (*CODECS, ".mpg", ".mpeg", ".wmv", ".ogv", ".gif", ".ts")
MOST_PIXELS = 100_000_000  # of a picture: .3 GB when decoded


class Source(NamedTuple):
    """A picture or video. path: the file, or a camera's number. name: of what is written, in the output's folder."""

    path: str
    name: str
    video: bool


def kind(path: str) -> str:
    """ "picture", "video", or "" for what is neither, by the name."""
    suffix = Path(path).suffix.lower()
    return "picture" if suffix in PICTURES else "video" if suffix in VIDEOS else ""


def find_sources(words: Sequence[str], output: str, lines: Iterable[str] = ()) -> list[Source]:
    """Files, folders (with what is below), globs, cameras' numbers, and - for `lines`, one of those in each.

    Names are kept as they are below the deepest folder that holds everything. Raises InputError for what is not
    there, is neither picture nor video, or would be written over.
    """
    named = [word for each in words for word in ([line.rstrip("\n") for line in lines] if each == "-" else [each])]
    cameras, files, roots = [], [], []
    for word in (word for word in named if word.strip()):
        if word.isdigit() and not Path(word).exists():
            cameras.append(Source(word, f"camera_{word}.mp4", True))
            continue
        for path in _expanded(os.path.expanduser(word)):
            if path.is_dir():
                inside = sorted(p for p in path.rglob("*") if p.is_file() and kind(str(p)) and not _below(p, output))
                if not inside:
                    raise InputError(f"{path}: there is neither a picture nor a video in it")
                files += inside
                roots.append(path.resolve())
            elif not kind(str(path)):
                raise InputError(f"{path}: want a picture ({' '.join(PICTURES)}) or a video ({' '.join(VIDEOS)})")
            else:
                files.append(path)
                roots.append(path.resolve().parent)
    top = Path(os.path.commonpath(roots)) if roots else Path()
    sources = [_source(path, top) for path in dict.fromkeys(files)]
    for source in sources:
        if (Path(output) / source.name).resolve() == Path(source.path).resolve():
            raise InputError(f"--output={output}: {source.path} would be written over; give another folder")
    return cameras + sources


def _expanded(word: str) -> list[Path]:
    if Path(word).exists():
        return [Path(word)]
    found = sorted(map(Path, glob.glob(word, recursive=True))) if glob.has_magic(word) else []
    if not found:
        raise InputError(f"{word} not found")
    return found


def _below(path: Path, output: str) -> bool:
    return Path(output).resolve() in path.resolve().parents


def _source(path: Path, top: Path) -> Source:
    name, video = os.path.relpath(path.resolve(), top), kind(str(path)) == "video"
    if video and path.suffix.lower() not in CODECS:
        name += ".mp4"
    return Source(str(path), name, video)


def read_picture(path: str) -> np.ndarray:
    """(H, W, 3) uint8 BGR, turned as its EXIF orientation says. Raises InputError for a file that cannot be decoded,
    or whose picture is too large to be.
    """
    try:
        with Image.open(path) as opened:
            width, height = opened.size
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: is too large a picture ({error})") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path}: cannot be read as a picture") from error
    if width * height > MOST_PIXELS:
        raise InputError(f"{path}: {width}x{height} is more than {MOST_PIXELS // 1_000_000} megapixels")
    pixels = cv2.imread(path, cv2.IMREAD_COLOR)
    if pixels is None or min(pixels.shape[:2]) < 2:
        raise InputError(f"{path}: cannot be decoded; the file is cut short, damaged or of a single line")
    return pixels
