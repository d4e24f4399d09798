"""Users see progress within two seconds."""

import io
import re
import time

from tfcpn.utils import console


def test_only_long_phases_print_a_line(monkeypatch, capsys):
    monkeypatch.setattr(console, "FIRST_LINE_SECONDS", 60)
    with console.status("waiting for nothing"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(console, "FIRST_LINE_SECONDS", 0.05)
    with console.status("waiting"):
        time.sleep(0.3)
    assert capsys.readouterr().err == "waiting ...\n"


def test_a_terminal_shows_elapsed_seconds(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(console, "FIRST_LINE_SECONDS", 0.05)
    with console.status("waiting"):
        time.sleep(1.3)
    assert re.fullmatch(
        r"\r\x1b\[Kwaiting \.\.\.(\r\x1b\[Kwaiting \.\.\. \d s)+\n", screen.getvalue()
    )


def test_an_error_within_a_phase_propagates(capsys):
    try:
        with console.status("failing"):
            raise ValueError("it failed")
    except ValueError as error:
        assert str(error) == "it failed"


def test_a_bar_in_a_log_file_prints_early_and_then_rarely(monkeypatch):
    """The clock advances only in steps: 100 of 3 seconds."""
    now = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    with console.progress_bar(100, "steps", "step") as bar:
        bar._time = lambda: now[0]
        for step in range(100):
            now[0] += 3
            bar.update()
            if step == 0:
                assert "1/100" in log.getvalue()
    assert 12 <= log.getvalue().count("\r") <= 30


def test_a_deferred_bar_shows_nothing_for_quick_steps(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    with console.progress_bar(10, "steps", "step", immediate=False) as bar:
        assert log.getvalue() == ""
        bar.update(10)
    assert log.getvalue() == ""


def test_an_immediate_bar_is_shown_at_once(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    with console.progress_bar(10, "steps", "step"):
        assert "0/10" in log.getvalue()


def test_an_immediate_phase_is_printed_at_the_start(capsys):
    with console.status("reading", immediate=True):
        assert capsys.readouterr().err == "reading ...\n"
