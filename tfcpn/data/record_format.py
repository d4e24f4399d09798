"""The format of records: index, shards, their metadata, and the TFRecord example of an image.

A folder of records has an `index.json`, which is written last, and for each shard a description and
a metadata file with the keypoints of its people and the offsets of its images. Order, filters and
resuming need the metadata alone, a hundredth of the shards' size.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import struct
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tfcpn import skeleton as skeletons
from tfcpn.data.coco import CocoImage, PersonAnnotation
from tfcpn.skeleton import Skeleton
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

VERSION = 3  # 2: with people/reach. 3: with the skeleton, and who is trained on
INDEX = "index.json"


@dataclass(frozen=True)
class Shard:
    """A file of records.

    Attributes:
        file: Name in the folder.
        bytes: Size of the file.
        images: Number of images.
        people: Number of people.
        trainable: Number of people to train on.
        content: Digest of the images' content.
        files_digest: Digest of their names and sizes, to compare with a folder without reading it.
        bad: Errors of images that were skipped, by name.
        annotated_as_stored: Number of images whose EXIF orientation is ignored.
    """

    file: str
    bytes: int
    images: int
    people: int
    trainable: int
    content: str
    files_digest: str
    bad: dict[str, str] = field(default_factory=dict)
    annotated_as_stored: int = 0


@dataclass(frozen=True)
class RecordIndex:
    """The content of `index.json`.

    Attributes:
        source: What the records were made from.
        skeleton: Keypoints of the people.
        shards: The shards.
        version: Version of the format.
    """

    source: dict
    skeleton: Skeleton
    shards: tuple[Shard, ...]
    version: int = VERSION

    @property
    def trainable(self) -> int:
        """Number of people to train on."""
        return sum(s.trainable for s in self.shards)

    @property
    def identity(self) -> dict:
        """What identifies these records: annotations, image content, and what was skipped."""
        digest = hashlib.sha256("".join(shard.content for shard in self.shards).encode())
        return {**self.source, "images_sha256": digest.hexdigest()}


def files_digest(image_dir, file_names) -> str | None:
    """Return a digest of the names and sizes of files; None if one of them is missing."""
    digest = hashlib.sha256()
    for name in file_names:
        try:
            digest.update(f"{name}\0{(Path(image_dir) / name).stat().st_size}\0".encode())
        except OSError:
            return None
    return digest.hexdigest()


def shard_info_path(path: Path) -> Path:
    """Return the path of the description of a shard."""
    return path.with_name(f".{path.name}.json")


def shard_json(shard: Shard) -> str:
    """Return a shard as JSON."""
    return json.dumps(asdict(shard))


def _parse_shard(values: dict) -> Shard:
    """Return a shard from its JSON; tfcpn 1.x named files_digest "listing"."""
    return Shard(**{"files_digest" if k == "listing" else k: v for k, v in values.items()})


def load_finished_shard(path: Path) -> Shard | None:
    """Return the description of a shard that an earlier run completed, else None."""
    try:
        shard = _parse_shard(json.loads(shard_info_path(path).read_text()))
        return shard if path.stat().st_size == shard.bytes else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_index(folder: Path, index: RecordIndex) -> None:
    """Write the index of a folder of records."""
    values = {**asdict(index), "skeleton": skeletons.to_dict(index.skeleton)}
    write_atomically(Path(folder) / INDEX, json.dumps(values, indent=1) + "\n")


def read_index(folder) -> RecordIndex:
    """Read the index of a folder of records, and check presence and size of its shards.

    Raises:
        InputError: For missing, unfinished and damaged records.
    """
    folder = Path(folder)
    path = folder / INDEX
    if not path.exists():
        state = "holds no finished records" if folder.exists() else "does not exist"
        raise InputError(
            f"{folder} {state}: make them with python tools/make_records.py "
            f"--annotations=FILE.json --images=FOLDER --output={folder}, or give --train_records"
        )
    try:
        values = json.loads(path.read_text())
        if values["version"] != VERSION:
            raise InputError(
                f"{path}: records of version {values['version']}, expected {VERSION}; make them "
                "again in another --output"
            )
        shards = tuple(map(_parse_shard, values["shards"]))
        index = RecordIndex(values["source"], skeletons.from_dict(values["skeleton"]), shards)
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


def encode_example(
    image: CocoImage, people: list[PersonAnnotation], encoded: bytes, orientation: int
) -> bytes:
    """Return the serialized example of an image: its file, EXIF orientation and people."""
    import tensorflow as tf  # slow; the index and the metadata need none

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
        "people/reach": floats([p.max_radius for p in people]),
        "people/area": floats([p.area for p in people]),
        "people/trainable": ints([int(p.trainable) for p in people]),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(
        deterministic=True
    )


def parse_example(serialized, num_keypoints: int) -> dict[str, tf.Tensor]:
    """Parse a serialized example: the inverse of `encode_example`.

    Args:
        serialized: Scalar string.
        num_keypoints: Number of keypoints K.

    Returns:
        Features by name; those of people have the people as their first axis.
    """
    import tensorflow as tf  # slow; the index and the metadata need none

    def scalar(dtype):
        return tf.io.FixedLenFeature([], dtype)

    def per_person(shape, dtype):
        return tf.io.FixedLenSequenceFeature(shape, dtype, allow_missing=True)

    features = {
        "image/id": scalar(tf.int64),
        "image/file_name": scalar(tf.string),
        "image/size": tf.io.FixedLenFeature([2], tf.int64),
        "image/orientation": scalar(tf.int64),
        "image/encoded": scalar(tf.string),
        "people/id": per_person([], tf.int64),
        "people/box": per_person([4], tf.float32),
        "people/keypoints": per_person([num_keypoints, 3], tf.float32),
        "people/reach": per_person([], tf.float32),
        "people/area": per_person([], tf.float32),
        "people/trainable": per_person([], tf.int64),
    }
    return tf.io.parse_single_example(serialized, features)


if TYPE_CHECKING:
    import tensorflow as tf

_log = logging.getLogger(__name__)
# A record of a TFRecord file: its length and that number's checksum, the data, the data's checksum.
_HEADER_BYTES, _FOOTER_BYTES = 12, 4


class ShardMetadata(NamedTuple):
    """The metadata of a shard with N images and P people.

    Attributes:
        offset: (N,) int64, byte offset of each image's record.
        count: (N,) int64, number of people of each image.
        id: (P,) int64.
        keypoints: (P, K, 3) float32.
        area: (P,) float32.
        trainable: (P,) bool.
    """

    offset: np.ndarray
    count: np.ndarray
    id: np.ndarray
    keypoints: np.ndarray
    area: np.ndarray
    trainable: np.ndarray


def shard_metadata_path(shard: Path) -> Path:
    """Return the path of the metadata of a shard."""
    return shard.with_name(f".{shard.name}.people.npz")


def _fingerprint(shard: Shard) -> str:
    """Return what identifies the content of a shard."""
    return f"{shard.content} {shard.bytes}"


def write_shard_metadata(path: Path, shard: Shard, people: ShardMetadata) -> None:
    """Write the metadata of the shard at `path`."""
    packed = io.BytesIO()
    np.savez(packed, **people._asdict(), shard=np.array(_fingerprint(shard)))
    write_atomically(shard_metadata_path(path), packed.getvalue())


def _read_metadata(path: Path, shard: Shard, num_keypoints: int) -> ShardMetadata | None:
    """Return the stored metadata; None if it is missing, damaged or of another shard."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["shard"]) != _fingerprint(shard):
                return None
            people = ShardMetadata(*(arrays[name] for name in ShardMetadata._fields))
        return people if _is_consistent(people, shard, num_keypoints) else None
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        MemoryError,
        zipfile.BadZipFile,
        EOFError,
        struct.error,
    ):
        return None  # errors of zipfile and numpy for other files


