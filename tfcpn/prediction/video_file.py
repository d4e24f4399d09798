"""Videos read and written: frames ahead of time in a thread of their own, sound and size kept."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.prediction.video_sink import CODECS, open_sink

_AHEAD = 4  # frames that are decoded, or wait to be written
_USUAL_RATE = 30.0  # of a camera or file that does not tell
# Texts that name other files, which would be read in the video's place.
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD")
MOST_PIXELS = 40_000_000  # of a frame


class VideoReader:
    """A video's frames (H, W, 3) uint8 BGR, turned as the file says, each with its time in seconds.

    path: a file, or a camera's number. rate: frames a second. count: frames, as far as the file tells, else 0. Raises
    InputError if it cannot be opened, and while it is iterated if reading fails.
    """

    def __init__(self, path: str):
        self.path, self.camera = path, is_camera(path)
        if not self.camera:
            _check(path)
        self._capture = cv2.VideoCapture(int(path) if self.camera else path)
        if not self._capture.isOpened():
            what = (
                "there is no such camera, or another program has it" if self.camera else "cannot be read as a video"
            )
            raise InputError(f"{path}: {what}")
        # Some builds of OpenCV do, some do not, if they are not told.
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        width, height = (self._capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MOST_PIXELS:
            self._capture.release()
            raise InputError(
                f"{path}: frames of {width:.0f}x{height:.0f} are more than {MOST_PIXELS // 10**6} megapixels"
            )
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 1 <= rate <= 1000 else _USUAL_RATE
        self.count = 0 if self.camera else max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._frames: queue.Queue = queue.Queue(_AHEAD)
        self._stop, self._error = threading.Event(), None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        number, start = 0, time.monotonic()
        try:
            while not self._stop.is_set():
                good, frame = self._capture.read()
                if not good:
                    break
                # A camera gives what it has when it is asked; its frames do not come at its rate.
                self._put((frame, time.monotonic() - start if self.camera else number / self.rate))
                number += 1
        except Exception as error:
            self._error = error
        finally:
            self._put(None)

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
        self._frames.put(None)  # for whoever iterates again
        if self._error:
            raise InputError(f"{self.path}: cannot be decoded ({self._error})") from self._error

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *how) -> None:
        self._stop.set()
        self._thread.join()
        self._capture.release()


def is_camera(word: str) -> bool:
    """Whether a word is a camera's number, and no file."""
    return word.isascii() and word.isdecimal() and not Path(word).exists()


def _check(path: str) -> None:
    """Raise InputError for a file that is not there, that OpenCV cannot be asked for, or that leads to others."""
    if not Path(path).exists():
        raise InputError(f"{path} not found")
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{os.fsencode(path)!r}: OpenCV opens only names in UTF-8; rename it") from error
    with open(path, "rb") as file:
        if file.read(16).lstrip(b"\xef\xbb\xbf \r\n").startswith(_PLAYLISTS):
            raise InputError(f"{path}: cannot be read as a video: it is a list of others")


class VideoWriter:
    """A video of frames of one size, written in a thread of its own; whole under its name, or not at all.

    source: a video whose sound is kept, if it has some and ffmpeg is there. cut: whether the video may be shorter
    than the source. draw: what to do with a frame and what was added with it, in the writer's thread. Raises
    InputError for a name that no video has, and when it is closed if writing failed.
    """

    def __init__(
        self, path: Path, rate: float, source: str | None = None, draw: Callable | None = None, cut: bool = False
    ):
        self.path, self.draw = Path(path), draw
        if self.path.suffix.lower() not in CODECS:
            raise InputError(f"{path}: want a name that ends in {', '.join(CODECS)}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        begun = f".{self.path.stem[:80]}.*.tmp{self.path.suffix}"
        for left in self.path.parent.glob(begun.replace("[", "[[]")):
            left.unlink()  # of a process that was killed
        self._temporary = self.path.with_name(f".{self.path.stem[:80]}.{os.getpid()}.tmp{self.path.suffix}")
        self._how = rate, source, cut
        self._frames: queue.Queue = queue.Queue(_AHEAD)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def add(self, frame: np.ndarray, *what) -> None:
        """Another frame (H, W, 3) uint8 BGR, and what `draw` wants. Raises InputError if an earlier one failed."""
        while not self._error:
            try:
                self._frames.put((frame, *what), timeout=0.1)
                return
            except queue.Full:
                continue
        raise self._failure()

    def _write(self) -> None:
        sink = None
        try:
            while (item := self._frames.get()) is not None:
                frame = item[0]
                if self.draw:
                    self.draw(*item)
                if sink is None:
                    sink = open_sink(self._temporary, frame.shape[:2], *self._how)
                sink.write(frame)
        except BaseException as error:
            self._error = error
        finally:
            try:
                if sink is not None:
                    sink.close()
            except Exception as error:
                self._error = self._error or error

    def _failure(self) -> InputError:
        failure = InputError(f"{self.path}: cannot be written ({self._error})")
        failure.__cause__ = self._error
        return failure

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind, *how) -> None:
        while self._thread.is_alive() and not self._error:
            try:
                self._frames.put(None, timeout=0.1)
                break
            except queue.Full:
                continue
        self._thread.join()
        if kind is None and not self._error and self._temporary.exists():
            os.replace(self._temporary, self.path)
        self._temporary.unlink(missing_ok=True)
        if kind is None and self._error:
            raise self._failure()
