"""Prediction on many files: decoding, network and drawing overlap, what fails is told, what is done stays done."""

from __future__ import annotations

import errno
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.base.files import write_atomically
from tfcpn.base.progress import progress
from tfcpn.data.detections import PersonBox
from tfcpn.picture.read import read_image
from tfcpn.prediction.drawing import draw_people
from tfcpn.prediction.estimator import PoseEstimator
from tfcpn.prediction.journal import Journal, source_fingerprint
from tfcpn.prediction.person import Person
from tfcpn.prediction.sources import Source
from tfcpn.prediction.tracker import Tracker
from tfcpn.prediction.video_file import VideoReader, VideoWriter, no_frame
from tfcpn.prediction.written import entry, write_results

_AHEAD = 4  # images that are decoded, or wait to be written
_LONGEST = 600  # seconds for which a frame is held at most: a time that jumps further is damage
_WHOLE = 0.9  # of the time that a video says it lasts


class PredictOptions(NamedTuple):
    """draw: whether images are written. regions: whether with the region of each person. table: people.csv too.
    most_frames: of a video; 0: all. detect_every, smooth, memory: as of `Tracker`. boxes: from an image's name and
    itself to whom to look at; None: whom the detector finds.
    """

    draw: bool = True
    regions: bool = False
    table: bool = False
    most_frames: int = 0
    detect_every: int = 10
    smooth: bool = True
    memory: float = 1.0
    boxes: Callable[[str, np.ndarray], list[PersonBox]] | None = None


class Summary(NamedTuple):
    """failed: a line for each file that did. files, people: how many are in results.json."""

    failed: list[str]
    files: int
    people: int


