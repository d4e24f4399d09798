"""Beside each shard a small file with what its people are like and where their images lie in it.

Order, filters and where a run goes on are decided by these alone: a hundredth of what the shards hold, which are
read only for the images that are needed.
"""

from __future__ import annotations

import io
import logging
import struct
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.base.files import write_atomically
from tfcpn.data.record_index import Shard

_log = logging.getLogger(__name__)
# A record of a TFRecord file: its length and that number's checksum, the data, the data's checksum.
_HEAD, _FOOT = 12, 4


class ShardMetadata(NamedTuple):
    """The people of a shard's N images, P of them, in its order.

    offset: (N,) int64, where each image's record begins. count: (N,) int64, of people in each. id: (P,) int64.
    keypoints: (P, K, 3) float32. area: (P,) float32. trainable: (P,) bool.
    """

    offset: np.ndarray
    count: np.ndarray
    id: np.ndarray
    keypoints: np.ndarray
    area: np.ndarray
    trainable: np.ndarray


def shard_metadata_path(shard: Path) -> Path:
    """Where the people of a shard lie."""
    return shard.with_name(f".{shard.name}.people.npz")


def _mark(shard: Shard) -> str:
    """Tells a shard from others."""
    return f"{shard.content} {shard.bytes}"


def write_shard_metadata(path: Path, shard: Shard, people: ShardMetadata) -> None:
    """Write down the people of the shard at `path`."""
    packed = io.BytesIO()
    np.savez(packed, **people._asdict(), shard=np.array(_mark(shard)))
    write_atomically(shard_metadata_path(path), packed.getvalue())


def _read(path: Path, shard: Shard, num_keypoints: int) -> ShardMetadata | None:
    """None for a file that is missing, damaged, or of another shard."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["shard"]) != _mark(shard):
                return None
            people = ShardMetadata(*(arrays[name] for name in ShardMetadata._fields))
        return people if _fits(people, shard, num_keypoints) else None
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
        return None  # what zipfile and numpy raise for what is no archive of theirs


def _fits(people: ShardMetadata, shard: Shard, num_keypoints: int) -> bool:
    """Whether they can be the people of a shard."""
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


def offsets(path: Path) -> np.ndarray:
    """Where the records of a TFRecord file begin, (N,) int64. Raises InputError if it is cut off or damaged."""
    found, at, size = [], 0, Path(path).stat().st_size
    with Path(path).open("rb") as file:
        while at < size:
            file.seek(at)
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
            found.append(at)
            at += _HEAD + length + _FOOT
    if at != size:
        raise InputError(
            f"{path}: a record is damaged (record {len(found)} goes beyond the file); make it again"
        )
    return np.array(found, np.int64)


def _from_records(path: Path, num_keypoints: int) -> ShardMetadata:
    """What the shard itself says, which reads all of it. Raises InputError for a damaged one."""
    import tensorflow as tf

    from tfcpn.data.examples import parse

    names = ("people/id", "people/keypoints", "people/area", "people/trainable")
    dataset = tf.data.TFRecordDataset(str(path), buffer_size=1 << 20).map(
        lambda r: parse(r, num_keypoints)
    )
    parts = []
    try:
        for record in dataset:
            parts.append([record[name].numpy() for name in names])
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise InputError(f"{path}: a record is damaged ({error.message}); make it again") from error
    ids, keypoints, area, trainable = (np.concatenate(values) for values in zip(*parts))
    count = np.array([len(part[0]) for part in parts], np.int64)
    return ShardMetadata(offsets(path), count, ids, keypoints, area, trainable > 0)


def load_shard_metadata(path: Path, shard: Shard, num_keypoints: int) -> ShardMetadata:
    """The people of a shard. Of one that is older than these files they are read from it once, and written down where
    that can be done. Raises InputError for a damaged shard.
    """
    found = _read(shard_metadata_path(path), shard, num_keypoints)
    if found is None:
        found = _from_records(path, num_keypoints)
        if not _fits(found, shard, num_keypoints):
            raise InputError(
                f"{path}: a record is damaged (its people are not those that were counted); make it again"
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
