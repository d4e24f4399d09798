"""Tabulate runs next to tf-cpn's log, or analyze where an evaluation loses AP."""

from __future__ import annotations

import glob
import os
import time
from pathlib import Path

from tfcpn.analysis.run_table import draw_curves, markdown, page, read_run, rows
from tfcpn.cli import Command, Options, integer, path, string_list
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

RUNS = "Folders of runs, separated by commas; may hold wildcards, such as 'runs/*'."
COMMAND = Command(
    "python tools/report.py",
    __doc__,
    {
        "What": [
            string_list("runs", (), RUNS),
            string_list(
                "analyze",
                (),
                "Instead of --runs an evaluation's folder, such as runs/square/eval/epoch_0350: "
                "AP by error types, keypoints and groups of people, and the worst people with "
                "images; or two folders, comma-separated, person by person.",
            ),
        ],
        "Where": [
            path(
                "output",
                "report",
                "Folder for report.md, report.html and curves.png, or for analysis.html.",
            ),
            path("images", "", "--analyze: folder of the validation images, if not the run's own."),
            integer(
                "watch",
                0,
                "--runs: write the report again every so many seconds until interrupted; the page "
                "reloads itself.",
                minimum=0,
            ),
        ],
    },
)


def analyze(folders: tuple[str, ...], images: str, output: Path) -> None:
    """Write the analysis of one evaluation, or of two of the same people."""
    from tfcpn.analysis.evaluation import read_evaluation
    from tfcpn.analysis.page import page as analysis_page

    if len(folders) > 2:
        raise InputError(f"--analyze={','.join(folders)}: expected one evaluation, or two")
    evaluations = [read_evaluation(Path(os.path.expanduser(folder)), images) for folder in folders]
    first, last = evaluations[0], evaluations[-1]
    ids = [[person.id for person in evaluation.all_people] for evaluation in (first, last)]
    if ids[0] != ids[1] or first.skeleton != last.skeleton:
        raise InputError(f"{folders[1]}: is on other people than {folders[0]}")
    write_atomically(output / "analysis.html", analysis_page(evaluations))
    for evaluation in evaluations:
        print(evaluation.name)
        for kind, gain in evaluation.gains.items():
            print(f"  {kind:<11}{gain:+.3f} AP gain")
    print(f"written: {output / 'analysis.html'}")


def main(options: Options) -> None:
    args = options.args
    if args.analyze:
        if args.runs:
            raise InputError("expected --runs or --analyze, not both")
        if args.watch:
            raise InputError("--watch is of --runs; an analysis is of an evaluation that has ended")
        analyze(args.analyze, args.images, Path(args.output))
        return
    if args.images:
        raise InputError("--images is of --analyze")
    if not args.runs:
        raise InputError(
            "--runs is missing, or --analyze for one evaluation; see python tools/report.py --help"
        )
    files = f"{Path(args.output) / 'report.md'}, {Path(args.output) / 'report.html'}"
    if not args.watch:
        print(report(args.runs, Path(args.output), 0))
        print(f"written: {files}")
    while args.watch:
        try:
            report(args.runs, Path(args.output), args.watch)
            message = f"written: {files}"
        except InputError as error:  # such as a run that has not started
            message = str(error)
        print(f"{time.strftime('%H:%M:%S')}: {message}", flush=True)
        time.sleep(args.watch)


def report(runs: tuple[str, ...], output: Path, watch: int) -> str:
    """Write the report of these folders; the table. watch: after how many seconds the page is to
    load itself anew, 0 for never.
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
