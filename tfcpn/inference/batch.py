"""Predict many files: inputs, a journal to resume by, and overlapping work."""

from __future__ import annotations

import errno
import glob
import json
import os
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import cv2
import numpy as np

from tfcpn.data.detections import PersonBox
from tfcpn.data.images import read_image
from tfcpn.inference.estimator import Person, PoseEstimator
from tfcpn.inference.outputs import draw_people, to_coco, write_results
from tfcpn.inference.tracker import Tracker
from tfcpn.inference.video import CODECS, VideoReader, VideoWriter, hold, is_camera, no_frame
from tfcpn.utils.console import progress_bar
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import file_fingerprint, write_atomically

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
VIDEO_SUFFIXES = (*CODECS, ".mpg", ".mpeg", ".wmv", ".ogv", ".gif", ".ts")


class InputFile(NamedTuple):
    """An image or video to predict.

    Attributes:
        path: The file, or the number of a camera.
        name: Name of the output, relative to the output folder.
        is_video: Whether it is a video.
    """

    path: str
    name: str
    is_video: bool


def media_type(path: str) -> str:
    """Return "image", "video" or "" by the name of a file."""
    suffix = Path(path).suffix.lower()
    return "image" if suffix in IMAGE_SUFFIXES else "video" if suffix in VIDEO_SUFFIXES else ""


def find_inputs(paths: Sequence[str], output: str, lines: Iterable[str] = ()) -> list[InputFile]:
    """Find the inputs that a command line names.

    Names of outputs are relative to the deepest folder that contains all inputs. In folders and
    globs, files of other types, hidden files and files in the output folder are skipped.

    Args:
        paths: Files, folders (with their subfolders), globs, numbers of cameras, and - for `lines`.
        output: The output folder.
        lines: Further paths.

    Raises:
        InputError: For what does not exist, is neither image nor video, or would be overwritten.
    """
    named = [
        word
        for each in paths
        for word in ([line.rstrip("\n") for line in lines] if each == "-" else [each])
    ]
    cameras, files, roots = [], {}, []
    for word in (word for word in named if word.strip()):
        if is_camera(word):
            cameras.append(InputFile(word, f"camera_{word}.mp4", True))
            continue
        word = os.path.expanduser(word)
        inside, root = _expand(Path(word), word, output)
        roots += [root] if root else [Path(os.path.abspath(path)).parent for path in inside]
        # De-duplicate paths that resolve to the same file.
        files = {path.resolve(): path for path in inside} | files
    top = Path(os.path.commonpath(roots)) if roots else Path()
    sources = [_source(path, top) for path in files.values()]
    for source in sources:
        if (Path(output) / source.name).resolve() in files:
            raise InputError(
                f"--output={output}: {source.name} in it would be written over; give another folder"
            )
    return [*dict.fromkeys(cameras), *sorted(sources)]


def _expand(path: Path, word: str, output: str) -> tuple[list[Path], Path | None]:
    """Return the files of a path, and the folder if it is one; InputError for none."""
    if path.is_dir():
        found = [p for p in path.rglob("*") if _is_input(p, output)]
        if not found:
            raise InputError(f"{path}: there is neither an image nor a video in it")
        return found, Path(os.path.abspath(path))
    if path.exists():
        if not media_type(word):
            raise InputError(
                f"{path}: expected an image ({' '.join(IMAGE_SUFFIXES)}) or a video "
                f"({' '.join(VIDEO_SUFFIXES)})"
            )
        return [path], None
    found = [Path(p) for p in glob.glob(word, recursive=True)] if glob.has_magic(word) else []
    found = [p for p in found if _is_input(p, output)]
    if not found:
        raise InputError(f"{word} not found")
    return found, None


def _is_input(path: Path, output: str) -> bool:
    below = Path(output).resolve() in path.resolve().parents
    return (
        bool(media_type(str(path)))
        and not path.name.startswith(".")
        and path.is_file()
        and not below
    )


def _source(path: Path, top: Path) -> InputFile:
    name, is_video = os.path.relpath(os.path.abspath(path), top), media_type(str(path)) == "video"
    if is_video and path.suffix.lower() not in CODECS:
        name += ".mp4"
    return InputFile(str(path), name, is_video)


JOURNAL, FRAMES = ".journal.jsonl", ".frames"


