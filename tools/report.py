"""Gather runs into one table like the experiment log's, the published row beside each, with training curves."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from tfcpn.base.errors import InputError
from tfcpn.base.files import write_atomically
from tfcpn.report.curves import draw_curves
from tfcpn.report.page import markdown, page
from tfcpn.report.runs import read_run, rows
from tfcpn.settings.command import Command, Options
from tfcpn.settings.flag import path, words

RUNS = "Folders of runs, separated by commas; may hold wildcards, such as 'runs/*'."
COMMAND = Command(
    "python tools/report.py",
    __doc__,
    {
        "What": [words("runs", (), RUNS, required=True)],
        "Where": [path("output", "report", "Folder for report.md, report.html and curves.png.")],
    },
)


def main(options: Options) -> None:
    own = options.own
    folders = []
    for pattern in own.runs:
        found = sorted(Path(p) for p in glob.glob(os.path.expanduser(pattern)) if Path(p).is_dir())
        if not found:
            raise InputError(f"--runs={pattern}: there is no such folder")
        folders += found
    evaluations, logs = [], {}
    for folder in dict.fromkeys(folders):
        found, log = read_run(folder)
        evaluations += found
        if log:
            logs[folder] = log
    if not evaluations:
        raise InputError(f"--runs={','.join(own.runs)}: nothing is evaluated there; python -m tfcpn.eval does it")
    # By name, where that is enough to tell them apart.
    names = [folder.name for folder in logs]
    logs = {folder.name if names.count(folder.name) == 1 else str(folder): log for folder, log in logs.items()}
    table = rows(evaluations)
    output = Path(own.output)
    curves = draw_curves(logs) if logs else None
    if curves:
        write_atomically(output / "curves.png", curves)
    write_atomically(output / "report.md", markdown(table, bool(curves)))
    write_atomically(output / "report.html", page(table, curves))
    print(markdown(table, False))
    print(f"written: {output / 'report.md'}, {output / 'report.html'}")


if __name__ == "__main__":
    COMMAND.run(main)
