"""Console output: progress bars, activity lines, and silencing native libraries."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

# Seconds until an activity is shown, and between its lines in a log file.
FIRST_LINE_SECONDS, LINE_INTERVAL_SECONDS = 1.0, 20.0


class _LogBar(tqdm):
    """Progress bar for a log file: the first line within two seconds, later ones less often."""

    def display(self, msg=None, pos=None) -> bool:
        self.mininterval = min(LINE_INTERVAL_SECONDS, 2 * self.mininterval)
        return super().display(msg, pos)


def progress_bar(
    total: int, description: str, unit: str, initial: int = 0, immediate: bool = True
) -> tqdm:
    """Return a progress bar on standard error; in a log file, at most a line every 20 seconds.

    Args:
        total: Units of work.
        description: What is done.
        unit: Name of a unit.
        initial: Units that are already done.
        immediate: Show the bar before the first unit is done. False where a `status` line is shown
            until then.
    """
    interactive = sys.stderr.isatty()
    return (tqdm if interactive else _LogBar)(
        total=total,
        desc=description,
        unit=unit,
        initial=initial,
        delay=0 if immediate else 1e-6,
        miniters=1,
        mininterval=0.2 if interactive else 0.5,
        maxinterval=1 if interactive else 30,
        dynamic_ncols=interactive,
        ncols=None if interactive else 140,
        file=sys.stderr,
    )


@contextmanager
def status(description: str, immediate: bool = False) -> Iterator[None]:
    """Show on standard error what the block does and for how long, if it takes over a second.

    Args:
        description: The activity as a participle, such as "reading annotations.json".
        immediate: Show the line before the block starts. For work that holds Python's lock for
            seconds, during which the reporting thread cannot run.
    """
    stream, start, over = sys.stderr, time.monotonic(), threading.Event()
    interactive = stream.isatty()
    if immediate:
        stream.write(f"{description} ..." if interactive else f"{description} ...\n")
        stream.flush()

    def report() -> None:
        wait, shown = (
            LINE_INTERVAL_SECONDS if immediate and not interactive else FIRST_LINE_SECONDS,
            immediate,
        )
        while not over.wait(wait):
            line = f"{description} ..." + (f" {time.monotonic() - start:.0f} s" if shown else "")
            stream.write(f"\r\x1b[K{line}" if interactive else f"{line}\n")
            stream.flush()
            wait, shown = 1.0 if interactive else LINE_INTERVAL_SECONDS, True
        if shown and interactive:
            stream.write("\n")

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        over.set()
        reporter.join()


def import_tensorflow() -> None:
    """Import TensorFlow, which takes seconds, and show that on the console."""
    if "tensorflow" not in sys.modules:
        with status("starting TensorFlow", immediate=True):
            import tensorflow  # noqa: F401


@contextmanager
def suppress_stderr() -> Iterator[None]:
    """Discard native stderr output inside the context; exceptions propagate."""
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
