"""Run commands of the project: in this process, which is fast, or in a separate one."""

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


def run_process(*arguments, cwd=ROOT, check=True, environment=None, timeout=900) -> SimpleNamespace:
    """Run `python arguments...` as a user does; return status, out and err.

    check: fail if the status is not 0.
    """
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
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
    """Reset the precision of the process after a command, for the layers of the next test."""
    device = sys.modules.get("tfcpn.utils.device")
    if device is not None:
        device.set_precision("float32")


def run_here(*arguments, check=True) -> SimpleNamespace:
    """Run a command in this process, as `run_process` does.

    arguments: "tools/x.py" or "-m", "tfcpn.x", then flags. A traceback fails the test.
    """
    arguments = [str(word) for word in arguments]
    if arguments[0] == "-m":
        module, flags = importlib.import_module(arguments[1]), arguments[2:]
    else:
        module, flags = importlib.import_module(Path(arguments[0]).stem), arguments[1:]
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            module.COMMAND.run(module.main, flags)
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
