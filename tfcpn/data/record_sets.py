"""--train_records: one folder of records, or several whose people are trained on together. Needs no TensorFlow."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tfcpn.base.errors import InputError
from tfcpn.data.coco import check_same_keypoints
from tfcpn.data.record_index import Index, Shard, read_index
from tfcpn.data.skeleton_file import skeleton_from_flag
from tfcpn.skeleton import Skeleton


class RecordSet(NamedTuple):
    """share: how often everyone of this folder comes in a pass."""

    folder: Path
    share: int
    index: Index


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
        """The shards of a pass, each with its folder; those of a folder with share 2 are there twice."""
        return [
            (s.folder, shard)
            for s in self.sets
            for _ in range(s.share)
            for shard in s.index.shards
            if shard.trainable
        ]

    @property
    def files(self) -> list[str]:
        """Where those shards are."""
        return [str(folder / shard.file) for folder, shard in self.shards]

    @property
    def trainable(self) -> int:
        """How many people come in a pass."""
        return sum(s.share * s.index.trainable for s in self.sets)

    @property
    def identity(self) -> dict:
        """What tells these records from others, whatever their folders are called."""
        if len(self.sets) == 1 and self.sets[0].share == 1:
            return self.sets[0].index.identity
        return {"sets": [{"share": s.share, **s.index.identity} for s in self.sets]}


def read_records(names: str) -> Records:
    """names: folders with commas between them, each perhaps with a share behind a colon, such as a:2,b:1.

    Raises InputError for a folder without records, a share of 0, or keypoints that differ.
    """
    sets = []
    for word in str(names).split(","):
        folder, share = re.fullmatch(r"(.*?)(?::(\d+))?", word.strip()).groups()
        if not folder or (share and not 1 <= int(share) <= 1000):
            raise InputError(
                f"--train_records={names}: want folders, with commas between them, such as a or a:2,b:1"
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
                f"{other.folder} and {sets[0].folder} have other pairs or roles of the same keypoints"
            )
    return Records(tuple(sets))


def resolve_skeleton(records: Records, asked: str) -> Skeleton:
    """The keypoints to train with: the records' own, or those of --skeleton, which must have the same names.

    Raises InputError also if their hips are others: records tell how far outlines reach from the hips.
    """
    chosen = skeleton_from_flag(asked)
    if chosen is None:
        return records.skeleton
    check_same_keypoints(records.name, records.skeleton, chosen)
    if chosen.hips != records.skeleton.hips:
        raise InputError(
            f"--skeleton={asked}: its hips are not those of {records.name}; make the records with it too"
        )
    return chosen
