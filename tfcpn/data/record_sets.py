"""--train_records: folders of records, filters of people, and the index of training examples."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfcpn.data.categories import check_same_keypoints
from tfcpn.data.record_format import (
    RecordIndex,
    Shard,
    ShardMetadata,
    load_shard_metadata,
    read_index,
)
from tfcpn.skeleton import Skeleton, skeleton_from_flag
from tfcpn.utils.errors import InputError


class PersonFilter(NamedTuple):
    """What a person must have to be trained on; the defaults accept all with a labeled keypoint.

    Attributes:
        min_keypoints: Number of labeled keypoints.
        required: Indices of keypoints that must be labeled.
        max_people: Maximum number of labeled people in the image; 0 for any.
        min_area: Area in square pixels.
    """

    min_keypoints: int = 1
    required: tuple[int, ...] = ()
    max_people: int = 0
    min_area: float = 0.0


NO_FILTER = PersonFilter()


def passes_filter(keypoints, area, people_in_image, person_filter: PersonFilter):
    """Return whether people pass a filter.

    Args:
        keypoints: (..., K, 3) x, y, visibility.
        area: (...) square pixels.
        people_in_image: (...) or scalar.
        person_filter: The filter.

    Returns:
        (...) bool tensor.
    """
    import tensorflow as tf  # settings know Filter and start without

    labeled = tf.convert_to_tensor(keypoints)[..., 2] > 0
    passes = tf.reduce_sum(tf.cast(labeled, tf.int32), axis=-1) >= person_filter.min_keypoints
    if person_filter.required:
        passes &= tf.reduce_all(tf.gather(labeled, list(person_filter.required), axis=-1), axis=-1)
    if person_filter.max_people:
        passes &= tf.cast(people_in_image, tf.int32) <= person_filter.max_people
    return passes & (tf.cast(area, tf.float32) >= person_filter.min_area)


class RecordSet(NamedTuple):
    """A folder of records.

    Attributes:
        folder: The folder.
        share: Number of times its people come in a pass.
        index: Its index.
    """

    folder: Path
    share: int
    index: RecordIndex


class Records(NamedTuple):
    """Folders of records with the same keypoints."""

    sets: tuple[RecordSet, ...]

    @property
    def skeleton(self) -> Skeleton:
        return self.sets[0].index.skeleton

    @property
    def name(self) -> str:
        return ",".join(f"{s.folder}" + (f":{s.share}" if s.share > 1 else "") for s in self.sets)

    @property
    def shards(self) -> list[tuple[Path, Shard]]:
        """The shards of a pass with their folders; those of a folder with share 2 twice."""
        return [
            (s.folder, shard)
            for s in self.sets
            for _ in range(s.share)
            for shard in s.index.shards
            if shard.trainable
        ]

    @property
    def files(self) -> list[str]:
        """Paths of those shards."""
        return [str(folder / shard.file) for folder, shard in self.shards]

    @property
    def trainable(self) -> int:
        """Number of people in a pass."""
        return sum(s.share * s.index.trainable for s in self.sets)

    @property
    def identity(self) -> dict:
        """What identifies these records, whatever their folders are called."""
        if len(self.sets) == 1 and self.sets[0].share == 1:
            return self.sets[0].index.identity
        return {"sets": [{"share": s.share, **s.index.identity} for s in self.sets]}


def read_records(names: str) -> Records:
    """Read --train_records.

    Args:
        names: Comma-separated folders, each optionally with a share after a colon, such as a:2,b:1.

    Raises:
        InputError: For a folder without records, a bad share, or keypoints that differ.
    """
    sets = []
    for word in str(names).split(","):
        folder, share = re.fullmatch(r"(.*?)(?::(\d+))?", word.strip()).groups()
        if not folder or (share and not 1 <= int(share) <= 1000):
            raise InputError(
                f"--train_records={names}: expected folders, with commas between them, such as a "
                "or a:2,b:1"
            )
        sets.append(
            RecordSet(
                Path(folder).expanduser(), int(share or 1), read_index(Path(folder).expanduser())
            )
        )
    if len({s.folder.resolve() for s in sets}) < len(sets):
        raise InputError(
            f"--train_records={names}: a folder is named twice; give it a share, such as a:2"
        )
    first = sets[0].index.skeleton
    for other in sets[1:]:
        check_same_keypoints(other.folder, other.index.skeleton, first)
        if (
            replace(other.index.skeleton, name=first.name, sigmas=first.sigmas, limbs=first.limbs)
            != first
        ):
            raise InputError(
                f"{other.folder} and {sets[0].folder} have other pairs or roles of the same "
                "keypoints"
            )
    return Records(tuple(sets))


def resolve_skeleton(records: Records, asked: str) -> Skeleton:
    """Return the keypoints to train with: those of the records, or of --skeleton.

    Args:
        records: The records.
        asked: Value of --skeleton; it must have the same names and hips as the records, which store
            distances from the hips.

    Raises:
        InputError: If it does not fit.
    """
    chosen = skeleton_from_flag(asked)
    if chosen is None:
        return records.skeleton
    check_same_keypoints(records.name, records.skeleton, chosen)
    if chosen.hips != records.skeleton.hips:
        raise InputError(
            f"--skeleton={asked}: its hips are not those of {records.name}; make the records with "
            "it too"
        )
    return chosen


class ExampleIndex(NamedTuple):
    """The P people that pass a filter, in the order of the records, and all N images of F files.

    Attributes:
        image: (P,) index of a person's image.
        row: (P,) index of the person among all people of the image.
        file: (N,) index of an image's file in `Records.files`.
        offset: (N,) byte offset of its record.
        file_start: (F + 1,) index of each file's first image.
        image_start: (N + 1,) index of each image's first person.
        id: (P,). All are int64.
    """

    image: np.ndarray
    row: np.ndarray
    file: np.ndarray
    offset: np.ndarray
    file_start: np.ndarray
    image_start: np.ndarray
    id: np.ndarray


def _filter_people(people: ShardMetadata, person_filter: PersonFilter) -> np.ndarray:
    """Return which of a shard's people pass the filter, (P,) bool."""
    image = np.repeat(np.arange(len(people.count)), people.count)
    in_image = np.bincount(image, people.trainable, len(people.count))[image]
    return (
        people.trainable
        & passes_filter(people.keypoints, people.area, in_image, person_filter).numpy()
    )


