"""When a run saves within an epoch, and when it stops: the same step for all of its processes."""

from __future__ import annotations

import time
from typing import NamedTuple

import tensorflow as tf

from tfcpn.run.stop import StopRequest


class Wish(NamedTuple):
    """1 for yes: to save after a step, and to stop after it."""

    save: float
    stop: float


class CheckpointSchedule:
    """minutes: between saves within an epoch; 0: none. request: whether somebody wants the run to stop. saves:
    whether this process's clock counts, which is the one that writes. together: whether there are other processes.

    Several processes must save and stop after the same step, since reading a variable may need all of them. Each puts
    its wish into the step, which adds them up as it adds up gradients; the sum is read a step later, when it is
    there.
    """

    def __init__(
        self, minutes: float, request: StopRequest, saves: bool = True, together: bool = False
    ):
        self.seconds, self.request, self.saves, self.together = (
            minutes * 60,
            request,
            saves,
            together,
        )
        self.stopping = False
        self._saved = time.monotonic()
        self._agreed: tf.Tensor | None = None

    def wish(self) -> Wish:
        """What this process wants after the next step."""
        due = self.saves and self.seconds and time.monotonic() - self._saved >= self.seconds
        return Wish(float(bool(due)), float(bool(self.request.wanted)))

    def decide(self, wish: Wish, agreed: tf.Tensor, last: bool = False) -> tuple[bool, bool]:
        """Whether to save and whether to stop now. agreed: the mean of all processes' wishes for this step. last:
        whether it is the epoch's, whose save waits for it anyway.
        """
        if self.together and last:
            wish = Wish(*agreed.numpy())
        elif self.together:
            earlier, self._agreed = self._agreed, agreed
            wish = Wish(*earlier.numpy()) if earlier is not None else Wish(0.0, 0.0)
        save, self.stopping = wish.save > 0, wish.stop > 0
        if save or self.stopping:
            self.saved()
        return save, self.stopping

    def saved(self) -> None:
        """Count anew from now on. To be called by all processes after the same step."""
        self._saved, self._agreed = time.monotonic(), None
