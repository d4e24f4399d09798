"""One image with its people <-> one TFRecord example; shards in a folder with an index.

`index.json` is written last: a folder without it is unfinished. It tells, for each shard, its size in bytes, so
that a file that was cut short is noticed before training starts.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.coco import CocoImage, Person
from tfcpn.errors import InputError
from tfcpn.files import write_atomically
from tfcpn.images import read_header
from tfcpn.skeleton import NUM_JOINTS

VERSION = 2  # 2: with people/reach
INDEX = "index.json"

_FEATURES = {
    "image/id": tf.io.FixedLenFeature([], tf.int64),
    "image/file_name": tf.io.FixedLenFeature([], tf.string),
    "image/size": tf.io.FixedLenFeature([2], tf.int64),
    "image/orientation": tf.io.FixedLenFeature([], tf.int64),
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "people/id": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
    "people/box": tf.io.FixedLenSequenceFeature([4], tf.float32, allow_missing=True),
    "people/keypoints": tf.io.FixedLenSequenceFeature([NUM_JOINTS, 3], tf.float32, allow_missing=True),
    "people/reach": tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
    "people/area": tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
    "people/crowd": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
}


@dataclass(frozen=True)
class Shard:
    """file: name in the folder. trainable: people to train on. bad: messages about images left out."""

    file: str
    bytes: int
    images: int
    people: int
    trainable: int
    bad: tuple[str, ...] = ()


@dataclass(frozen=True)
class Index:
    """What is in a folder of records. source: the fingerprint of the input that it was made from."""

    source: dict
    shards: tuple[Shard, ...]
    version: int = VERSION

    @property
    def trainable(self) -> int:
        return sum(s.trainable for s in self.shards)


def encode(image: CocoImage, people: list[Person], encoded: bytes, orientation: int) -> bytes:
    """The serialised example of one image: its file's bytes, its EXIF orientation and its people."""

    def ints(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def floats(values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=np.ravel(values)))

    def text(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    features = {
        "image/id": ints([image.id]),
        "image/file_name": text(image.file_name.encode()),
        "image/size": ints([image.height, image.width]),
        "image/orientation": ints([orientation]),
        "image/encoded": text(encoded),
        "people/id": ints([p.id for p in people]),
        "people/box": floats([p.box for p in people]),
        "people/keypoints": floats([p.keypoints for p in people]),
        "people/reach": floats([p.reach for p in people]),
        "people/area": floats([p.area for p in people]),
        "people/crowd": ints([int(p.crowd) for p in people]),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def parse(serialized) -> dict[str, tf.Tensor]:
    """The inverse of `encode`: features by name; those of people have the people as their first axis."""
    return tf.io.parse_single_example(serialized, _FEATURES)


def check_size(image: CocoImage, size: tuple[int, int], name: str) -> None:
    """Raise InputError, naming the file `name`, if its (height, width) is not the annotated one."""
    if size != (image.height, image.width):
        raise InputError(f"{name}: is {size[1]}x{size[0]} pixels, but annotated as {image.width}x{image.height}")


def check_image(image: CocoImage, encoded: bytes) -> int:
    """Decode an image, compare it with its annotation and return its EXIF orientation.

    Decoded by what training uses, so a file that passes here cannot stop a training. Raises InputError.
    """
    height, width, orientation = read_header(encoded, image.file_name)
    try:
        with tf.device("CPU:0"):
            if tf.io.is_jpeg(encoded):
                tf.io.decode_jpeg(encoded, channels=3)
            else:
                tf.io.decode_png(encoded, channels=3)
    except tf.errors.InvalidArgumentError as error:
        raise InputError(f"{image.file_name}: cannot be decoded; the file is cut short or damaged") from error
    check_size(image, (height, width), image.file_name)
    return orientation


def write_shard(path: Path, items, image_dir: Path, skip_bad: bool, on_image=lambda: None) -> Shard:
    """Write (image, people) pairs to a shard, under a temporary name until it is whole.

    Images that are missing or bad are left out and listed in the shard's description, which is written beside
    the shard as JSON; unless skip_bad, there is no shard then. on_image: called after each image, for progress.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    images = people_count = trainable = 0
    bad = []
    try:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for image, people in items:
                try:
                    encoded = (Path(image_dir) / image.file_name).read_bytes()
                    orientation = check_image(image, encoded)
                    writer.write(encode(image, people, encoded, orientation))
                    images += 1
                    people_count += len(people)
                    trainable += sum(p.trainable for p in people)
                except OSError as error:
                    bad.append(f"{image.file_name}: cannot be read ({error.strerror})")
                except InputError as error:
                    bad.append(str(error))
                on_image()
        shard = Shard(path.name, temporary.stat().st_size, images, people_count, trainable, tuple(bad))
        if skip_bad or not bad:
            write_atomically(description(path), json.dumps(asdict(shard)))
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return shard


def description(path: Path) -> Path:
    """Where the description of a shard lies."""
    return path.with_name(f".{path.name}.json")


def finished_shard(path: Path) -> Shard | None:
    """The description of a shard that an earlier run completed, else None."""
    try:
        values = json.loads(description(path).read_text())
        shard = Shard(**{**values, "bad": tuple(values["bad"])})
        return shard if path.stat().st_size == shard.bytes else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_index(folder: Path, index: Index) -> None:
    write_atomically(Path(folder) / INDEX, json.dumps(asdict(index), indent=1) + "\n")


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
            raise InputError(f"{path}: records of version {values['version']}, want {VERSION}; make them again")
        shards = tuple(Shard(**{**s, "bad": tuple(s["bad"])}) for s in values["shards"])
        index = Index(values["source"], shards)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: not an index of records; make them again with tools/make_records.py") from error
    for shard in index.shards:
        file = folder / shard.file
        size = file.stat().st_size if file.exists() else None
        if size != shard.bytes:
            state = "is missing" if size is None else f"has {size} bytes, {shard.bytes} were written"
            raise InputError(f"{file} {state}: run tools/make_records.py again, it makes only this shard anew")
    if not index.trainable:
        raise InputError(f"{folder}: holds no person to train on")
    return index
