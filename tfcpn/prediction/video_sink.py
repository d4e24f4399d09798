"""Where frames of a video go: ffmpeg where it is installed, else OpenCV."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np

from tfcpn.base.errors import InputError

# What is written, and OpenCV's codec for it.
CODECS = {
    ".mp4": "mp4v",
    ".mov": "mp4v",
    ".m4v": "mp4v",
    ".avi": "XVID",
    ".mkv": "XVID",
    ".webm": "VP80",
}


@functools.lru_cache
def ffmpeg(path: str | None = None) -> str | None:
    """The program, where one is installed that has H.264. path: where to look; None: the PATH."""
    program = shutil.which("ffmpeg", path=path)
    if program is None:
        return None
    known = subprocess.run(
        [program, "-hide_banner", "-encoders"], capture_output=True, text=True, check=False
    ).stdout
    return program if "libx264" in known else None


def open_sink(
    path: Path,
    size: tuple[int, int],
    rate: float,
    source: str | None,
    cut: bool,
    aspect: tuple[int, int] = (1, 1),
):
    """Something to `write` frames of `size` (height, width) to, and to `close`. Raises InputError.

    OpenCV, which writes where ffmpeg is not installed, keeps neither sound nor the pixels' aspect.
    """
    program = ffmpeg(os.environ.get("PATH"))
    return (
        _Ffmpeg(program, path, size, rate, source, cut, aspect)
        if program
        else _OpenCV(path, size, rate)
    )


class _OpenCV:
    """OpenCV's MPEG-4, or VP8 for .webm, silent."""

    def __init__(self, path: Path, size: tuple[int, int], rate: float):
        code = cv2.VideoWriter_fourcc(*CODECS[path.suffix.lower()])
        self._writer, self._size = (
            cv2.VideoWriter(os.path.abspath(path), code, rate, size[::-1]),
            size,
        )
        if not self._writer.isOpened():
            raise InputError("OpenCV has no encoder for it, or the folder cannot be written to")

    def write(self, frame: np.ndarray) -> None:
        self._writer.write(_of_size(frame, self._size))

    def close(self) -> None:
        self._writer.release()


class _Ffmpeg:
    """H.264, or VP8 for .webm, with the sound of the source: as it is where the kind of file stays, else encoded."""

    def __init__(
        self,
        program: str,
        path: Path,
        size: tuple[int, int],
        rate: float,
        source: str | None,
        cut: bool,
        aspect: tuple[int, int],
    ):
        given = [
            "-f",
            "rawvideo",
            "-pix_fmt",
            "bgr24",
            "-s",
            f"{size[1]}x{size[0]}",
            "-r",
            f"{rate:.6g}",
            "-i",
            "-",
        ]
        if source:
            given += ["-i", f"file:{os.path.abspath(source)}", "-map", "0:v", "-map", "1:a?"]
            if Path(source).suffix.lower() == path.suffix.lower():
                given += ["-c:a", "copy"]
            if cut:
                given += ["-shortest"]
        vp8 = path.suffix.lower() == ".webm"
        # yuv420p, which every player shows, wants even sides of H.264; with colors in full resolution any will do.
        even = vp8 or not (size[0] % 2 or size[1] % 2)
        how = ["-vf", "setsar={}/{}".format(*aspect), "-pix_fmt", "yuv420p" if even else "yuv444p"]
        webm = ["-c:v", "libvpx", "-deadline", "realtime", "-b:v", "2M"]
        how += webm if vp8 else ["-c:v", "libx264", "-preset", "veryfast", "-crf", "20"]
        words = [program, "-y", "-loglevel", "error", *given, *how, f"file:{os.path.abspath(path)}"]
        self._size, self._told = size, tempfile.TemporaryFile()  # noqa: SIM115 - as long as the program runs
        # In a session of its own: Ctrl-C is for us, who end it when its last frame is written.
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": self._told}
        self._process = subprocess.Popen(words, **pipes, start_new_session=True)

    def write(self, frame: np.ndarray) -> None:
        try:
            self._process.stdin.write(np.ascontiguousarray(_of_size(frame, self._size)).data)
        except BrokenPipeError as error:
            raise InputError(self._word()) from error

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        failed = self._process.wait()
        word = self._word() if failed else ""
        self._told.close()
        if failed:
            raise InputError(word)

    def _word(self) -> str:
        self._told.seek(0)
        lines = self._told.read().decode(errors="replace").strip().splitlines()
        return f"ffmpeg: {lines[-1] if lines else 'no word'}"


def _of_size(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame of a video whose size changes, in that of its first one."""
    return frame if frame.shape[:2] == size else cv2.resize(frame, size[::-1])
