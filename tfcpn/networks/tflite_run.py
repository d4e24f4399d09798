"""TensorFlow Lite's interpreter on the cores that are idle; left to itself it takes one."""

from __future__ import annotations

import os

_MOST_THREADS = 4  # more do not help networks of MediaPipe's size


def idle_cores() -> int:
    """How many cores nobody else uses, at least 1: TensorFlow Lite's threads wait for each other in a busy loop, and
    beside another program two of them are many times slower than one.
    """
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1, round(_cores() - busy))


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def interpreter(content: bytes, threads: int | None = None):
    """A `tf.lite.Interpreter` of a file's content, ready to run. threads: None, one an idle core and at most four.

    Raises ValueError or RuntimeError, as TensorFlow Lite does, for content that it does not run.
    """
    import tensorflow as tf

    made = tf.lite.Interpreter(model_content=content, num_threads=threads or min(_MOST_THREADS, idle_cores()))
    made.allocate_tensors()
    return made
