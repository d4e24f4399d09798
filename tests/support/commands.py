"""The project's commands: inside this process, where they cost nothing, or in one of their own."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parent.parent.parent
TENSORFLOW_ON_CPU = {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(ROOT)}


def run_process(*words, cwd=ROOT, check=True, environment=None, timeout=900) -> SimpleNamespace:
    """Run `python words...` as a user does; returns status, out and err.

    check: fail if it does not succeed.
    """
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env={**os.environ, **TENSORFLOW_ON_CPU, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if check:
        assert done.returncode == 0, done.stderr[-3000:]
    return SimpleNamespace(status=done.returncode, out=done.stdout, err=done.stderr)


def _forget_precision() -> None:
    """A command sets the precision of its process; the next test's layers are not to be built in
    it.
    """
    device = sys.modules.get("tfcpn.utils.device")
    if device is not None:
        device.set_precision("float32")


def run_here(*words, check=True) -> SimpleNamespace:
    """The same in this process.

    words: "tools/x.py" or "-m", "tfcpn.x", then flags. A traceback fails the test.
    """
    words = [str(word) for word in words]
    if words[0] == "-m":
        module, arguments = importlib.import_module(words[1]), words[2:]
    else:
        module, arguments = importlib.import_module(Path(words[0]).stem), words[1:]
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            module.COMMAND.run(module.main, arguments)
        except SystemExit as stop:
            status = stop.code
        finally:
            _forget_precision()
    if isinstance(status, str):  # as the interpreter does at the end of a process
        err.write(f"{status}\n")
        status = 1
    if check:
        assert status == 0, err.getvalue()[-3000:]
    return SimpleNamespace(status=status, out=out.getvalue(), err=err.getvalue())
