"""The log of a run: a CSV file with a row per epoch, and TensorBoard events."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

_AFTER_LOSSES = ("decay", "total", "learning_rate", "crops_per_second", "seconds")
_MACHINE = ("device", "precision", "replicas")


def columns(losses: Sequence[str], metrics: Sequence[str]) -> list[str]:
    """Return the columns of metrics.csv.

    Args:
        losses: Names of the network's losses.
        metrics: Names of the validation metrics.
    """
    return ["epoch", "step", *losses, *_AFTER_LOSSES, *metrics, *_MACHINE]


class TrainingLogger:
    """`metrics.csv` with one row per epoch, and events for TensorBoard, in a model_dir."""

    def __init__(
        self,
        model_dir: str | Path,
        names: Sequence[str],
        *,
        resumed_epoch: int,
        is_chief: bool = True,
    ):
        """Open the log.

        Args:
            model_dir: Folder of the run.
            names: Columns of the CSV file.
            resumed_epoch: Rows of later epochs are dropped; they will be trained again.
            is_chief: Whether this process writes.

        Raises:
            InputError: For a damaged log.
        """
        self.is_chief, self.names = is_chief, list(names)
        self.path = Path(model_dir) / "metrics.csv"
        self.rows: list[dict] = []
        if self.path.exists():
            try:
                with self.path.open() as file:
                    rows = list(csv.DictReader(file))
                self.rows = [row for row in rows if int(row["epoch"]) <= resumed_epoch]
                steps = [int(row["step"]) for row in self.rows]
            except (KeyError, TypeError, ValueError, csv.Error) as error:
                raise InputError(
                    f"{self.path}: not the log of a run, or damaged ({error!r}); repair it or move "
                    "it away: the checkpoints do not need it"
                ) from error
            if steps != sorted(steps):
                raise InputError(f"{self.path}: its steps are not ascending; move it away")
        events = str(Path(model_dir) / "events")
        if is_chief:
            self.writer = tf.summary.create_file_writer(events)
        else:
            self.writer = tf.summary.create_noop_writer()

    def log_settings(self, config: dict) -> None:
        """Log the configuration as a table."""
        rows = [f"| --{name} | `{value}` |" for name, value in config.items()]
        with self.writer.as_default(0):
            tf.summary.text("settings", "\n".join(["| flag | value |", "|---|---|", *rows]))

    def log_step(self, step: int, values: dict[str, float]) -> None:
        """Log scalars of a training step."""
        with self.writer.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(f"train/{name}", value)

    def log_epoch(self, row: dict) -> None:
        """Add the row of an epoch; before its checkpoint, so that none is without its row."""
        self.rows.append(row)
        self._write()

    def has_validation(self, epoch: int) -> bool:
        """Return whether an epoch has been validated."""
        rows = [row for row in self.rows if int(row["epoch"]) == epoch]
        return any(row.get("AP") not in (None, "") for row in rows)

    def log_validation(self, epoch: int, metrics: dict[str, float | None]) -> None:
        """Add the metrics of a validation to the row of an epoch; None for undefined ones."""
        for row in self.rows:
            if int(row["epoch"]) == epoch:
                row.update(metrics)
                with self.writer.as_default(int(row["step"])):
                    for name, value in metrics.items():
                        if value is not None:
                            tf.summary.scalar(f"val/{name}", value)
        self._write()

    def log_images(
        self, epoch: int, images: np.ndarray, pck: dict[str, dict[str, float | None]]
    ) -> None:
        """Log validation images and per-keypoint PCK.

        Args:
            epoch: The validated epoch.
            images: (N, H, W, 3) uint8 RGB.
            pck: PCK by keypoint and threshold; None for undefined values.
        """
        step = next((int(row["step"]) for row in self.rows if int(row["epoch"]) == epoch), 0)
        with self.writer.as_default(step):
            if len(images):
                tf.summary.image("people", images, max_outputs=len(images))
            for keypoint, by_threshold in pck.items():
                for name, value in by_threshold.items():
                    if value is not None:
                        tf.summary.scalar(f"val_{name}/{keypoint}", value)
        self.writer.flush()

    def _write(self) -> None:
        if not self.is_chief:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, self.names, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.path, text.getvalue())
        self.writer.flush()
