"""What a user sees of everything that takes long: a progress bar, or a line that says what is going on."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

# Seconds before something is worth a line, and between lines in a log file.
FIRST_LINE, LATER_LINES = 1.0, 20.0


class _LogBar(tqdm):
    """A bar for a log file: its first line comes within two seconds, the later ones less and less often."""

    def display(self, msg=None, pos=None) -> bool:
        self.mininterval = min(LATER_LINES, 2 * self.mininterval)
        return super().display(msg, pos)


def progress(total: int, description: str, unit: str, initial: int = 0, at_once: bool = True) -> tqdm:
    """Make a bar on standard error with rate and time left; in a log file, a line every 20 seconds at last.

    Args:
        total: Units of work.
        description: What is done.
        unit: Name of a unit.
        initial: Units that are done already.
        at_once: Show the bar before the first unit is done. Not where a `phase` says what comes before.
    """
    interactive = sys.stderr.isatty()
    return (tqdm if interactive else _LogBar)(
        total=total,
        desc=description,
        unit=unit,
        initial=initial,
        delay=0 if at_once else 1e-6,
        miniters=1,
        mininterval=0.2 if interactive else 0.5,
        maxinterval=1 if interactive else 30,
        dynamic_ncols=interactive,
        ncols=None if interactive else 140,
        file=sys.stderr,
    )


@contextmanager
def phase(description: str, at_once: bool = False) -> Iterator[None]:
    """Say on standard error what the block does if it takes longer than a second, and for how long it has.

    Args:
        description: What is in progress, as a participle: "reading annotations.json".
        at_once: Say so before the block begins. For what keeps Python's lock for seconds, in which no other thread
            could.
    """
    stream, start, over = sys.stderr, time.monotonic(), threading.Event()
    interactive = stream.isatty()
    if at_once:
        stream.write(f"{description} ..." if interactive else f"{description} ...\n")
        stream.flush()

    def report() -> None:
        wait, shown = LATER_LINES if at_once and not interactive else FIRST_LINE, at_once
        while not over.wait(wait):
            line = f"{description} ..." + (f" {time.monotonic() - start:.0f} s" if shown else "")
            stream.write(f"\r\x1b[K{line}" if interactive else f"{line}\n")
            stream.flush()
            wait, shown = 1.0 if interactive else LATER_LINES, True
        if shown and interactive:
            stream.write("\n")

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        over.set()
        reporter.join()


def start_tensorflow() -> None:
    """Import TensorFlow, which takes seconds, and say so."""
    if "tensorflow" not in sys.modules:
        with phase("starting TensorFlow", at_once=True):
            import tensorflow  # noqa: F401