def build_example_index(records: Records, person_filter: PersonFilter) -> ExampleIndex:
    """Build the index of training examples from the metadata of the shards.

    Raises:
        InputError: For a damaged shard of records without metadata.
    """
    of_shard = {}
    for folder, shard in records.shards:
        if (folder, shard.file) in of_shard:
            continue
        people = load_shard_metadata(folder / shard.file, shard, records.skeleton.num_keypoints)
        first = np.cumsum(people.count) - people.count
        chosen = np.flatnonzero(_filter_people(people, person_filter))
        image = np.repeat(np.arange(len(people.count)), people.count)[chosen]
        of_shard[folder, shard.file] = (
            people.offset,
            image,
            chosen - first[image],
            people.id[chosen],
        )
    shards = [of_shard[folder, shard.file] for folder, shard in records.shards]
    file_start = np.cumsum([0] + [len(offset) for offset, *_ in shards])
    image = np.concatenate([image + start for (_, image, *_), start in zip(shards, file_start)])
    offset, row, ids = (np.concatenate([part[i] for part in shards]) for i in (0, 2, 3))
    file = np.repeat(np.arange(len(shards)), np.diff(file_start))
    image_start = np.searchsorted(image, np.arange(len(offset) + 1))
    return ExampleIndex(
        *(a.astype(np.int64) for a in (image, row, file, offset, file_start, image_start, ids))
    )
