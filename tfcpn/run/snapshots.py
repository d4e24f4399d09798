"""Snapshots of a run: weights and the optimiser's state, whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import tensorflow as tf

from tfcpn.base.errors import InputError

_NAME = re.compile(r"snapshot_(\d{4,})")
KEPT_FOREVER = 50
# The epoch before the first: weights that no snapshot keeps, since --init_weights tells them.
FIRST_WEIGHTS = 0


class Snapshots:
    """The snapshots of a model_dir: folders `snapshots/snapshot_0001` and so on, one an epoch.

    Weights lie under the names of tf-cpn's variables, the optimiser's state beside them. A snapshot is written
    under a temporary name and renamed, so one that is there is whole.
    """

    def __init__(self, model_dir):
        self.folder = Path(model_dir) / "snapshots"

    def path(self, epoch: int) -> Path:
        return self.folder / f"snapshot_{epoch:04d}"

    def epochs(self) -> list[int]:
        """The epochs that have a snapshot, ascending."""
        if not self.folder.exists():
            return []
        matches = (_NAME.fullmatch(p.name) for p in self.folder.iterdir())
        return sorted(int(m.group(1)) for m in matches if m)

    def parse(self, text: str) -> list[int]:
        """Epochs from a flag such as "350", "350,400" or "latest".

        0 is always there: the weights that a run begins with. Raises InputError if one is not there.
        """
        available = self.epochs()
        if not available and text.strip() != str(FIRST_WEIGHTS):
            raise InputError(f"{self.folder}: there is no snapshot to evaluate; train first")
        chosen = []
        for word in text.split(","):
            if word.strip() == "latest":
                chosen.append(available[-1])
            elif not word.strip().isdigit():
                raise InputError(f"--epoch={text}: want numbers, with commas between them, or latest")
            elif int(word) not in [FIRST_WEIGHTS, *available]:
                raise InputError(f"{self.path(int(word))} does not exist; there are epochs {_ranges(available)}")
            else:
                chosen.append(int(word))
        return chosen

    def save(self, epoch: int, variables: dict, optimizer=None, chief: bool = True) -> None:
        """Write a snapshot of variables, by the names that they are kept under, and of the optimiser's.

        Of several processes all must call it, since reading a variable may need the others. chief: whether this is
        the process whose file stays.
        """
        if not chief:
            # Away from the shared folder, where another machine's process may have the same number as the chief.
            with tempfile.TemporaryDirectory() as unused:
                _checkpoint(variables, optimizer).write(str(Path(unused) / "variables"))
            return
        temporary = self.folder / f".{self.path(epoch).name}.{os.getpid()}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        _checkpoint(variables, optimizer).write(str(temporary / "variables"))
        shutil.rmtree(self.path(epoch), ignore_errors=True)
        temporary.rename(self.path(epoch))

    def restore(self, epoch: int, variables: dict, optimizer=None) -> None:
        """Read the variables and, if given, the optimiser's state. Raises InputError for a damaged snapshot."""
        prefix = self.path(epoch) / "variables"
        try:
            names = [name for name, _ in tf.train.list_variables(str(prefix))]
            if optimizer is not None and not any(name.startswith("optimizer/") for name in names):
                raise InputError(
                    f"{self.path(epoch)} has no optimiser state, as after a conversion, so training cannot go on "
                    "from it; start a run of its own with --init_weights=CHECKPOINT"
                )
            status = _checkpoint(variables, optimizer).read(str(prefix))
            status.expect_partial() if optimizer is None else status.assert_consumed()
            status.assert_existing_objects_matched()
        except (tf.errors.OpError, AssertionError, ValueError, IndexError) as error:
            first_line = str(error).strip().splitlines()[0]
            raise InputError(
                f"{self.path(epoch)}: is damaged or of another network ({first_line}); delete it to go on from the "
                "one before"
            ) from error

    def prune(self, keep: int) -> None:
        """Delete all but the newest `keep` snapshots and those of every fiftieth epoch. 0 keeps all."""
        for epoch in self.epochs()[:-keep] if keep else []:
            if epoch % KEPT_FOREVER:
                shutil.rmtree(self.path(epoch))


def _checkpoint(variables: dict, optimizer) -> tf.train.Checkpoint:
    parts = {"model": variables}
    return (
        tf.train.Checkpoint(**parts, optimizer=optimizer) if optimizer is not None else tf.train.Checkpoint(**parts)
    )


def _ranges(numbers: list[int]) -> str:
    """[1, 2, 3, 7] -> "1-3, 7"."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