class BatchPredictor:
    """Sources through a network into a folder."""

    def __init__(
        self,
        pose: PoseEstimator,
        sources: Sequence[Source],
        output: str,
        how: PredictOptions,
        journal: Journal,
    ):
        self.pose, self.sources, self.output, self.how, self.journal = (
            pose,
            sources,
            Path(output),
            how,
            journal,
        )
        self._failed: list[str] = []

    def run(self) -> Summary:
        """Do what is not done; write results.json. What fails is told at once, and the rest goes on.

        Interrupted, everything that is finished is kept, in results.json as well.
        """
        records: list[dict] = []
        try:
            # All of them are asked, so that nothing of a file that has changed is left.
            todo = [source for source in self.sources if not self._done(source)]
            images = [source for source in todo if not source.video]
            if images:
                self._images(images)
            for source in (source for source in todo if source.video):
                with self._telling():
                    self._video(source)
        finally:
            records = self.journal.records()
            write_results(
                self.output,
                records,
                self.journal.frames_of,
                self.pose.people_skeleton,
                self.how.table,
            )
        return Summary(self._failed, len(records), sum(record["people"] for record in records))

    def _done(self, source: Source) -> bool:
        known = self.journal.has(source.name, source.path)
        return known and (not self.how.draw or (self.output / source.name).exists())

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """What goes wrong with a file is told, unless the disk is full: then nothing else will go better."""
        try:
            yield
        except InputError as error:
            self._tell(str(error))
        except cv2.error as error:
            self._tell(f"OpenCV: {error}")
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            self._tell(f"{error.filename or self.output}: {error.strerror or error}")

    def _tell(self, words: str) -> None:
        line = " ".join(words.split())
        self._failed.append(line)
        print(f"\nerror: {line}", file=sys.stderr)

    def _images(self, sources: list[Source]) -> None:
        with ThreadPoolExecutor(2) as pool, progress(len(sources), "pictures", "picture") as bar:
            waiting: deque[tuple[Source, list[int], list[Person], tuple[int, int], Future]] = (
                deque()
            )

            def finish() -> None:
                source, was, people, size, written = waiting.popleft()
                with self._telling():
                    written.result()
                    frame = {
                        "height": size[0],
                        "width": size[1],
                        "people": [entry(person) for person in people],
                    }
                    self.journal.add_image(source.name, was, frame)

            for source, was, decoded in _ahead(pool, sources):
                with self._telling():
                    image = decoded.result()
                    boxes = self.how.boxes(source.name, image) if self.how.boxes else None
                    people = self.pose(image, boxes)
                    drawn = pool.submit(self._drawn, source, image, people)
                    waiting.append((source, was, people, image.shape[:2], drawn))
                bar.update()
                while len(waiting) > _AHEAD:
                    finish()
            while waiting:
                finish()

    def _drawn(self, source: Source, image: np.ndarray, people: list[Person]) -> None:
        if not self.how.draw:
            return
        draw_people(image, people, self.pose.people_skeleton, self.how.regions)
        path = self.output / source.name
        good, encoded = cv2.imencode(path.suffix, image)
        if not good:
            raise InputError(f"{path}: an image of this size cannot be written as {path.suffix}")
        write_atomically(path, encoded.tobytes(), durable=False)

    def _video(self, source: Source) -> None:
        how, was, number = self.how, source_fingerprint(source.path), -1
        tracker = Tracker(self.pose, how.detect_every, how.smooth, how.memory)
        keeping = self.journal.add_video(source.name, was)
        with (
            VideoReader(source.path) as video,
            keeping as keep,
            self._writer(source, video) as writer,
        ):
            length, shown, end, held = _length(video, how.most_frames), 0, 0.0, None
            with progress(length, source.name, "frame") as bar:
                try:
                    for number, (image, seconds) in enumerate(video):
                        people = tracker(image, seconds)
                        place = {"frame": number, "seconds": round(seconds, 4)}
                        size = {"height": image.shape[0], "width": image.shape[1]}
                        keep({**size, **place, "people": [entry(person) for person in people]})
                        shown += self._hold(writer, held, seconds, video.rate, shown)
                        held, end = (image, people), seconds
                        bar.update()
                        if number + 1 == how.most_frames:
                            break
                except KeyboardInterrupt:
                    # That is how a camera is stopped.
                    if not video.camera:
                        raise
            if number < 0:
                raise InputError(no_frame(source.path, video.codec))
            writer.add(*held)
            if not how.most_frames and end + 1 / video.rate < _WHOLE * video.seconds:
                told = f"{source.path}: breaks off after {end:.1f} of {video.seconds:.1f} seconds"
                if number + 1 < _WHOLE * video.frames_listed:
                    # Half a video would pass for the whole one.
                    raise InputError(told)
                if not video.frames_listed and Path(source.path).suffix.lower() != ".gif":
                    print(
                        f"\n{told}, or its sound is longer; what there is was kept", file=sys.stderr
                    )

    @staticmethod
    def _hold(writer, held: tuple | None, seconds: float, rate: float, shown: int) -> int:
        """Write the last frame, drawn once, until the next one's time; how often it was written.

        A frame whose time comes before the next place in the written video is left out there.
        """
        times = min(max(0, round(seconds * rate) - shown), round(_LONGEST * rate)) if held else 0
        if times:
            writer.add(*held, times=times)
        return times

    def _writer(self, source: Source, video: VideoReader):
        if not self.how.draw:
            return _Nothing()
        sound = None if video.camera else source.path

        def draw(image: np.ndarray, people: list[Person]) -> None:
            draw_people(image, people, self.pose.people_skeleton, self.how.regions)

        how = {"cut": bool(self.how.most_frames), "aspect": video.aspect}
        return VideoWriter(self.output / source.name, video.rate, sound, draw, **how)


class _Nothing:
    """In a writer's place where nothing is drawn."""

    def __enter__(self):
        return self

    def __exit__(self, *how) -> None:
        pass

    def add(self, image: np.ndarray, people: list[Person], times: int = 1) -> None:
        pass


def _length(video: VideoReader, most: int) -> int:
    return min(video.count, most) if video.count and most else video.count or most


def _ahead(
    pool: ThreadPoolExecutor, sources: Sequence[Source]
) -> Iterator[tuple[Source, list[int], Future]]:
    """Images, a few decoded ahead of time, with what tells whether they have changed since."""
    decoding: deque[tuple[Source, list[int], Future]] = deque()
    for source in sources:
        decoding.append(
            (source, source_fingerprint(source.path), pool.submit(read_image, source.path))
        )
        if len(decoding) > _AHEAD:
            yield decoding.popleft()
    yield from decoding
