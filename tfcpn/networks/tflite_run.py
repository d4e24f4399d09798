"""TensorFlow Lite's interpreter on the cores that are idle; left to itself it takes one."""

from __future__ import annotations

import os
import time
from pathlib import Path

_MOST_THREADS = 4  # more do not help networks of MediaPipe's size
_STAT, _LOOK = Path("/proc/stat"), 0.1  # where Linux counts, and for how many seconds we look


def idle_cores() -> int:
    """How many cores nobody else uses now, at least 1: TensorFlow Lite's threads wait for each other in a busy loop,
    and beside another program two of them are many times slower than one.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    if not _STAT.exists():
        return cores
    before = _idle_seconds()
    time.sleep(_LOOK)
    return min(cores, max(1, round((_idle_seconds() - before) / _LOOK)))


def _idle_seconds() -> float:
    """Of all cores together, since the machine began."""
    idle = _STAT.read_text().split("\n", 1)[0].split()[4]
    return int(idle) / os.sysconf("SC_CLK_TCK")


def make_interpreter(content: bytes, threads: int | None = None):
    """A `tf.lite.Interpreter` of a file's content, ready to run. threads: None, one an idle core and at most four.

    Raises ValueError or RuntimeError, as TensorFlow Lite does, for content that it does not run.
    """
    import tensorflow as tf

    made = tf.lite.Interpreter(
        model_content=content, num_threads=threads or min(_MOST_THREADS, idle_cores())
    )
    made.allocate_tensors()
    return made
