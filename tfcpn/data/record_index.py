"""What is in a folder of records: `index.json`, and a description beside each shard. Needs no TensorFlow.

The index is written last: a folder without it is unfinished. It tells, for each shard, its size in bytes, so that a
file that was cut short is noticed before training starts.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tfcpn import skeleton as skeletons
from tfcpn.base.errors import InputError
from tfcpn.base.files import write_atomically
from tfcpn.skeleton import Skeleton

VERSION = 3  # 2: with people/reach. 3: with the skeleton, and who is trained on
INDEX = "index.json"


@dataclass(frozen=True)
class Shard:
    """file: name in the folder. trainable: people to train on. content: a digest of the images that it holds.

    listing: a digest of their names and sizes in bytes, to compare with a folder of images without reading it. bad:
    messages about images that were left out, by their names.
    """

    file: str
    bytes: int
    images: int
    people: int
    trainable: int
    content: str
    listing: str
    bad: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Index:
    """source: what the records were made from. skeleton: the keypoints of their people."""

    source: dict
    skeleton: Skeleton
    shards: tuple[Shard, ...]
    version: int = VERSION

    @property
    def trainable(self) -> int:
        return sum(s.trainable for s in self.shards)

    @property
    def identity(self) -> dict:
        """What tells these records from others: annotations, shards, the images' content and what was left out."""
        digest = hashlib.sha256("".join(shard.content for shard in self.shards).encode())
        return {**self.source, "images_sha256": digest.hexdigest()}


def listing(image_dir, file_names) -> str | None:
    """A digest of the names and sizes in bytes of these files; None if one of them is not there any more."""
    digest = hashlib.sha256()
    for name in file_names:
        try:
            digest.update(f"{name}\0{(Path(image_dir) / name).stat().st_size}\0".encode())
        except OSError:
            return None
    return digest.hexdigest()


def description(path: Path) -> Path:
    """Where the description of a shard lies."""
    return path.with_name(f".{path.name}.json")


def shard_json(shard: Shard) -> str:
    return json.dumps(asdict(shard))


def load_finished_shard(path: Path) -> Shard | None:
    """The description of a shard that an earlier run completed, else None."""
    try:
        shard = Shard(**json.loads(description(path).read_text()))
        return shard if path.stat().st_size == shard.bytes else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_index(folder: Path, index: Index) -> None:
    values = {**asdict(index), "skeleton": skeletons.to_dict(index.skeleton)}
    write_atomically(Path(folder) / INDEX, json.dumps(values, indent=1) + "\n")


def read_index(folder) -> Index:
    """The index of a folder of records, its shards checked for presence and size. Raises InputError."""
    folder = Path(folder)
    path = folder / INDEX
    if not path.exists():
        state = "holds no finished records" if folder.exists() else "does not exist"
        raise InputError(
            f"{folder} {state}: make them with python tools/make_records.py --annotations=FILE.json "
            f"--images=FOLDER --output={folder}, or give --train_records"
        )
    try:
        values = json.loads(path.read_text())
        if values["version"] != VERSION:
            raise InputError(
                f"{path}: records of version {values['version']}, want {VERSION}; make them again in another --output"
            )
        shards = tuple(Shard(**s) for s in values["shards"])
        index = Index(values["source"], skeletons.from_dict(values["skeleton"]), shards)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path}: not an index of records; make them again with tools/make_records.py"
        ) from error
    for shard in index.shards:
        file = folder / shard.file
        size = file.stat().st_size if file.exists() else None
        if size != shard.bytes:
            state = (
                "is missing" if size is None else f"has {size} bytes, {shard.bytes} were written"
            )
            raise InputError(
                f"{file} {state}: run tools/make_records.py again, it makes only this shard anew"
            )
    if not index.trainable:
        raise InputError(f"{folder}: holds no person to train on")
    return index
