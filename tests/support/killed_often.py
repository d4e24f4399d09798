"""python killed_often.py PLAN arguments...: run tfcpn.train with the tiny network in a sequence of
child processes. Each is killed by SIGKILL as planned; the last one runs to the end.

PLAN: JSON, a list of [name of a function, n] to kill a child in the nth call, or ["", seconds].
Prints the end of each child. Children are forked, so that only this process imports TensorFlow."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.tiny import tiny
from tfcpn import builders, train
from tfcpn.training import trainer as loop  # noqa: F401  (all that a child would import)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def deadly(name: str, number: int) -> None:
    """Kill this process in the nth call of a function."""
    module, *path = name.split(":")
    *owners, last = path[0].split(".")
    owner = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    usual, calls = getattr(owner, last), []

    def instead(*args, **named):
        calls.append(1)
        if len(calls) == number:
            die()
        return usual(*args, **named)

    setattr(owner, last, instead)


def child(plan, arguments: list[str]) -> None:
    builders.NETWORK_BUILDERS["cpn"] = tiny
    if plan and plan[0]:
        deadly(*plan)
    elif plan:
        threading.Timer(plan[1], die).start()
    with open(os.devnull, "w") as sys.stderr:
        train.COMMAND.run(train.main, arguments)


def main(plans: list, arguments: list[str]) -> None:
    for plan in [*plans, None]:
        process = os.fork()
        if not process:
            status = 1
            try:
                child(plan, arguments)
                status = 0
            except SystemExit as stop:
                status = stop.code if isinstance(stop.code, int) else 1
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        print(json.dumps([plan, status]), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
