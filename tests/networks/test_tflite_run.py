"""How many threads TensorFlow Lite gets."""

import os

import pytest

from tfcpn.networks import tflite_run


@pytest.mark.parametrize("idle, expected", [(0, 1), (10, 1), (19, 2), (21, 2), (40, 4), (80, 4)])
def test_as_many_threads_as_cores_are_idle(monkeypatch, tmp_path, idle, expected):
    """Idle ticks of a hundredth of a second, of all of four cores, in the tenth of a second that we look."""
    stat = tmp_path / "stat"
    ticks = os.sysconf("SC_CLK_TCK") // 100
    stat.write_text(f"cpu 1 2 3 {1000 * ticks} 5\ncpu0 1 2 3 4 5\n")
    monkeypatch.setattr(tflite_run, "_STAT", stat)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(4), raising=False)
    later = lambda seconds: stat.write_text(f"cpu 1 2 3 {(1000 + idle) * ticks} 5\n")  # noqa: E731
    monkeypatch.setattr("time.sleep", later)
    assert tflite_run.idle_cores() == expected


def test_where_nobody_counts_all_cores_are_taken(monkeypatch, tmp_path):
    monkeypatch.setattr(tflite_run, "_STAT", tmp_path / "nowhere")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(3), raising=False)
    assert tflite_run.idle_cores() == 3
