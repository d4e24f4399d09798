"""Gather runs into one table like the experiment log's, with training curves; or see where an evaluation loses AP."""

from __future__ import annotations

import glob
import os
import time
from pathlib import Path

from tfcpn.base.errors import InputError
from tfcpn.base.files import write_atomically
from tfcpn.report.curves import draw_curves
from tfcpn.report.page import markdown, page
from tfcpn.report.runs import read_run, rows
from tfcpn.settings.command import Command, Options
from tfcpn.settings.flag import path, whole, words

RUNS = "Folders of runs, separated by commas; may hold wildcards, such as 'runs/*'."
COMMAND = Command(
    "python tools/report.py",
    __doc__,
    {
        "What": [
            words("runs", (), RUNS),
            words(
                "analyse",
                (),
                "Instead of --runs an evaluation's folder, such as runs/scale255/eval/epoch_0350: AP by kinds of "
                "errors, keypoints and people, the worst people with images; or two with a comma, person by person.",
            ),
        ],
        "Where": [
            path(
                "output",
                "report",
                "Folder for report.md, report.html and curves.png, or for analysis.html.",
            ),
            path("images", "", "--analyse: folder of the validation images, if not the run's own."),
            whole(
                "watch",
                0,
                "--runs: write the report again every so many seconds until interrupted; the page loads itself anew.",
                least=0,
            ),
        ],
    },
)


def analyse(folders: tuple[str, ...], images: str, output: Path) -> None:
    """Write the analysis of one evaluation, or of two of the same people."""
    from tfcpn.analysis.evaluated import read_evaluation
    from tfcpn.analysis.page import page as analysis_page

    if len(folders) > 2:
        raise InputError(f"--analyse={','.join(folders)}: want one evaluation, or two")
    evaluations = [read_evaluation(Path(os.path.expanduser(folder)), images) for folder in folders]
    first, last = evaluations[0], evaluations[-1]
    if [p.id for p in first.everybody] != [
        p.id for p in last.everybody
    ] or first.skeleton != last.skeleton:
        raise InputError(f"{folders[1]}: is on other people than {folders[0]}")
    write_atomically(output / "analysis.html", analysis_page(evaluations))
    for evaluation in evaluations:
        print(evaluation.name)
        for kind, gain in evaluation.gains.items():
            print(f"  {kind:<11}{gain:+.3f} AP to be won")
    print(f"written: {output / 'analysis.html'}")


def main(options: Options) -> None:
    own = options.own
    if own.analyse:
        if own.runs:
            raise InputError("want --runs or --analyse, not both")
        if own.watch:
            raise InputError("--watch is of --runs; an analysis is of an evaluation that has ended")
        analyse(own.analyse, own.images, Path(own.output))
        return
    if own.images:
        raise InputError("--images is of --analyse")
    if not own.runs:
        raise InputError(
            "--runs is missing, or --analyse for one evaluation; see python tools/report.py --help"
        )
    files = f"{Path(own.output) / 'report.md'}, {Path(own.output) / 'report.html'}"
    if not own.watch:
        print(report(own.runs, Path(own.output), 0))
        print(f"written: {files}")
    while own.watch:
        try:
            report(own.runs, Path(own.output), own.watch)
            told = f"written: {files}"
        except InputError as error:  # such as a run that has not begun
            told = str(error)
        print(f"{time.strftime('%H:%M:%S')}: {told}", flush=True)
        time.sleep(own.watch)


def report(runs: tuple[str, ...], output: Path, watch: int) -> str:
    """Write the report of these folders; the table. watch: after how many seconds the page is to load itself anew, 0
    for never.
    """
    folders = []
    for pattern in runs:
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
    if not evaluations and not (watch and logs):
        raise InputError(
            f"--runs={','.join(runs)}: nothing is evaluated there; python -m tfcpn.eval does it"
        )
    # By name, where that is enough to tell them apart.
    names = [folder.name for folder in logs]
    logs = {
        folder.name if names.count(folder.name) == 1 else str(folder): log
        for folder, log in logs.items()
    }
    table = rows(evaluations)
    curves = draw_curves(logs) if logs else None
    if curves:
        write_atomically(output / "curves.png", curves)
    write_atomically(output / "report.md", markdown(table, bool(curves)))
    write_atomically(output / "report.html", page(table, curves, watch))
    return markdown(table, False)


if __name__ == "__main__":
    COMMAND.run(main)