class Journal:
    """The progress of prediction, so that an interrupted command can resume.

    It has a line for each finished file. The people of an image are in its line, those of a video
    in a file of their own. Results of earlier calls on other files are kept.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict,
        sources: Mapping[str, str] = MappingProxyType({}),
        overwrite=False,
    ):
        """Open the journal of an output folder.

        Args:
            folder: The output folder.
            settings: Settings of the prediction; with others, the files of this call are predicted
                again.
            sources: Names of outputs with the paths of their files.
            overwrite: Predict the files of this call again in any case.

        Raises:
            InputError: If results of other files would be lost.
        """
        self.folder, self.path = Path(folder), Path(folder) / JOURNAL
        self._sources = {
            name: path if is_camera(path) else os.path.abspath(path)
            for name, path in sources.items()
        }
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        first, *rest = [_line(line) for line in lines] or [None]
        # The last line may be incomplete.
        known = {
            record["name"]: record
            for record in rest
            if isinstance(record, dict) and "name" in record
        }
        known = {name: record for name, record in known.items() if self._is_valid(name, record)}
        others = known.keys() - self._sources.keys()
        if first != settings and others:
            raise InputError(
                f"{folder} holds the people of {len(others)} other files, such as {min(others)}, "
                "found with other settings; give another --output, or delete it"
            )
        for name in known.keys() & self._sources.keys():
            source = known[name].get("source")
            if source not in (None, self._sources[name]):
                raise InputError(
                    f"{self.folder / name} was made of {source}, not of {self._sources[name]}; "
                    "give another --output"
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        restart = overwrite or first != settings
        self.done = {
            name: record
            for name, record in known.items()
            if not (restart and name in self._sources)
        }
        write_atomically(
            self.path, "".join(json.dumps(line) + "\n" for line in (settings, *self.done.values()))
        )

    def has(self, name: str, path: str) -> bool:
        """Return whether a file, as it is now, is finished.

        Outdated results are forgotten; cameras never finish.
        """
        record = self.done.get(name)
        if record and record["stamp"] and record["stamp"] == source_fingerprint(path):
            return not record["video"] or self._side(name).exists()
        if self.done.pop(name, None):
            with self.path.open("a") as file:  # else a later call would use it for another file
                file.write(json.dumps({"name": name, "forgotten": True}) + "\n")
        return False

    def _is_valid(self, name: str, record: dict) -> bool:
        """Return whether the result of an earlier call on another file is still valid."""
        if record.get("forgotten"):
            return False
        if name in self._sources:
            return True
        source = record.get("source")
        if source in self._sources.values():
            return False  # the same file under another output name
        if record.get("video") and not self._side(name).exists():
            return False
        return (
            source is None
            or not record["stamp"]
            or (Path(source).exists() and record["stamp"] == source_fingerprint(source))
        )

    def add_image(self, name: str, fingerprint: list[int], frame: dict) -> None:
        """Add the result of an image.

        Args:
            name: Name of the output.
            fingerprint: Fingerprint of the file before it was read.
            frame: Height, width and people as returned by `to_coco`.
        """
        self._note(
            {
                "name": name,
                "video": False,
                "stamp": fingerprint,
                "people": len(frame["people"]),
                "frame": frame,
            }
        )

    @contextmanager
    def add_video(self, name: str, fingerprint: list[int]) -> Iterator[Callable[[dict], None]]:
        """Context that yields a function to add frames of a video.

        A frame is like that of an image, with its number and time. The video is finished when the
        context exits without an error; otherwise nothing is kept.
        """
        file, people = self._side(name), 0
        file.parent.mkdir(exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")

        def keep(frame: dict) -> None:
            nonlocal people
            people += len(frame["people"])
            out.write(json.dumps(frame) + "\n")

        try:
            with temporary.open("w") as out:
                yield keep
            os.replace(temporary, file)
            self._note({"name": name, "video": True, "stamp": fingerprint, "people": people})
        finally:
            temporary.unlink(missing_ok=True)

    def frames_of(self, record: dict) -> Iterator[dict]:
        """Yield the frames of a finished file; an image has one."""
        if not record["video"]:
            yield record["frame"]
            return
        with self._side(record["name"]).open() as lines:
            yield from map(json.loads, lines)

    def _side(self, name: str) -> Path:
        return self.folder / FRAMES / f"{zlib.crc32(os.fsencode(name)):08x}.jsonl"

    def records(self) -> list[dict]:
        """Return the records of all finished files: of earlier calls, then of this one."""
        current = [self.done[name] for name in self._sources if name in self.done]
        return [record for name, record in self.done.items() if name not in self._sources] + current

    def _note(self, record: dict) -> None:
        record["source"] = self._sources.get(record["name"])
        self.done[record["name"]] = record
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")


def _line(line: str):
    try:
        return json.loads(line)
    except ValueError:
        return None


def source_fingerprint(path: str) -> list[int]:
    """Return the fingerprint of a file; [] for a camera."""
    return file_fingerprint(path) if Path(path).exists() else []


_AHEAD = 4  # images decoded in advance, or waiting to be written
_MIN_COMPLETE = 0.9  # share of the declared duration


class PredictOptions(NamedTuple):
    """Options of a prediction.

    Attributes:
        draw: Write images and videos.
        draw_regions: Draw the region of each person.
        csv: Write people.csv.
        full_landmarks: Write depth, presence and world landmarks too.
        max_frames: Maximum number of frames of a video; 0 for all.
        detect_every, smooth, track_timeout: See `Tracker`.
        boxes: Function from an image's name, and the image, to boxes; None for those of the
            detector.
    """

    draw: bool = True
    draw_regions: bool = False
    csv: bool = False
    full_landmarks: bool = False
    max_frames: int = 0
    detect_every: int = 10
    smooth: bool = True
    track_timeout: float = 1.0
    boxes: Callable[[str, np.ndarray], list[PersonBox]] | None = None


class Summary(NamedTuple):
    """The result of a prediction.

    Attributes:
        failed: An error for each failed file.
        files: Number of files in results.json.
        people: Number of people in results.json.
    """

    failed: list[str]
    files: int
    people: int


class BatchPredictor:
    """Predicts files into a folder: decoding, network and drawing overlap."""

    def __init__(
        self,
        pose: PoseEstimator,
        sources: Sequence[InputFile],
        output: str,
        options: PredictOptions,
        journal: Journal,
    ):
        self.pose, self.sources, self.output, self.options, self.journal = (
            pose,
            sources,
            Path(output),
            options,
            journal,
        )
        self._failed: list[str] = []

    def run(self) -> Summary:
        """Predict what is not finished, and write results.json.

        Errors are reported immediately, and other files continue. If interrupted, finished files
        are kept, also in results.json.
        """
        records: list[dict] = []
        try:
            # All are checked, so that outdated results are forgotten.
            todo = [source for source in self.sources if not self._done(source)]
            images = [source for source in todo if not source.is_video]
            if images:
                self._images(images)
            for source in (source for source in todo if source.is_video):
                with self._report_errors():
                    self._video(source)
        finally:
            records = self.journal.records()
            write_results(
                self.output,
                records,
                self.journal.frames_of,
                self.pose.people_skeleton,
                self.options.csv,
                self.options.full_landmarks,
            )
        return Summary(self._failed, len(records), sum(record["people"] for record in records))

    def _done(self, source: InputFile) -> bool:
        known = self.journal.has(source.name, source.path)
        return known and (not self.options.draw or (self.output / source.name).exists())

    @contextmanager
    def _report_errors(self) -> Iterator[None]:
        """Context that reports errors of a file, except a full disk, which stops everything."""
        try:
            yield
        except InputError as error:
            self._report(str(error))
        except cv2.error as error:
            self._report(f"OpenCV: {error}")
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            self._report(f"{error.filename or self.output}: {error.strerror or error}")

    def _report(self, message: str) -> None:
        line = " ".join(message.split())
        self._failed.append(line)
        print(f"\nerror: {line}", file=sys.stderr)

    def _images(self, sources: list[InputFile]) -> None:
        with (
            ThreadPoolExecutor(2) as pool,
            progress_bar(len(sources), "images", "image") as bar,
        ):
            waiting: deque[tuple[InputFile, list[int], list[Person], tuple[int, int], Future]] = (
                deque()
            )

            def finish() -> None:
                source, fingerprint, people, size, written = waiting.popleft()
                with self._report_errors():
                    written.result()
                    frame = {
                        "height": size[0],
                        "width": size[1],
                        "people": [to_coco(p, self.options.full_landmarks) for p in people],
                    }
                    self.journal.add_image(source.name, fingerprint, frame)

            for source, fingerprint, decoded in _ahead(pool, sources):
                with self._report_errors():
                    image = decoded.result()
                    boxes = self.options.boxes(source.name, image) if self.options.boxes else None
                    people = self.pose(image, boxes)
                    drawn = pool.submit(self._drawn, source, image, people)
                    waiting.append((source, fingerprint, people, image.shape[:2], drawn))
                bar.update()
                while len(waiting) > _AHEAD:
                    finish()
            while waiting:
                finish()

    def _drawn(self, source: InputFile, image: np.ndarray, people: list[Person]) -> None:
        if not self.options.draw:
            return
        draw_people(image, people, self.pose.people_skeleton, self.options.draw_regions)
        path = self.output / source.name
        is_written, encoded = cv2.imencode(path.suffix, image)
        if not is_written:
            raise InputError(f"{path}: an image of this size cannot be written as {path.suffix}")
        write_atomically(path, encoded.tobytes(), durable=False)

    def _video(self, source: InputFile) -> None:
        options, fingerprint, number = self.options, source_fingerprint(source.path), -1
        tracker = Tracker(self.pose, options.detect_every, options.smooth, options.track_timeout)
        keeping = self.journal.add_video(source.name, fingerprint)
        with (
            VideoReader(source.path) as video,
            keeping as keep,
            self._writer(source, video) as writer,
        ):
            length, shown, end, held = _length(video, options.max_frames), 0, 0.0, None
            with progress_bar(length, source.name, "frame") as bar:
                try:
                    for number, (image, seconds) in enumerate(video):
                        people = tracker(image, seconds)
                        place = {"frame": number, "seconds": round(seconds, 4)}
                        size = {"height": image.shape[0], "width": image.shape[1]}
                        full = options.full_landmarks
                        found = [to_coco(person, full) for person in people]
                        keep({**size, **place, "people": found})
                        shown += hold(writer, held, seconds, video.rate, shown)
                        held, end = (image, people), seconds
                        bar.update()
                        if number + 1 == options.max_frames:
                            break
                except KeyboardInterrupt:
                    # The way to stop a camera.
                    if not video.camera:
                        raise
            if number < 0:
                raise InputError(no_frame(source.path, video.codec))
            writer.add(*held)
            if not options.max_frames and end + 1 / video.rate < _MIN_COMPLETE * video.seconds:
                message = (
                    f"{source.path}: breaks off after {end:.1f} of {video.seconds:.1f} seconds"
                )
                if number + 1 < _MIN_COMPLETE * video.frames_listed:
                    # Half a video must not pass for a whole one.
                    raise InputError(message)
                if not video.frames_listed and Path(source.path).suffix.lower() != ".gif":
                    print(
                        f"\n{message}, or its sound is longer; what was read is kept",
                        file=sys.stderr,
                    )

    def _writer(self, source: InputFile, video: VideoReader):
        if not self.options.draw:
            return NullWriter()
        sound = None if video.camera else source.path

        def draw(image: np.ndarray, people: list[Person]) -> None:
            draw_people(image, people, self.pose.people_skeleton, self.options.draw_regions)

        options = {"cut": bool(self.options.max_frames), "aspect": video.aspect}
        return VideoWriter(self.output / source.name, video.rate, sound, draw, **options)


class NullWriter:
    """Replaces the video writer if nothing is drawn."""

    def __enter__(self):
        return self

    def __exit__(self, *options) -> None:
        pass

    def add(self, image: np.ndarray, people: list[Person], times: int = 1) -> None:
        pass


def _length(video: VideoReader, most: int) -> int:
    return min(video.count, most) if video.count and most else video.count or most


def _ahead(
    pool: ThreadPoolExecutor, sources: Sequence[InputFile]
) -> Iterator[tuple[InputFile, list[int], Future]]:
    """Yield images decoded in advance, with their fingerprints before reading."""
    decoding: deque[tuple[InputFile, list[int], Future]] = deque()
    for source in sources:
        decoding.append(
            (source, source_fingerprint(source.path), pool.submit(read_image, source.path))
        )
        if len(decoding) > _AHEAD:
            yield decoding.popleft()
    yield from decoding
