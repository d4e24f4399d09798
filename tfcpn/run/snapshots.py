"""Checkpoints of a run: weights and the optimizer's state, whole or not at all."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.base.files import atomic_dir, remove_folder, remove_stale_temp
from tfcpn.run import checksums

_log = logging.getLogger(__name__)
_NAME = re.compile(r"(?:epoch|snapshot)_(\d{4,})(?:_step_(\d+))?")
KEEP_EVERY = 50
# The epoch before the first: weights that no checkpoint keeps, since --init_weights tells them.
INITIAL_EPOCH = 0
OF_REPLICAS = "replicas.npy"


class TrainingPosition(NamedTuple):
    """How far a run is: whole epochs, and steps of the next one."""

    epoch: int = INITIAL_EPOCH
    steps: int = 0


class CheckpointManager:
    """The checkpoints of a model_dir: folders `checkpoints/snapshot_0001` and so on, one an epoch, and between them
    `snapshot_0001_step_250`, from which only training goes on.

    Weights lie under the names of tf-cpn's variables, the optimizer's state beside them, and a file with checksums. A
    checkpoint is written under a temporary name, waited for and renamed, so one that is there is whole.
    """

    def __init__(self, model_dir):
        legacy = Path(model_dir) / "snapshots"  # as 1.x wrote them
        self.folder = legacy if legacy.exists() else Path(model_dir) / "checkpoints"
        self._prefix = "snapshot" if legacy.exists() else "epoch"

    def path(self, epoch: int, steps: int = 0) -> Path:
        return self.folder / (f"{self._prefix}_{epoch:04d}" + (f"_step_{steps}" if steps else ""))

    def positions(self) -> list[TrainingPosition]:
        """What there is, ascending."""
        if not self.folder.exists():
            return []
        matches = (_NAME.fullmatch(p.name) for p in self.folder.iterdir())
        return sorted(TrainingPosition(int(m.group(1)), int(m.group(2) or 0)) for m in matches if m)

    def epochs(self) -> list[int]:
        """The epochs that have a checkpoint, ascending."""
        return [position.epoch for position in self.positions() if not position.steps]

    def parse(self, text: str) -> list[int]:
        """Epochs from a flag such as "350", "350,400" or "latest".

        0 is always there: the weights that a run begins with. Raises InputError if one is not there.
        """
        available = self.epochs()
        if not available and text.strip() != str(INITIAL_EPOCH):
            raise InputError(f"{self.folder}: there is no checkpoint to evaluate; train first")
        chosen = []
        for word in text.split(","):
            if word.strip() == "latest":
                chosen.append(available[-1])
            elif not word.strip().isdigit():
                raise InputError(
                    f"--epoch={text}: want numbers, with commas between them, or latest"
                )
            elif int(word) not in [INITIAL_EPOCH, *available]:
                raise InputError(
                    f"{self.path(int(word))} does not exist; there are epochs {_ranges(available)}"
                )
            else:
                chosen.append(int(word))
        return chosen

    def newest(self) -> TrainingPosition:
        """Where training goes on: at the newest checkpoint whose files are what was written. The others are
        told.

        Raises InputError if there are checkpoints and none of them is good.
        """
        positions = self.positions()
        for position in reversed(positions):
            problem = self.problem(position)
            if not problem:
                return position
            _log.warning(
                "%s: is damaged (%s); going on from the one before", self.path(*position), problem
            )
        if positions:
            raise InputError(
                f"{self.folder}: all {len(positions)} checkpoints are damaged; delete the folder to begin anew"
            )
        return TrainingPosition()

    def tidy(self, position: TrainingPosition) -> None:
        """Delete what processes that died have left half done, and rename what is newer than a position, since it is
        damaged, so that nothing takes it for a checkpoint. For the one process that writes there.
        """
        model_dir = self.folder.parent
        # An evaluation may be writing at this moment, which takes it no minute.
        left = {self.folder: 0, model_dir: 0, **dict.fromkeys(model_dir.glob("eval/*"), 60)}
        for folder, min_age in left.items():
            for name in remove_stale_temp(folder, min_age):
                _log.info("%s: left by a process that died, deleted", folder / name)
        for newer in self.positions():
            if newer > position:
                path = self.path(*newer)
                aside = path.with_name(f"{path.name}.damaged")
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)

    def problem(self, position: TrainingPosition) -> str:
        """What is wrong with a checkpoint's files; empty if nothing is, or if it is older than checksums."""
        return checksums.problem(self.path(*position), position.steps)

    def begun(self, position: TrainingPosition) -> dict | None:
        """What the epoch that a checkpoint lies in had come to, as given to `save`; None at an epoch's end."""
        return checksums.read(self.path(*position))["begun"] if position.steps else None

    def of_replicas(self, position: TrainingPosition) -> np.ndarray | None:
        """What each replica had of its own when a checkpoint was saved; None if there was one replica."""
        file = self.path(*position) / OF_REPLICAS
        return np.load(file, allow_pickle=False) if file.exists() else None

    def save(
        self,
        epoch: int,
        variables: dict,
        optimizer=None,
        chief: bool = True,
        steps: int = 0,
        begun: dict | None = None,
        of_replicas: np.ndarray | None = None,
        trained: dict | None = None,
    ) -> None:
        """Write a checkpoint of variables, by the names that they are kept under, and of the optimizer's.

        Of several processes all must call it, since reading a variable may need the others. chief: whether this is
        the process whose file stays. begun, of_replicas: kept for the methods of these names. trained: where
        `variables` are means, those that training goes on with. Raises InputError if it cannot be written; what was
        there before is then still there.
        """
        if not chief:
            # Away from the shared folder, where another machine's process may have the same number as the chief.
            with tempfile.TemporaryDirectory() as unused:
                _checkpoint(variables, optimizer, trained).write(str(Path(unused) / "variables"))
            return

        def fill(folder: Path) -> None:
            _checkpoint(variables, optimizer, trained).write(str(folder / "variables"))
            if of_replicas is not None:
                np.save(folder / OF_REPLICAS, of_replicas)
            checksums.write(folder, begun)

        try:
            atomic_dir(self.path(epoch, steps), fill)
        except (OSError, tf.errors.OpError) as error:
            reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
            raise InputError(
                f"{self.path(epoch, steps)}: cannot be written ({reason}); {self.last_good()}"
            ) from error

    def last_good(self) -> str:
        """The newest checkpoint, in words."""
        positions = self.positions()
        if not positions:
            return "there is no checkpoint yet"
        return f"the last good checkpoint is {self.path(*positions[-1])}, from which the same command goes on"

    def restore(
        self,
        epoch: int,
        variables: dict,
        optimizer=None,
        steps: int = 0,
        trained: dict | None = None,
    ) -> None:
        """Read the variables and, if given, the optimizer's state and what is trained where the variables are means.
        Raises InputError for a damaged checkpoint.
        """
        path = self.path(epoch, steps)
        prefix = path / "variables"
        try:
            names = [name for name, _ in tf.train.list_variables(str(prefix))]
            if optimizer is not None and not any(name.startswith("optimizer/") for name in names):
                raise InputError(
                    f"{path} has no optimizer state, as after a conversion, so training cannot go on "
                    "from it; start a run of its own with --init_weights=CHECKPOINT"
                )
            status = _checkpoint(variables, optimizer, trained).read(str(prefix))
            status.expect_partial() if optimizer is None else status.assert_consumed()
            status.assert_existing_objects_matched()
        except (tf.errors.OpError, AssertionError, ValueError, IndexError) as error:
            first_line = str(error).strip().splitlines()[0]
            raise InputError(
                f"{path}: is damaged or of another network ({first_line}); delete it to go on from the one before"
            ) from error

    def prune(self, keep: int) -> None:
        """Delete all but the newest `keep` epochs' checkpoints and those of every fiftieth epoch; 0 keeps all. Of those
        within an epoch only one that is the newest of all stays.
        """
        *before, _ = self.positions() or [TrainingPosition()]
        for position in before:
            if position.steps:
                remove_folder(self.path(*position))
        for epoch in self.epochs()[:-keep] if keep else []:
            if epoch % KEEP_EVERY:
                remove_folder(self.path(epoch))


def _checkpoint(variables: dict, optimizer, trained: dict | None) -> tf.train.Checkpoint:
    parts = {"model": variables, "optimizer": optimizer, "trained": trained}
    return tf.train.Checkpoint(**{name: part for name, part in parts.items() if part is not None})


def _ranges(numbers: list[int]) -> str:
    """[1, 2, 3, 7] -> "1-3, 7"."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
