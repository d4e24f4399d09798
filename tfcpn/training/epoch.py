"""One epoch: steps, what they are told by, and the row that the log gets."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.base.progress import progress
from tfcpn.run.log import RunLog

LOG_EVERY = 20  # steps between looks at the losses, each of which waits for the device


class Pace(NamedTuple):
    """steps: of an epoch. crops: of a step, on all replicas. epochs: at which training ends. warmup: first steps of
    all over which the rate grows in a line.
    """

    steps: int
    crops: int
    epochs: int
    warmup: int = 0


def _next_batch(batches: Iterator, source: str, stopped: str):
    try:
        return next(batches)
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise InputError(f"{source}: a record is damaged ({error.message}); make it again") from error
    except (tf.errors.OpError, StopIteration) as error:
        raise InputError(f"{stopped} ({error}); start again, the last snapshot is kept") from error


def train_epoch(
    step_function: Callable,
    batches: Iterator,
    epoch: int,
    pace: Pace,
    log: RunLog,
    *,
    learning_rate: float,
    source: str,
    stopped: str = "the training input stopped",
) -> dict:
    """Train one epoch; returns its row for the log. Raises InputError for a loss that is not a number, or for losses
    that tell that the network is being ruined, no later than after 20 steps of them.

    step_function: a `TrainingStep`. learning_rate: the optimiser's, for the row. source: the name of the records.
    stopped: what to say if no more batches come.
    """
    names = step_function.loss_names
    first = (epoch - 1) * pace.steps
    totals, fetched = tf.zeros(len(names)), 0
    sums = tf.zeros_like(totals)
    began = time.time()
    with progress(pace.steps * pace.crops, f"epoch {epoch}/{pace.epochs}", "crop") as bar:
        for i in range(pace.steps):
            crops, joints = _next_batch(batches, source, stopped)
            if first + i <= pace.warmup and pace.warmup:
                step_function.set_rate(learning_rate * min(1, (first + i + 1) / pace.warmup))
            totals += step_function(crops, joints, tf.constant(first + i, tf.int64))
            if (i + 1) % LOG_EVERY and i + 1 < pace.steps:
                continue
            count = i + 1 - fetched
            means = [float(v) / count for v in totals]
            if not all(math.isfinite(v) for v in means):
                raise InputError(
                    f"a loss is not a number near step {first + i + 1} (epoch {epoch}): {means}; the last good "
                    "snapshot is that of the epoch before; lower --learning_rate, or use --mixed_precision=float32"
                )
            values = dict(zip(names, means))
            problem = step_function.network.why_ruined(values) if step_function.network.why_ruined else ""
            if problem:
                raise InputError(f"step {first + i + 1} (epoch {epoch}): {problem}")
            shown = {k: f"{v:.4g}" for k, v in values.items()}
            bar.set_postfix({**shown, "lr": f"{learning_rate:.2g}"}, refresh=False)
            bar.update(count * pace.crops)
            speed = (i + 1) * pace.crops / (time.time() - began)
            log.step(first + i + 1, {**values, "learning_rate": learning_rate, "crops_per_second": speed})
            sums, totals, fetched = sums + totals, tf.zeros_like(totals), i + 1
    means = [round(float(v) / pace.steps, 6) for v in sums]
    return {
        "epoch": epoch,
        "step": first + pace.steps,
        **dict(zip(names, means)),
        "learning_rate": learning_rate,
        "crops_per_second": round(speed, 2),
        "seconds": round(time.time() - began, 1),
    }
