"""Times of things that are run in turn, so that a ratio holds whatever else the machine does."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable


def cpu_seconds() -> float:
    """Seconds of CPU that this process has used, all its threads together."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_memory_mb() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_turn(
    functions: dict[str, Callable[[], object]], rounds: int, clock=time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each function in each round, after one call of each that does not count."""
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            began = clock()
            function()
            times[name].append(clock() - began)
    return times


def ratio(slow: list[float], fast: list[float]) -> float:
    """How many times longer `slow` took: the median over the rounds."""
    return statistics.median(a / b for a, b in zip(slow, fast))


def milliseconds(times: list[float], items: int = 1) -> float:
    """Return the median milliseconds for each of the `items` that a call works on."""
    return 1000 * statistics.median(times) / items


def table(rows: list[dict]) -> str:
    """Rows with the same keys as a Markdown table."""
    columns = list(rows[0])
    cells = [
        [f"{row[c]:.4g}" if isinstance(row[c], float) else str(row[c]) for c in columns]
        for row in rows
    ]
    widths = [max(len(c), *(len(row[i]) for row in cells)) for i, c in enumerate(columns)]

    def line(words):
        return "| " + " | ".join(word.ljust(width) for word, width in zip(words, widths)) + " |"

    return "\n".join(
        [line(columns), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, cells)]
    )
