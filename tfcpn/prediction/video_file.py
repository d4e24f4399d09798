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
_USUAL_RATE = 30.0  # of a camera, or of a file of one frame that does not tell
_LISTED = (".mp4", ".mov", ".m4v")
_LOOKED_AT = 48  # frames whose times tell the rate
_QUICKEST = 120.0  # frames a second that a header is believed
_NOMINAL = (
    0.02  # how far the rate that a file tells may be from that of its frames, and still be taken
)
# The decoders' own lines, of which a bad file makes sixty.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# Texts that name other files, which would be read in the video's place.
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD")
MOST_PIXELS = 40_000_000  # of a frame


class VideoReader:
    """A video's frames (H, W, 3) uint8 BGR, turned as the file says, each with its own time in seconds.

    The times are those of the frames, not numbers over a rate: browsers, phones and screen recorders write frames as
    they come.

    Attributes:
        rate: Frames a second at which the video may be written again: that of most of its first frames.
        seconds: How long the file says it is; 0 if it does not, or for a camera.
        count: About how many frames there are, for a progress bar; 0 if nothing tells.
        aspect: Width over height of a pixel, as (numerator, denominator).
        codec: The file's codec by its four letters, or "".

    Raises:
        InputError: If it cannot be opened, and while it is iterated if reading fails.
    """

    def __init__(self, path: str):
        self.path, self.camera = path, is_camera(path)
        if not self.camera:
            _check(path)
        # Of a relative name the letters before a colon would be a protocol's.
        self._capture = cv2.VideoCapture(int(path) if self.camera else os.path.abspath(path))
        if not self._capture.isOpened():
            what = (
                "there is no such camera, or another program has it"
                if self.camera
                else "cannot be read as a video"
            )
            raise InputError(f"{path}: {what}")
        # Some builds of OpenCV do, some do not, if they are not told.
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        width, height = (
            self._capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if width * height > MOST_PIXELS:
            self._capture.release()
            raise InputError(
                f"{path}: frames of {width:.0f}x{height:.0f} are more than {MOST_PIXELS // 10**6} megapixels"
            )
        nominal, count = (
            self._capture.get(p) for p in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT)
        )
        told = not self.camera and nominal > 0 and count > 0 and np.isfinite([nominal, count]).all()
        # OpenCV's count is a duration times the nominal rate, where the file has no other.
        self.seconds = count / nominal if told else 0.0
        self.rate = (
            _rate_of(path, nominal) if not self.camera else nominal if nominal > 0 else _USUAL_RATE
        )
        self.count = round(self.seconds * self.rate)
        aspect = [self._capture.get(p) for p in (cv2.CAP_PROP_SAR_NUM, cv2.CAP_PROP_SAR_DEN)]
        aspect = aspect[::-1] if self._capture.get(cv2.CAP_PROP_ORIENTATION_META) % 180 else aspect
        self.aspect = tuple(map(int, aspect)) if min(aspect) >= 1 else (1, 1)
        # These have a list of their frames; of others the length may be that of the sound.
        self.frames_listed = int(count) if told and Path(path).suffix.lower() in _LISTED else 0
        self.codec = _codec(self._capture)
        self._frames: queue.Queue = queue.Queue(_AHEAD)
        self._stop, self._error = threading.Event(), None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        start, last, first = time.monotonic(), -np.inf, None
        try:
            while not self._stop.is_set():
                good, frame = self._capture.read()
                if not good:
                    break
                if self.camera:
                    # It gives what it has when it is asked; its frames do not come at its rate.
                    seconds = time.monotonic() - start
                else:
                    seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                    first = seconds if first is None else first
                    seconds -= first
                    if not seconds > last:
                        # Some files tell no times, or the same twice.
                        seconds = last + 1 / self.rate if np.isfinite(last) else 0.0
                last = seconds
                self._put((frame, seconds))
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


def _rate_of(path: str, nominal: float) -> float:
    """Return the rate of a file's first frames, or the nominal one if that is about the same.

    A header may say anything: a browser's recording says 1000 frames a second.
    """
    capture, times = cv2.VideoCapture(os.path.abspath(path)), []
    try:
        while len(times) < _LOOKED_AT and capture.grab():
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    finally:
        capture.release()
    steps = np.diff(times)
    steps = steps[steps > 0]
    if not len(steps):
        return nominal if 0 < nominal <= 240 else _USUAL_RATE
    rate = 1 / float(np.median(steps))
    mean = len(steps) / float(steps.sum())
    # Times are rounded to milliseconds in some files.
    if any(abs(nominal / r - 1) < _NOMINAL for r in (rate, mean)):
        return nominal
    # A recording may begin slowly: no frame is to be left out of what is written.
    return max(rate, nominal) if nominal <= _QUICKEST else min(rate, _QUICKEST)


def _codec(capture: cv2.VideoCapture) -> str:
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    letters = "".join(chr(code >> shift & 255) for shift in (0, 8, 16, 24))
    return letters if letters.isprintable() else ""


def no_frame(path: str, codec: str) -> str:
    """What to say of a video without one frame that can be decoded."""
    if codec.strip().lower() in ("av01", "av1"):
        return f"{path}: OpenCV decodes no AV1; convert it first: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4"
    return f"{path}: there is not one frame in it that can be decoded" + (
        f" (codec {codec})" if codec else ""
    )


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
        raise InputError(
            f"{os.fsencode(path)!r}: OpenCV opens only names in UTF-8; rename it"
        ) from error
    with open(path, "rb") as file:
        if file.read(16).lstrip(b"\xef\xbb\xbf \r\n").startswith(_PLAYLISTS):
            raise InputError(f"{path}: cannot be read as a video: it is a list of others")


class VideoWriter:
    """A video of frames of one size, written in a thread of its own; whole under its name, or not at all.

    source: a video whose sound is kept, if it has some and ffmpeg is there. cut: whether the video may be shorter
    than the source. draw: what to do with a frame and what was added with it, in the writer's thread. aspect: width
    over height of a pixel. Raises InputError for a name that no video has, and when it is closed if writing failed.
    """

    def __init__(
        self,
        path: Path,
        rate: float,
        source: str | None = None,
        draw: Callable | None = None,
        cut: bool = False,
        aspect: tuple[int, int] = (1, 1),
    ):
        self.path, self.draw = Path(path), draw
        if self.path.suffix.lower() not in CODECS:
            raise InputError(f"{path}: want a name that ends in {', '.join(CODECS)}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        begun = f".{self.path.stem[:80]}.*.tmp{self.path.suffix}"
        for left in self.path.parent.glob(begun.replace("[", "[[]")):
            left.unlink()  # of a process that was killed
        self._temporary = self.path.with_name(
            f".{self.path.stem[:80]}.{os.getpid()}.tmp{self.path.suffix}"
        )
        self._how = rate, source, cut, aspect
        self._frames: queue.Queue = queue.Queue(_AHEAD)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def add(self, frame: np.ndarray, *what, times: int = 1) -> None:
        """Add a frame (H, W, 3) uint8 BGR so many times, and what `draw` wants. Raises InputError if an earlier one
        failed.
        """
        while not self._error:
            try:
                self._frames.put((times, frame, *what), timeout=0.1)
                return
            except queue.Full:
                continue
        raise self._failure()

    def _write(self) -> None:
        sink = None
        try:
            while (item := self._frames.get()) is not None:
                times, frame = item[:2]
                if self.draw:
                    self.draw(*item[1:])
                if sink is None:
                    sink = open_sink(self._temporary, frame.shape[:2], *self._how)
                for _ in range(times):
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
