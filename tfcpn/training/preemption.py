"""Signals that ask a run to stop, and when it saves and stops within an epoch."""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import contextmanager
from typing import NamedTuple

import tensorflow as tf

from tfcpn.utils.errors import Preempted

_log = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Context in which SIGTERM and SIGINT ask the program to stop.

    While the request is `deferred`, a first signal only sets `signal_name`, for the program to
    check when it can stop. Otherwise, and at a second signal, `Preempted` is raised immediately.
    Outside the main thread, which alone receives signals, nothing changes.

    Attributes:
        signal_name: Name of the signal that was received; "" if none.
    """

    def __init__(self):
        self.signal_name = ""
        self._is_deferred = False
        self._handlers: dict = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {n: signal.signal(n, self._on_signal) for n in SIGNALS}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame) -> None:
        is_second, self.signal_name = bool(self.signal_name), signal.Signals(number).name
        if is_second or not self._is_deferred:
            raise Preempted(f"{self.signal_name}: stopped")
        _log.warning("%s: finishing the step and saving; again to stop at once", self.signal_name)

    @contextmanager
    def deferred(self):
        """Defer a first signal inside the context."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False


class Requests(NamedTuple):
    """What a process asks for after a step: 1 for yes, 0 for no."""

    save: float
    stop: float


class CheckpointSchedule:
    """When a run saves within an epoch, and when it stops.

    Several processes must save and stop after the same step, since reading a variable may need all
    of them. Each puts its requests into the step, which adds them up like gradients; the sum is
    read one step later, when it is available.

    Attributes:
        is_stopping: Whether it was decided to stop.
    """

    def __init__(
        self,
        minutes: float,
        request: StopRequest,
        *,
        is_chief: bool = True,
        is_distributed: bool = False,
    ):
        """Create the schedule.

        Args:
            minutes: Time between checkpoints within an epoch; 0 for none.
            request: A request to stop.
            is_chief: Whether the clock of this process counts.
            is_distributed: Whether there are other processes.
        """
        self.seconds, self.request = minutes * 60, request
        self.is_chief, self.is_distributed = is_chief, is_distributed
        self.is_stopping = False
        self._last_save = time.monotonic()
        self._previous: tf.Tensor | None = None

    def requests(self) -> Requests:
        """Return what this process asks for after the next step."""
        elapsed = time.monotonic() - self._last_save
        is_due = self.is_chief and self.seconds and elapsed >= self.seconds
        return Requests(float(bool(is_due)), float(bool(self.request.signal_name)))

    def decide(
        self, requests: Requests, combined: tf.Tensor, *, is_last: bool = False
    ) -> tuple[bool, bool]:
        """Return whether to save and whether to stop now.

        Args:
            requests: The requests of this process.
            combined: (2,) mean of all processes' requests for this step.
            is_last: Whether it is the last step of the epoch, which is saved anyway.
        """
        if self.is_distributed and is_last:
            requests = Requests(*combined.numpy())
        elif self.is_distributed:
            previous, self._previous = self._previous, combined
            requests = Requests(*previous.numpy()) if previous is not None else Requests(0.0, 0.0)
        save, self.is_stopping = requests.save > 0, requests.stop > 0
        if save or self.is_stopping:
            self.restart()
        return save, self.is_stopping

    def restart(self) -> None:
        """Restart the clock, in all processes after the same step."""
        self._last_save, self._previous = time.monotonic(), None
