"""How far prediction is, so that an interrupted command goes on; of videos, the people of every frame."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from tfcpn.base.errors import InputError
from tfcpn.base.files import file_fingerprint, write_atomically
from tfcpn.prediction.video_file import is_camera

JOURNAL, FRAMES = ".journal.jsonl", ".frames"


class Journal:
    """What is done, a line for each file. An image's people stand in its line, those of a video in a file beside it.

    Lines are added when their file is whole. What an earlier call did of other files stays.

    Args:
        folder: The output's.
        settings: Of the prediction; with others the files of this call are done again.
        sources: What this call is about: names in the output, and the paths of their files.
        again: Do the files of this call again in any case.

    Raises:
        InputError: If the people that an earlier call found in other files would be lost.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict,
        sources: Mapping[str, str] = MappingProxyType({}),
        again=False,
    ):
        self.folder, self.path = Path(folder), Path(folder) / JOURNAL
        self._sources = {
            name: path if is_camera(path) else os.path.abspath(path)
            for name, path in sources.items()
        }
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        first, *rest = [_line(line) for line in lines] or [None]
        # The last line may be half of one.
        known = {
            record["name"]: record
            for record in rest
            if isinstance(record, dict) and "name" in record
        }
        known = {name: record for name, record in known.items() if self._stands(name, record)}
        others = known.keys() - self._sources.keys()
        if first != settings and others:
            raise InputError(
                f"{folder} holds the people of {len(others)} other files, such as {min(others)}, found with other "
                "settings; give another --output, or delete it"
            )
        for name in known.keys() & self._sources.keys():
            source = known[name].get("source")
            if source not in (None, self._sources[name]):
                raise InputError(
                    f"{self.folder / name} was made of {source}, not of {self._sources[name]}; give another --output"
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = again or first != settings
        self.done = {
            name: record for name, record in known.items() if not (fresh and name in self._sources)
        }
        write_atomically(
            self.path, "".join(json.dumps(line) + "\n" for line in (settings, *self.done.values()))
        )

    def has(self, name: str, path: str) -> bool:
        """Whether a file is done, as it is now. What is known of an older one is forgotten; a camera never is."""
        record = self.done.get(name)
        if record and record["stamp"] and record["stamp"] == source_fingerprint(path):
            return not record["video"] or self._side(name).exists()
        if self.done.pop(name, None):
            with self.path.open("a") as file:  # or a later call would take it for another file's
                file.write(json.dumps({"name": name, "forgotten": True}) + "\n")
        return False

    def _stands(self, name: str, record: dict) -> bool:
        """Return whether what an earlier call noted is still so, of files that this call is not about."""
        if record.get("forgotten"):
            return False
        if name in self._sources:
            return True
        source = record.get("source")
        if source in self._sources.values():
            return False  # the same file, whose name in the output is another one now
        if record.get("video") and not self._side(name).exists():
            return False
        return (
            source is None
            or not record["stamp"]
            or (Path(source).exists() and record["stamp"] == source_fingerprint(source))
        )

    def add_image(self, name: str, was: list[int], frame: dict) -> None:
        """was: the file's `stamp_of` before it was read. frame: height, width and people as from `written.entry`."""
        self._note(
            {
                "name": name,
                "video": False,
                "stamp": was,
                "people": len(frame["people"]),
                "frame": frame,
            }
        )

    @contextmanager
    def add_video(self, name: str, was: list[int]) -> Iterator[Callable[[dict], None]]:
        """What keeps a frame: as of an image, with its number and seconds, too. The video is done when the block
        ends well, else as if it had not been begun.
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
            self._note({"name": name, "video": True, "stamp": was, "people": people})
        finally:
            temporary.unlink(missing_ok=True)

    def frames_of(self, record: dict) -> Iterator[dict]:
        """The frames of what is done: of an image one."""
        if not record["video"]:
            yield record["frame"]
            return
        with self._side(record["name"]).open() as lines:
            yield from map(json.loads, lines)

    def _side(self, name: str) -> Path:
        return self.folder / FRAMES / f"{zlib.crc32(os.fsencode(name)):08x}.jsonl"

    def records(self) -> list[dict]:
        """The records of all that is done: of earlier calls first, then of this one, in its order."""
        own = [self.done[name] for name in self._sources if name in self.done]
        return [record for name, record in self.done.items() if name not in self._sources] + own

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
    """What tells that a file was changed; of a camera nothing."""
    return file_fingerprint(path) if Path(path).exists() else []