def _is_consistent(people: ShardMetadata, shard: Shard, num_keypoints: int) -> bool:
    """Return whether metadata is consistent with a shard."""
    images, count = len(people.offset), len(people.id)
    return bool(
        (images, count) == (shard.images, shard.people)
        and people.offset.dtype == people.count.dtype == people.id.dtype == np.int64
        and people.count.shape == (images,)
        and (people.count >= 0).all()
        and people.count.sum() == count
        and ((people.offset >= 0) & (people.offset < shard.bytes)).all()
        and people.keypoints.shape == (count, num_keypoints, 3)
        and people.area.shape == people.trainable.shape == (count,)
        and int(people.trainable.sum()) == shard.trainable
    )


def record_offsets(path: Path) -> np.ndarray:
    """Return the byte offsets (N,) int64 of the records of a TFRecord file.

    Raises:
        InputError: If it is truncated or damaged.
    """
    found, at, size = [], 0, Path(path).stat().st_size
    with Path(path).open("rb") as file:
        while at < size:
            file.seek(at)
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
            found.append(at)
            at += _HEADER_BYTES + length + _FOOTER_BYTES
    if at != size:
        raise InputError(
            f"{path}: a record is damaged (record {len(found)} goes beyond the file); make it again"
        )
    return np.array(found, np.int64)


def _metadata_from_records(path: Path, num_keypoints: int) -> ShardMetadata:
    """Return the metadata of a shard from its records; InputError for a damaged one."""
    import tensorflow as tf

    names = ("people/id", "people/keypoints", "people/area", "people/trainable")
    dataset = tf.data.TFRecordDataset(str(path), buffer_size=1 << 20).map(
        lambda r: parse_example(r, num_keypoints)
    )
    columns = []
    try:
        for record in dataset:
            columns.append([record[name].numpy() for name in names])
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise InputError(f"{path}: a record is damaged ({error.message}); make it again") from error
    ids, keypoints, area, trainable = (np.concatenate(values) for values in zip(*columns))
    count = np.array([len(part[0]) for part in columns], np.int64)
    return ShardMetadata(record_offsets(path), count, ids, keypoints, area, trainable > 0)


def load_shard_metadata(path: Path, shard: Shard, num_keypoints: int) -> ShardMetadata:
    """Return the metadata of a shard.

    That of a shard from an older version is read from its records once, and written if possible.

    Raises:
        InputError: For a damaged shard.
    """
    found = _read_metadata(shard_metadata_path(path), shard, num_keypoints)
    if found is None:
        found = _metadata_from_records(path, num_keypoints)
        if not _is_consistent(found, shard, num_keypoints):
            raise InputError(
                f"{path}: a record is damaged (its people are not those that were counted); make "
                "it again"
            )
        try:
            write_shard_metadata(path, shard, found)
        except OSError as error:
            _log.warning(
                "%s: cannot be written (%s); the next start reads the shard again",
                shard_metadata_path(path),
                error,
            )
    return found
