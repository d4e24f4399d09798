"""One epoch: steps, what they are told by, and the row that the log gets."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import NamedTuple

import tensorflow as tf

from tfcpn.base.errors import InputError, PeerLostError, Preempted
from tfcpn.base.progress import progress, status
from tfcpn.run.log import TrainingLogger
from tfcpn.training.pauses import CheckpointSchedule

LOG_EVERY = 20  # steps between looks at the losses, each of which waits for the device
_LOSS = re.compile("aborted|heartbeat|unavailable|closed|preempted", re.I)
LARGEST = 3  # gradients that are named when a loss is not a number


class Pace(NamedTuple):
    """steps: of an epoch. crops: of a step, on all replicas. epochs: at which training ends."""

    steps: int
    crops: int
    epochs: int


class Begun(NamedTuple):
    """What an epoch has come to after some steps: all that its row needs besides the steps that are left.

    sums: of each loss up to the last look at them, which was after `looked` steps. since: sums after that.
    """

    steps: int
    looked: int
    sums: list[float]
    since: list[float]
    seconds: float


class Surroundings(NamedTuple):
    """What an epoch needs to know of its run.

    rate: the learning rate of a step, counted from 0. source: the name of the records. outside: what to say is gone
    if no more batches come and they hang on something outside this process; else empty. pauses: when to save within
    the epoch, and when to stop. save: does so. whom: who is in the batches of a step (1, 2, ... of the run), in
    words. last_good: the newest checkpoint, in words.
    """

    rate: Callable[[int], float]
    source: str
    outside: str
    pauses: CheckpointSchedule
    save: Callable[[Begun], None]
    whom: Callable[[int], str]
    last_good: Callable[[], str]


def _next_batch(batches: Iterator, run: Surroundings):
    try:
        return next(batches)
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise InputError(
            f"{run.source}: a record is damaged ({error.message}); make it again"
        ) from error
    except (tf.errors.OpError, StopIteration) as error:
        # What is wrong here would be wrong again.
        kind = PeerLostError if run.outside else InputError
        raise kind(
            lost(run.outside or "the training input stopped", error, run.last_good())
        ) from error


def tells_of_loss(error: tf.errors.OpError) -> bool:
    """Whether an error is about another process, and not about this one."""
    kinds = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    )
    return isinstance(error, kinds) or bool(_LOSS.search(error.message))


def lost(what: str, error: Exception, last_good: str) -> str:
    """What to say of something outside this process that is not there any more. Of TensorFlow's errors the line that
    tells what happened is told, not those about the graph.
    """
    lines = [
        line.strip() for line in str(getattr(error, "message", error)).splitlines() if line.strip()
    ]
    told = [line for line in lines if _LOSS.search(line)]
    cause = (told or lines or [type(error).__name__])[-1][:300]
    return f"{what} ({cause}); start again; {last_good}"


def _check_finite(
    window: list, names: tuple[str, ...], last: int, epoch: int, step_function, run: Surroundings
):
    """Raise InputError for the first step of a window, which ends with step `last`, whose losses are not numbers."""
    for back, result in zip(range(len(window) - 1, -1, -1), window):
        losses = [float(v) for v in result.losses]
        if all(math.isfinite(v) for v in losses):
            continue
        norms = sorted(
            zip(result.norms.numpy().tolist(), step_function.variable_names), key=_largest_first
        )
        largest = ", ".join(f"{name} {norm:.3g}" for norm, name in norms[:LARGEST])
        told = ", ".join(f"{name} {value:.4g}" for name, value in zip(names, losses))
        raise InputError(
            f"step {last - back} (epoch {epoch}): a loss is not a number ({told}); {run.whom(last - back)}; largest "
            f"gradients: {largest}; {run.last_good()}; lower --learning_rate, or use --mixed_precision=float32"
        )


def _largest_first(pair: tuple[float, str]):
    """What is not a number first, then by size."""
    return -math.inf if math.isnan(pair[0]) else -pair[0], pair[1]


def train_epoch(
    step_function: Callable,
    batches: Iterator,
    epoch: int,
    pace: Pace,
    log: TrainingLogger,
    run: Surroundings,
    begun: Begun | None = None,
) -> dict:
    """Train one epoch, from its start or from where it was begun; returns its row for the log.

    step_function: a `TrainingStep`. Raises InputError for a loss that is not a number, or for losses that tell that
    the network is being ruined, no later than after 20 steps of them; Stopped after a signal, when all is saved.
    """
    names = step_function.loss_names
    first = (epoch - 1) * pace.steps
    done = begun or Begun(0, 0, [0.0] * len(names), [0.0] * len(names), 0.0)
    sums, since, looked = tf.constant(done.sums), tf.constant(done.since), done.looked
    began, window, rate = time.time() - done.seconds, [], None
    with progress(
        pace.steps * pace.crops,
        f"epoch {epoch}/{pace.epochs}",
        "crop",
        done.steps * pace.crops,
        immediate=False,
    ) as bar:
        for i in range(done.steps, pace.steps):
            with status("reading the first people") if i == done.steps else nullcontext():
                crops, keypoints = _next_batch(batches, run)
            if run.rate(first + i) != rate:
                rate = run.rate(first + i)
                step_function.set_rate(rate)
            wish = run.pauses.wish()
            with tf.device("CPU:0"):  # see `augmentation.stateless_seed`
                number = tf.constant(first + i, tf.int64)
            with nullcontext() if step_function.compiled else status("compiling the training step"):
                result = step_function(crops, keypoints, number, tf.constant(wish))
            step_function.compiled = True
            bar.update(pace.crops)
            since += result.losses
            window.append(result)
            if (i + 1) % LOG_EVERY == 0 or i + 1 == pace.steps:
                _check_finite(window, names, first + i + 1, epoch, step_function, run)
                values = {name: float(v) / (i + 1 - looked) for name, v in zip(names, since)}
                problem = (
                    step_function.network.check_diverged(values)
                    if step_function.network.check_diverged
                    else ""
                )
                if problem:
                    raise InputError(f"step {first + i + 1} (epoch {epoch}): {problem}")
                shown = {k: f"{v:.4g}" for k, v in values.items()}
                bar.set_postfix({**shown, "lr": f"{rate:.2g}"}, refresh=False)
                speed = (i + 1) * pace.crops / (time.time() - began)
                norm = float(tf.norm(result.norms))
                beside = {"gradient_norm": norm, "learning_rate": rate, "crops_per_second": speed}
                log.step(first + i + 1, {**values, **beside})
                sums, since, looked, window = sums + since, tf.zeros_like(since), i + 1, []
            save, stop = run.pauses.decide(wish, result.wishes, i + 1 == pace.steps)
            if (save or stop) and i + 1 < pace.steps:
                _check_finite(window, names, first + i + 1, epoch, step_function, run)
                run.save(Begun(i + 1, looked, _numbers(sums), _numbers(since), time.time() - began))
            if stop and i + 1 < pace.steps:
                raise Preempted(
                    f"stopped within epoch {epoch}, after {i + 1} of its {pace.steps} steps"
                )
    means = [round(float(v) / pace.steps, 6) for v in sums]
    row = {
        "epoch": epoch,
        "step": first + pace.steps,
        **dict(zip(names, means)),
        "learning_rate": float(f"{rate:.6g}"),
    }
    return {**row, "crops_per_second": round(speed, 2), "seconds": round(time.time() - began, 1)}


def _numbers(values: tf.Tensor) -> list[float]:
    """float32 as Python's numbers, which JSON keeps to the last bit."""
    return [float(v) for v in values]
