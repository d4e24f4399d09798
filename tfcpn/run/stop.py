"""SIGTERM and SIGINT: a wish to stop, granted when it loses nothing."""

from __future__ import annotations

import logging
import signal
import threading
from contextlib import contextmanager

from tfcpn.base.errors import Preempted

_log = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Within `with`, the signals of SIGNALS are a wish: `wanted` names the one that came.

    While it is `held`, whoever holds looks at `wanted` when it can stop; else, and at a second signal, `Stopped` is
    raised at once, wherever the program is. Outside the main thread, which alone hears of signals, nothing is done.
    """

    def __init__(self):
        self.wanted = ""
        self._held = False
        self._before: dict = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._heard) for number in SIGNALS}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame) -> None:
        again, self.wanted = self.wanted, signal.Signals(number).name
        if again or not self._held:
            raise Preempted(f"{self.wanted}: stopped")
        _log.warning("%s: finishing the step and saving; once more stops at once", self.wanted)

    @contextmanager
    def held(self):
        """Within this, a first signal only sets `wanted`."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
