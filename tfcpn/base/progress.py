"""The progress bar of everything that takes long."""

from __future__ import annotations

import sys

from tqdm import tqdm


def progress(total: int, description: str, unit: str, initial: int = 0) -> tqdm:
    """A bar on standard error with rate and time left; in a log file, one line every 20 seconds."""
    interactive = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        initial=initial,
        mininterval=0.2 if interactive else 20,
        maxinterval=1 if interactive else 30,
        dynamic_ncols=interactive,
        ncols=None if interactive else 140,
        file=sys.stderr,
    )
