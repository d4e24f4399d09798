"""Videos read and written: frames ahead of time in a thread of their own, sound and size kept."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from tfcpn.base.errors import InputError

_AHEAD = 4  # frames that are decoded, or wait to be written
_USUAL_RATE = 30.0  # of a camera or file that does not tell


class VideoReader:
    """A video's frames (H, W, 3) uint8 BGR, turned as the file says, each with its time in seconds.

    path: a file, or a camera's number. rate: frames a second. count: frames, as far as the file tells, else 0. Raises
    InputError if it cannot be opened.
    """

    def __init__(self, path: str):
        self.path, self.camera = path, path.isdigit()
        if not self.camera and not Path(path).exists():
            raise InputError(f"{path} not found")
        self._capture = cv2.VideoCapture(int(path) if self.camera else path)
        if not self._capture.isOpened():
            what = (
                "there is no such camera, or another program has it" if self.camera else "cannot be read as a video"
            )
            raise InputError(f"{path}: {what}")
        # Some builds of OpenCV do, some do not, if they are not told.
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 1 <= rate <= 1000 else _USUAL_RATE
        self.count = 0 if self.camera else max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._frames: queue.Queue = queue.Queue(_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        number = 0
        while not self._stop.is_set():
            good, frame = self._capture.read()
            self._put((frame, number / self.rate) if good else None)
            if not good:
                return
            number += 1

    def _put(self, item) -> None:
        while not self._stop.is_set():
            try:
                self._frames.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def __iter__(self) -> Iterator[tuple[np.ndarray, float]]:
        while (item := self._frames.get()) is not None:
            yield item

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *how) -> None:
        self._stop.set()
        self._thread.join()
        self._capture.release()


def ffmpeg() -> str | None:
    """The program, where it is installed."""
    return shutil.which("ffmpeg")


class VideoWriter:
    """A video of frames of one size, written in a thread of its own; whole under its name, or not at all.

    With ffmpeg H.264 and the sound of `source`, if it has some; without it OpenCV's MPEG-4, or VP8 for .webm, silent.
    draw: what to do with a frame and what was added with it, in the writer's thread. Raises InputError for a name
    that no video has.
    """

    def __init__(self, path: Path, rate: float, source: str | None = None, draw: Callable | None = None):
        self.path, self.rate, self.source, self.draw = Path(path), rate, source, draw
        if self.path.suffix.lower() not in CODECS:
            raise InputError(f"{path}: want a name that ends in {', '.join(CODECS)}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self.path.with_name(f".{self.path.stem}.{os.getpid()}.tmp{self.path.suffix}")
        self._frames: queue.Queue = queue.Queue(_AHEAD)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def add(self, frame: np.ndarray, *what) -> None:
        """Another frame (H, W, 3) uint8 BGR, and what `draw` wants. Raises what writing an earlier one raised."""
        while True:
            if self._error:
                raise self._error
            try:
                self._frames.put((frame, *what), timeout=0.1)
                return
            except queue.Full:
                continue

    def _write(self) -> None:
        sink = None
        try:
            while (item := self._frames.get()) is not None:
                frame = item[0]
                if self.draw:
                    self.draw(*item)
                if sink is None:
                    sink = (_Ffmpeg if ffmpeg() else _OpenCV)(
                        self._temporary, frame.shape[:2], self.rate, self.source
                    )
                sink.write(frame)
        except (OSError, cv2.error, InputError) as error:
            self._error = InputError(f"{self.path}: cannot be written ({error})")
        finally:
            if sink is not None:
                try:
                    sink.close()
                except InputError as error:
                    self._error = self._error or InputError(f"{self.path}: cannot be written ({error})")

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind, *how) -> None:
        while self._thread.is_alive():
            try:
                self._frames.put(None, timeout=0.1)
                break
            except queue.Full:
                continue
        self._thread.join()
        if kind is None and self._error is None and self._temporary.exists():
            os.replace(self._temporary, self.path)
        self._temporary.unlink(missing_ok=True)
        if kind is None and self._error:
            raise self._error


# OpenCV's codec for each kind of file.
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".m4v": "mp4v", ".avi": "XVID", ".mkv": "XVID", ".webm": "VP80"}


class _OpenCV:
    def __init__(self, path: Path, size: tuple[int, int], rate: float, source: str | None):
        code = cv2.VideoWriter_fourcc(*CODECS[path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(path), code, rate, size[::-1])
        if not self._writer.isOpened():
            raise InputError("OpenCV has no encoder for it")

    def write(self, frame: np.ndarray) -> None:
        self._writer.write(frame)

    def close(self) -> None:
        self._writer.release()


class _Ffmpeg:
    def __init__(self, path: Path, size: tuple[int, int], rate: float, source: str | None):
        given = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{size[1]}x{size[0]}", "-r", f"{rate:.6g}", "-i", "-"]
        sound = ["-i", source, "-map", "0:v", "-map", "1:a?"] if source else []
        # yuv420p, which every player shows, wants even sides.
        how = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]
        if path.suffix.lower() == ".webm":
            how += ["-c:v", "libvpx", "-deadline", "realtime", "-b:v", "2M"]
        else:
            how += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "20"]
            how += ["-c:a", "copy"] if source else []
        words = [ffmpeg(), "-y", "-loglevel", "error", *given, *sound, *how, str(path)]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def write(self, frame: np.ndarray) -> None:
        try:
            self._process.stdin.write(np.ascontiguousarray(frame).data)
        except BrokenPipeError as error:
            raise InputError(self._word()) from error

    def close(self) -> None:
        if self._process.stdin and not self._process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        if self._process.wait():
            raise InputError(self._word())

    def _word(self) -> str:
        lines = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        return f"ffmpeg: {lines[-1] if lines else 'no word'}"
