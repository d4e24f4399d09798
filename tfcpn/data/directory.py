"""Who is trained on, and where in the records each lies: made of the small files beside the shards alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfcpn.data.filters import PersonFilter, keep
from tfcpn.data.people_file import ShardMetadata, load_shard_metadata
from tfcpn.data.record_sets import Records


class ExampleIndex(NamedTuple):
    """The P people that pass the rules, in the records' order, and all N images of the records' F files.

    image: (P,) number of a person's image. row: (P,) the person's among all people of it. file: (N,) number of an
    image's file in `Records.files`. offset: (N,) where its record begins there. file_start: (F + 1,) number of each
    file's first image. image_start: (N + 1,) number of each image's first person. id: (P,). All int64.
    """

    image: np.ndarray
    row: np.ndarray
    file: np.ndarray
    offset: np.ndarray
    file_start: np.ndarray
    image_start: np.ndarray
    id: np.ndarray


def _taking_part(people: ShardMetadata, rules: PersonFilter) -> np.ndarray:
    """Which of a shard's people are trained on: (P,) bool."""
    image = np.repeat(np.arange(len(people.count)), people.count)
    in_image = np.bincount(image, people.trainable, len(people.count))[image]
    return people.trainable & keep(people.keypoints, people.area, in_image, rules).numpy()


def build_example_index(records: Records, rules: PersonFilter) -> ExampleIndex:
    """Raises InputError for a damaged shard of records that are older than the files beside them."""
    of_shard = {}
    for folder, shard in records.shards:
        if (folder, shard.file) in of_shard:
            continue
        people = load_shard_metadata(folder / shard.file, shard, records.skeleton.count)
        first = np.cumsum(people.count) - people.count
        chosen = np.flatnonzero(_taking_part(people, rules))
        image = np.repeat(np.arange(len(people.count)), people.count)[chosen]
        of_shard[folder, shard.file] = (
            people.offset,
            image,
            chosen - first[image],
            people.id[chosen],
        )
    parts = [of_shard[folder, shard.file] for folder, shard in records.shards]
    file_start = np.cumsum([0] + [len(offset) for offset, *_ in parts])
    image = np.concatenate([image + start for (_, image, *_), start in zip(parts, file_start)])
    offset, row, ids = (np.concatenate([part[i] for part in parts]) for i in (0, 2, 3))
    file = np.repeat(np.arange(len(parts)), np.diff(file_start))
    image_start = np.searchsorted(image, np.arange(len(offset) + 1))
    return ExampleIndex(
        *(a.astype(np.int64) for a in (image, row, file, offset, file_start, image_start, ids))
    )
