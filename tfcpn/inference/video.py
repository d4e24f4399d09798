"""Read and write videos in threads of their own."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from tfcpn.utils.errors import InputError

_log = logging.getLogger(__name__)
_MAX_HOLD_SECONDS = 600  # longest time a frame is shown; a larger gap is damage
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
    """Return an ffmpeg program with H.264: that of the system, else that of imageio-ffmpeg.

    Args:
        path: Folders to search; None for PATH.
    """
    for program in (shutil.which("ffmpeg", path=path), _packaged_ffmpeg()):
        if program is None:
            continue
        known = subprocess.run(
            [program, "-hide_banner", "-encoders"], capture_output=True, text=True, check=False
        ).stdout
        if "libx264" in known:
            return program
    return None


def _packaged_ffmpeg() -> str | None:
    """Return the program of the package imageio-ffmpeg; None if it is not installed."""
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None


@functools.lru_cache
def _warn_without_ffmpeg() -> None:
    _log.warning(
        "no ffmpeg with H.264: videos become MPEG-4 Part 2 without sound, which browsers do not "
        "play; pip install imageio-ffmpeg helps"
    )


def open_sink(
    path: Path,
    size: tuple[int, int],
    rate: float,
    source: str | None,
    cut: bool,
    aspect: tuple[int, int] = (1, 1),
):
    """Return an object with `write` for frames and `close`; InputError if none can be opened.

    OpenCV, which is used without ffmpeg, keeps neither sound nor the pixels' aspect ratio.
    """
    program = ffmpeg(os.environ.get("PATH"))
    if program:
        return _Ffmpeg(program, path, size, rate, source=source, cut=cut, aspect=aspect)
    if path.suffix.lower() != ".webm":
        _warn_without_ffmpeg()
    return _OpenCV(path, size, rate)


class _OpenCV:
    """Writes by OpenCV: MPEG-4, or VP8 for .webm, without sound."""

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
    """Writes by ffmpeg: H.264, or VP8 for .webm, with the sound of the source."""

    def __init__(
        self,
        program: str,
        path: Path,
        size: tuple[int, int],
        rate: float,
        *,
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
        # yuv420p, which every player shows, wants even sides of H.264; with colors in full
        # resolution any will do.
        even = vp8 or not (size[0] % 2 or size[1] % 2)
        how = ["-vf", "setsar={}/{}".format(*aspect), "-pix_fmt", "yuv420p" if even else "yuv444p"]
        webm = ["-c:v", "libvpx", "-deadline", "realtime", "-b:v", "2M"]
        how += webm if vp8 else ["-c:v", "libx264", "-preset", "veryfast", "-crf", "20"]
        words = [program, "-y", "-loglevel", "error", *given, *how, f"file:{os.path.abspath(path)}"]
        self._size, self._stderr = size, tempfile.TemporaryFile()  # noqa: SIM115 - as long as the program runs
        # In a session of its own: Ctrl-C is for us, who end it when its last frame is written.
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": self._stderr}
        self._process = subprocess.Popen(words, **pipes, start_new_session=True)

    def write(self, frame: np.ndarray) -> None:
        try:
            self._process.stdin.write(np.ascontiguousarray(_of_size(frame, self._size)).data)
        except BrokenPipeError as error:
            raise InputError(self._error()) from error

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        failed = self._process.wait()
        message = self._error() if failed else ""
        self._stderr.close()
        if failed:
            raise InputError(message)

    def _error(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"ffmpeg: {lines[-1] if lines else 'unknown error'}"


def _of_size(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a frame in the size of the first one; some videos change it."""
    return frame if frame.shape[:2] == size else cv2.resize(frame, size[::-1])


_AHEAD = 4  # frames that are decoded, or wait to be written
_DEFAULT_RATE = 30.0  # of a camera, or of a file of one frame that does not tell
_WITH_FRAME_LIST = (".mp4", ".mov", ".m4v")
_RATE_FRAMES = 48  # frames whose times tell the rate
_MAX_DECLARED_RATE = 120.0  # frames a second that a header is believed
_RATE_TOLERANCE = (
    0.02  # how far the rate that a file tells may be from that of its frames, and still be taken
)
# The decoders' own lines, of which a bad file makes sixty.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# Texts that name other files, which would be read in the video's place.
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD")
MAX_FRAME_PIXELS = 40_000_000  # of a frame


