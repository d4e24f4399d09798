"""Checkpoints of a run: weights and optimizer state, complete or not at all."""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.utils.errors import InputError
from tfcpn.utils.files import atomic_dir, remove_folder, remove_stale_temp

_log = logging.getLogger(__name__)
# Epochs whose checkpoints are never deleted.
KEEP_EVERY = 50
# The epoch before the first: the initial weights, which no checkpoint stores.
INITIAL_EPOCH = 0
REPLICA_FILE = "replicas.npy"
CHECKSUM_FILE = "content.json"


class TrainingPosition(NamedTuple):
    """Progress of a run: finished epochs, and steps of the next one."""

    epoch: int = INITIAL_EPOCH
    steps: int = 0


class CheckpointManager:
    """The checkpoints of a model_dir.

    They are folders `checkpoints/epoch_0001` and so on, and `epoch_0001_step_250` within an epoch,
    from which only training resumes. Each holds the weights by the names of tf-cpn's variables, the
    optimizer's state, and checksums. A checkpoint is written under a temporary name, synced and
    renamed.

    Runs of tfcpn 1.x keep theirs in `snapshots/snapshot_0001`.
    """

    def __init__(self, model_dir: str | Path):
        """Manage the checkpoints of a folder."""
        legacy = Path(model_dir) / "snapshots"
        self.folder = legacy if legacy.exists() else Path(model_dir) / "checkpoints"
        self._prefix = "snapshot" if legacy.exists() else "epoch"

    def path(self, epoch: int, steps: int = 0) -> Path:
        """Return the folder of a checkpoint."""
        step = f"_step_{steps}" if steps else ""
        return self.folder / f"{self._prefix}_{epoch:04d}{step}"

    def positions(self) -> list[TrainingPosition]:
        """Return the positions of all checkpoints, ascending."""
        if not self.folder.exists():
            return []
        pattern = re.compile(rf"{self._prefix}_(\d{{4,}})(?:_step_(\d+))?")
        matches = (pattern.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(TrainingPosition(int(m[1]), int(m[2] or 0)) for m in matches if m)

    def epochs(self) -> list[int]:
        """Return the epochs that have a checkpoint, ascending."""
        return [position.epoch for position in self.positions() if not position.steps]

    def parse_epochs(self, text: str) -> list[int]:
        """Parse a flag such as "350", "350,400" or "latest".

        Epoch 0, the initial weights, always exists.

        Raises:
            InputError: For an epoch without a checkpoint.
        """
        available = self.epochs()
        if not available and text.strip() != str(INITIAL_EPOCH):
            raise InputError(f"{self.folder}: there is no checkpoint to evaluate; train first")
        chosen = []
        for word in text.split(","):
            if word.strip() == "latest":
                chosen.append(available[-1])
            elif not word.strip().isdigit():
                raise InputError(f"--epoch={text}: expected numbers, comma-separated, or latest")
            elif int(word) not in [INITIAL_EPOCH, *available]:
                existing = _format_ranges(available)
                raise InputError(
                    f"{self.path(int(word))} does not exist; there are epochs {existing}"
                )
            else:
                chosen.append(int(word))
        return chosen

    def latest_valid(self) -> TrainingPosition:
        """Return the latest checkpoint with intact files; damaged ones are logged.

        Raises:
            InputError: If all checkpoints are damaged.
        """
        positions = self.positions()
        for position in reversed(positions):
            problem = self.find_corruption(position)
            if not problem:
                return position
            path = self.path(*position)
            _log.warning("%s: is damaged (%s); resuming from the one before", path, problem)
        if positions:
            raise InputError(
                f"{self.folder}: all {len(positions)} checkpoints are damaged; delete the folder "
                "to start anew"
            )
        return TrainingPosition()

    def cleanup(self, position: TrainingPosition) -> None:
        """Delete leftovers of crashed processes, and rename damaged checkpoints after a position.

        For the one process that writes there.
        """
        model_dir = self.folder.parent
        # An evaluation may be writing at this moment; it takes less than a minute.
        min_ages = {self.folder: 0, model_dir: 0, **dict.fromkeys(model_dir.glob("eval/*"), 60)}
        for folder, min_age in min_ages.items():
            for name in remove_stale_temp(folder, min_age):
                _log.info("%s: left by a crashed process, deleted", folder / name)
        for newer in self.positions():
            if newer > position:
                path = self.path(*newer)
                damaged = path.with_name(f"{path.name}.damaged")
                shutil.rmtree(damaged, ignore_errors=True)
                path.rename(damaged)

    def find_corruption(self, position: TrainingPosition) -> str:
        """Return what is wrong with the files of a checkpoint; "" if nothing is."""
        return find_corruption(self.path(*position), position.steps)

    def epoch_progress(self, position: TrainingPosition) -> dict | None:
        """Return the unfinished epoch as given to `save`; None at the end of an epoch."""
        if not position.steps:
            return None
        return _progress_of(_read_checksums(self.path(*position)))

    def replica_values(self, position: TrainingPosition) -> np.ndarray | None:
        """Return the per-replica values as given to `save`; None if there are none."""
        file = self.path(*position) / REPLICA_FILE
        return np.load(file, allow_pickle=False) if file.exists() else None

    def save(
        self,
        position: TrainingPosition,
        variables: dict,
        optimizer=None,
        *,
        is_chief: bool = True,
        trained: dict | None = None,
        epoch_progress: dict | None = None,
        replica_values: np.ndarray | None = None,
    ) -> None:
        """Write a checkpoint. To be called by all processes, as reading a variable may need them.

        Args:
            position: Progress of the run.
            variables: Variables of the evaluated model by name.
            optimizer: The optimizer.
            is_chief: Whether this process's file is kept.
            trained: If `variables` are averages, the variables that are trained.
            epoch_progress: The unfinished epoch.
            replica_values: Values of per-replica variables.

        Raises:
            InputError: If it cannot be written; existing checkpoints are unchanged.
        """
        path = self.path(*position)
        checkpoint = _checkpoint(variables, optimizer, trained)
        if not is_chief:
            # In a local folder: on a shared one, process ids of other machines may collide.
            with tempfile.TemporaryDirectory() as unused:
                checkpoint.write(str(Path(unused) / "variables"))
            return

        def fill(folder: Path) -> None:
            checkpoint.write(str(folder / "variables"))
            if replica_values is not None:
                np.save(folder / REPLICA_FILE, replica_values)
            write_checksums(folder, epoch_progress)

        try:
            atomic_dir(path, fill)
        except (OSError, tf.errors.OpError) as error:
            reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
            latest = self.describe_latest()
            raise InputError(f"{path}: cannot be written ({reason}); {latest}") from error

    def describe_latest(self) -> str:
        """Return a description of the latest checkpoint for messages."""
        positions = self.positions()
        if not positions:
            return "there is no checkpoint yet"
        path = self.path(*positions[-1])
        return f"the last good checkpoint is {path}, from which the same command resumes"

    def restore(
        self,
        position: TrainingPosition,
        variables: dict,
        optimizer=None,
        *,
        trained: dict | None = None,
    ) -> None:
        """Restore variables and, if given, the optimizer and the trained variables.

        Raises:
            InputError: For a damaged checkpoint and one of another network.
        """
        path = self.path(*position)
        prefix = str(path / "variables")
        try:
            names = [name for name, _ in tf.train.list_variables(prefix)]
            if optimizer is not None and not any(n.startswith("optimizer/") for n in names):
                raise InputError(
                    f"{path} has no optimizer state, as after a conversion, so training cannot "
                    "resume from it; start a new run with --init_weights=CHECKPOINT"
                )
            status = _checkpoint(variables, optimizer, trained).read(prefix)
            status.expect_partial() if optimizer is None else status.assert_consumed()
            status.assert_existing_objects_matched()
        except (tf.errors.OpError, AssertionError, ValueError, IndexError) as error:
            first_line = str(error).strip().splitlines()[0]
            if self.find_corruption(position):
                raise InputError(
                    f"{path}: is damaged ({first_line}); delete it to resume from the one before"
                ) from error
            raise InputError(
                f"{path}: cannot be restored; is it of another network? ({first_line})"
            ) from error

    def prune(self, keep: int) -> None:
        """Delete old checkpoints.

        Args:
            keep: Number of newest epochs to keep, besides every 50th; 0 keeps all. Of those within
                an epoch only the latest one stays, if it is the latest of all.
        """
        *earlier, _ = self.positions() or [TrainingPosition()]
        for position in earlier:
            if position.steps:
                remove_folder(self.path(*position))
        for epoch in self.epochs()[:-keep] if keep else []:
            if epoch % KEEP_EVERY:
                remove_folder(self.path(epoch))


def _checkpoint(variables: dict, optimizer, trained: dict | None) -> tf.train.Checkpoint:
    objects = {"model": variables, "optimizer": optimizer, "trained": trained}
    return tf.train.Checkpoint(**{n: part for n, part in objects.items() if part is not None})


def _format_ranges(numbers: list[int]) -> str:
    """[1, 2, 3, 7] -> "1-3, 7"."""
    ranges: list[list[int]] = []
    for n in numbers:
        if ranges and n == ranges[-1][1] + 1:
            ranges[-1][1] = n
        else:
            ranges.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def file_checksum(path: Path) -> int:
    """Return the CRC-32 of a file."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


def write_checksums(folder: Path, epoch_progress: dict | None) -> None:
    """Write the checksums of all files of a folder, and the unfinished epoch."""
    paths = sorted(folder.iterdir())
    files = {path.name: [path.stat().st_size, file_checksum(path)] for path in paths}
    checksum = _checksum_of(files, epoch_progress)
    content = {"files": files, "epoch_progress": epoch_progress, "checksum": checksum}
    (folder / CHECKSUM_FILE).write_text(json.dumps(content) + "\n")


def _checksum_of(files: dict, epoch_progress: dict | None) -> int:
    """Return the CRC-32 of the content of the checksum file."""
    return zlib.crc32(json.dumps([files, epoch_progress], sort_keys=True).encode())


def _read_checksums(folder: Path) -> dict:
    file = folder / CHECKSUM_FILE
    return json.loads(file.read_text()) if file.exists() else {"files": {}}


def _progress_of(content: dict) -> dict | None:
    """Return the unfinished epoch; 1.x had other names for the same numbers."""
    progress = content.get("epoch_progress", content.get("begun"))
    names = {"looked": "last_logged_step", "sums": "totals", "since": "since_last_log"}
    return progress and {names.get(name, name): value for name, value in progress.items()}


def find_corruption(folder: Path, steps: int = 0) -> str:
    """Return what is wrong with the files of a checkpoint; "" if nothing is.

    Args:
        folder: The checkpoint. One without checksums, from an older version, is accepted.
        steps: Number of steps within the epoch.
    """
    try:
        content = _read_checksums(folder)
        stored = content.get("epoch_progress", content.get("begun"))
        if steps and (stored or {}).get("steps") != steps:
            return f"{CHECKSUM_FILE} does not describe the unfinished epoch"
        files = content["files"]
        if "checksum" in content and content["checksum"] != _checksum_of(files, stored):
            return f"{CHECKSUM_FILE} is not what was written"
        for name, (size, checksum) in files.items():
            actual = (folder / name).stat().st_size
            if actual != size:
                return f"{name} has {actual} bytes, {size} were written"
            if file_checksum(folder / name) != checksum:
                return f"{name} is not what was written"
    except OSError as error:
        return f"{Path(error.filename or folder).name}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{CHECKSUM_FILE} is not what was written"
    return ""
