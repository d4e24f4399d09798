"""What a run writes down while it trains: a CSV row and TensorBoard scalars."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.base.files import write_atomically

BESIDE_LOSSES = ("decay", "total", "learning_rate", "crops_per_second", "seconds")
MACHINE = ("device", "precision", "replicas")


def columns(losses: Sequence[str], metrics: Sequence[str]) -> list[str]:
    """The columns of metrics.csv. losses: names of the network's own. metrics: of a validation."""
    return ["epoch", "step", *losses, *BESIDE_LOSSES, *metrics, *MACHINE]


class TrainingLogger:
    """`metrics.csv` with one row an epoch, and events for TensorBoard, in a model_dir."""

    def __init__(self, model_dir, names: Sequence[str], resumed_epoch: int, chief: bool = True):
        """Rows of epochs after `resumed_epoch`, whose checkpoint was lost, are dropped: they will come again.

        names: as from `columns`. chief: of several processes, whether this is the one that writes.
        """
        self.chief, self.names = chief, list(names)
        self.path = Path(model_dir) / "metrics.csv"
        self.rows: list[dict] = []
        if self.path.exists():
            try:
                with self.path.open() as file:
                    self.rows = [
                        row for row in csv.DictReader(file) if int(row["epoch"]) <= resumed_epoch
                    ]
                    steps = [int(row["step"]) for row in self.rows]
            except (KeyError, TypeError, ValueError, csv.Error) as error:
                raise InputError(
                    f"{self.path}: not the log of a run, or damaged ({error!r}); put it right, or move it away: the "
                    "checkpoints do not need it"
                ) from error
            if steps != sorted(steps):
                raise InputError(
                    f"{self.path}: its steps do not grow; put it right, or move it away"
                )
        events = str(Path(model_dir) / "events")
        self.writer = (
            tf.summary.create_file_writer(events) if chief else tf.summary.create_noop_writer()
        )

    def step(self, step: int, values: dict[str, float]) -> None:
        with self.writer.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(f"train/{name}", value)

    def settings(self, config: dict) -> None:
        """The configuration, as a table."""
        lines = [
            "| flag | value |",
            "|---|---|",
            *(f"| --{name} | `{value}` |" for name, value in config.items()),
        ]
        with self.writer.as_default(0):
            tf.summary.text("settings", "\n".join(lines))

    def visualizer(
        self, epoch: int, images: np.ndarray, shares: dict[str, dict[str, float | None]]
    ) -> None:
        """Of a validation images (N, H, W, 3) uint8 RGB, and PCK of each keypoint by name."""
        step = next((int(row["step"]) for row in self.rows if int(row["epoch"]) == epoch), 0)
        with self.writer.as_default(step):
            if len(images):
                tf.summary.image("people", images, max_outputs=len(images))
            for keypoint, by_threshold in shares.items():
                for name, share in by_threshold.items():
                    if share is not None:
                        tf.summary.scalar(f"val_{name}/{keypoint}", share)
        self.writer.flush()

    def epoch(self, row: dict) -> None:
        """Add the row of an epoch. Before its checkpoint is saved, so that no checkpoint is without its row."""
        self.rows.append(row)
        self._write()

    def validated(self, epoch: int) -> bool:
        return any(
            int(row["epoch"]) == epoch and row.get("AP") not in (None, "") for row in self.rows
        )

    def validation(self, epoch: int, metrics: dict[str, float]) -> None:
        """Add the numbers of a validation to the row of an epoch; None stands for one that there is not."""
        for row in self.rows:
            if int(row["epoch"]) == epoch:
                row.update(metrics)
                with self.writer.as_default(int(row["step"])):
                    for name, value in metrics.items():
                        if value is not None:
                            tf.summary.scalar(f"val/{name}", value)
        self._write()

    def _write(self) -> None:
        if not self.chief:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, self.names, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.path, text.getvalue())
        self.writer.flush()