class VideoReader:
    """Reads the frames of a video, (H, W, 3) uint8 BGR, rotated as the file says, with their times.

    Times are those of the frames, not numbers over a rate: browsers, phones and screen recorders
    write frames at irregular intervals.

    Attributes:
        rate: Frames per second for writing the video again: that of most of its first frames.
        seconds: Declared duration; 0 if unknown, or for a camera.
        count: Approximate number of frames, for a progress bar; 0 if unknown.
        aspect: Width over height of a pixel, as (numerator, denominator).
        codec: The file's codec by its four letters, or "".

    Raises:
        InputError: If it cannot be opened, and during iteration if reading fails.
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
        # Not all builds of OpenCV do so by default.
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        width, height = (
            self._capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if width * height > MAX_FRAME_PIXELS:
            self._capture.release()
            raise InputError(
                f"{path}: frames of {width:.0f}x{height:.0f} are more than "
                f"{MAX_FRAME_PIXELS // 10**6} megapixels"
            )
        nominal, count = (
            self._capture.get(p) for p in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT)
        )
        is_declared = (
            not self.camera and nominal > 0 and count > 0 and np.isfinite([nominal, count]).all()
        )
        # OpenCV's count is a duration times the nominal rate, where the file has no other.
        self.seconds = count / nominal if is_declared else 0.0
        self.rate = (
            _rate_of(path, nominal)
            if not self.camera
            else nominal
            if nominal > 0
            else _DEFAULT_RATE
        )
        self.count = round(self.seconds * self.rate)
        aspect = [self._capture.get(p) for p in (cv2.CAP_PROP_SAR_NUM, cv2.CAP_PROP_SAR_DEN)]
        aspect = aspect[::-1] if self._capture.get(cv2.CAP_PROP_ORIENTATION_META) % 180 else aspect
        self.aspect = tuple(map(int, aspect)) if min(aspect) >= 1 else (1, 1)
        # These have a list of their frames; of others the length may be that of the sound.
        self.frames_listed = (
            int(count) if is_declared and Path(path).suffix.lower() in _WITH_FRAME_LIST else 0
        )
        self.codec = _codec(self._capture)
        self._frames: queue.Queue = queue.Queue(_AHEAD)
        self._stop, self._error = threading.Event(), None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        start, last, first = time.monotonic(), -np.inf, None
        try:
            while not self._stop.is_set():
                is_read, frame = self._capture.read()
                if not is_read:
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
        self._frames.put(None)  # for another iteration
        if self._error:
            raise InputError(f"{self.path}: cannot be decoded ({self._error})") from self._error

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *error) -> None:
        self._stop.set()
        self._thread.join()
        self._capture.release()


def _rate_of(path: str, nominal: float) -> float:
    """Return the rate of a file's first frames, or the declared one if it is about the same.

    Headers are unreliable: a browser's recording declares 1000 frames per second.
    """
    capture, times = cv2.VideoCapture(os.path.abspath(path)), []
    try:
        while len(times) < _RATE_FRAMES and capture.grab():
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    finally:
        capture.release()
    steps = np.diff(times)
    steps = steps[steps > 0]
    if not len(steps):
        return nominal if 0 < nominal <= 240 else _DEFAULT_RATE
    rate = 1 / float(np.median(steps))
    mean = len(steps) / float(steps.sum())
    # Times are rounded to milliseconds in some files.
    if any(abs(nominal / r - 1) < _RATE_TOLERANCE for r in (rate, mean)):
        return nominal
    # A recording may begin slowly: no frame is to be left out of what is written.
    return max(rate, nominal) if nominal <= _MAX_DECLARED_RATE else min(rate, _MAX_DECLARED_RATE)


def _codec(capture: cv2.VideoCapture) -> str:
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    letters = "".join(chr(code >> shift & 255) for shift in (0, 8, 16, 24))
    return letters if letters.isprintable() else ""


def no_frame(path: str, codec: str) -> str:
    """Return the error for a video without a frame that can be decoded."""
    if codec.strip().lower() in ("av01", "av1"):
        return (
            f"{path}: OpenCV decodes no AV1; convert it first: "
            "ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4"
        )
    return f"{path}: there is not one frame in it that can be decoded" + (
        f" (codec {codec})" if codec else ""
    )


def is_camera(word: str) -> bool:
    """Return whether a word is the number of a camera, and not a file."""
    return word.isascii() and word.isdecimal() and not Path(word).exists()


def _check(path: str) -> None:
    """Raise InputError for a file that does not exist, that OpenCV cannot open, or that lists other
    files.
    """
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
    """Writes a video in a thread of its own; complete under its name, or not at all."""

    def __init__(
        self,
        path: Path,
        rate: float,
        source: str | None = None,
        draw: Callable | None = None,
        cut: bool = False,
        aspect: tuple[int, int] = (1, 1),
    ):
        """Start the thread.

        Args:
            path: The video.
            rate: Frames per second.
            source: Video whose sound is kept, if ffmpeg is installed.
            draw: Called in the writer's thread with a frame and what was added with it.
            cut: Whether the video may be shorter than the source.
            aspect: Width over height of a pixel.

        Raises:
            InputError: For a name that no video has.
        """
        self.path, self.draw = Path(path), draw
        if self.path.suffix.lower() not in CODECS:
            raise InputError(f"{path}: expected a name that ends in {', '.join(CODECS)}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        leftovers = f".{self.path.stem[:80]}.*.tmp{self.path.suffix}"
        for left in self.path.parent.glob(leftovers.replace("[", "[[]")):
            left.unlink()  # of a crashed process
        self._temporary = self.path.with_name(
            f".{self.path.stem[:80]}.{os.getpid()}.tmp{self.path.suffix}"
        )
        self._sink_options = rate, source, cut, aspect
        self._frames: queue.Queue = queue.Queue(_AHEAD)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def add(self, frame: np.ndarray, *what, times: int = 1) -> None:
        """Add a frame.

        Args:
            frame: (H, W, 3) uint8 BGR.
            what: Further arguments of `draw`.
            times: Number of times it is written.

        Raises:
            InputError: If an earlier frame failed.
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
                    sink = open_sink(self._temporary, frame.shape[:2], *self._sink_options)
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

    def __exit__(self, kind, *error) -> None:
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


def hold(writer, held: tuple | None, seconds: float, rate: float, shown: int) -> int:
    """Write the last frame, drawn once, until the time of the next one.

    Frames that are due before the next position of the output are dropped.

    Args:
        writer: A `VideoWriter`.
        held: Arguments of its `add` for the last frame; None before the first.
        seconds: Time of the next frame.
        rate: Frames per second of the output.
        shown: Number of frames written so far.

    Returns:
        Number of times it was written.
    """
    if held is None:
        return 0
    times = min(max(0, round(seconds * rate) - shown), round(_MAX_HOLD_SECONDS * rate))
    if times:
        writer.add(*held, times=times)
    return times
