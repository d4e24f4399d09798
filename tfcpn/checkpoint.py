"""Snapshots of a run, and the first weights of a backbone from a TensorFlow 1 checkpoint."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import tensorflow as tf

from tfcpn.cpn import variables_by_name
from tfcpn.errors import InputError

_NAME = re.compile(r"snapshot_(\d{4,})")
KEPT_FOREVER = 50


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
        """Epochs from a flag such as "350", "350,400" or "latest". Raises InputError if one is not there."""
        available = self.epochs()
        if not available:
            raise InputError(f"{self.folder}: there is no snapshot to evaluate; train first")
        chosen = []
        for word in text.split(","):
            if word.strip() == "latest":
                chosen.append(available[-1])
            elif not word.strip().isdigit():
                raise InputError(f"--epoch={text}: want numbers, with commas between them, or latest")
            elif int(word) not in available:
                raise InputError(f"{self.path(int(word))} does not exist; there are epochs {_ranges(available)}")
            else:
                chosen.append(int(word))
        return chosen

    def save(self, epoch: int, model, optimizer=None, chief: bool = True) -> None:
        """Write a snapshot. Of several processes all must call it, since reading a variable may need the others.

        chief: whether this is the process whose file stays.
        """
        if not chief:
            # Away from the shared folder, where another machine's process may have the same number as the chief.
            with tempfile.TemporaryDirectory() as unused:
                _checkpoint(model, optimizer).write(str(Path(unused) / "variables"))
            return
        temporary = self.folder / f".{self.path(epoch).name}.{os.getpid()}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        _checkpoint(model, optimizer).write(str(temporary / "variables"))
        shutil.rmtree(self.path(epoch), ignore_errors=True)
        temporary.rename(self.path(epoch))

    def restore(self, epoch: int, model, optimizer=None) -> None:
        """Read the weights and, if given, the optimiser's state. Raises InputError for a damaged snapshot."""
        prefix = self.path(epoch) / "variables"
        try:
            names = [name for name, _ in tf.train.list_variables(str(prefix))]
            if optimizer is not None and not any(name.startswith("optimizer/") for name in names):
                raise InputError(
                    f"{self.path(epoch)} has no optimiser state, as after a conversion, so training cannot go on "
                    "from it; start a run of its own with --init_weights=CHECKPOINT"
                )
            status = _checkpoint(model, optimizer).read(str(prefix))
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


def _checkpoint(model, optimizer) -> tf.train.Checkpoint:
    parts = {"model": variables_by_name(model)}
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


def exists(checkpoint: str) -> bool:
    """Whether there is a TensorFlow checkpoint of format V1 (one file) or V2 (an index) under this name."""
    return Path(checkpoint).is_file() or Path(f"{checkpoint}.index").is_file()


def init_backbone(model, checkpoint: str) -> tuple[list[str], list[str]]:
    """Start the model from a TensorFlow 1 checkpoint, such as slim's resnet_v1_50.ckpt, as tf-cpn does.

    Every variable whose name and shape match is restored, whether the file is of format V1 or V2. Returns the
    names that matched and the model's backbone variables that did not. Raises InputError if nothing matches.
    """
    try:
        reader = tf.compat.v1.train.NewCheckpointReader(str(checkpoint))
        shapes = reader.get_variable_to_shape_map()
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(f"{checkpoint}: cannot be read as a TensorFlow checkpoint") from error
    matched, missing = [], []
    for name, variable in variables_by_name(model).items():
        if shapes.get(name) == variable.shape.as_list():
            variable.assign(reader.get_tensor(name))
            matched.append(name)
        elif name.startswith("resnet_v1"):
            missing.append(name)
    if not matched:
        raise InputError(f"{checkpoint}: none of its {len(shapes)} variables belongs to this network")
    return matched, missing
