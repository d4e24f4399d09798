"""Gather runs into one table like the experiment log's, the published row beside each, with training curves."""

from __future__ import annotations

import base64
import csv
import glob
import html
import io
import json
from pathlib import Path

from absl import flags

from reporting.published import LOG_METRICS, published
from tfcpn import command_line
from tfcpn.coco import cell
from tfcpn.errors import InputError
from tfcpn.files import write_atomically

FLAGS = flags.FLAGS
flags.DEFINE_list("runs", [], "Folders of runs, separated by commas; may hold wildcards, such as 'runs/*'.")
flags.DEFINE_string("output", "report", "Folder for report.md, report.html and curves.png.")
GROUPS = {"What": ["runs"], "Where": ["output"]}

SETTINGS = {"input_size", "heatmap_scale", "align", "boxes", "flip_test"}  # what the table tells
CURVES = ("global", "refine", "total", "AP")
_STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem}"
    "table{border-collapse:collapse}th,td{padding:.3rem .6rem;border-bottom:1px solid #ddd;text-align:right}"
    "th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}img{max-width:100%}"
)


def read_run(folder: Path) -> tuple[list[dict], list[dict]]:
    """The evaluations of a run (contents of its metrics.json files) and the rows of its training log."""
    evaluations, log = [], []
    for path in sorted(folder.glob("eval/*/metrics.json")):
        try:
            evaluation = json.loads(path.read_text())
            missing = {"experiment", "epoch", "settings", *LOG_METRICS} - set(evaluation)
            missing |= SETTINGS - set(evaluation.get("settings", {}))
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: not valid JSON ({error})") from error
        if missing:
            raise InputError(f"{path}: not the metrics of an evaluation, lacks {', '.join(sorted(missing))}")
        evaluations.append(evaluation)
    if (folder / "metrics.csv").exists():
        with (folder / "metrics.csv").open() as file:
            log = list(csv.DictReader(file))
        try:
            for row in log:
                row.update({name: float(row[name]) if row[name] else None for name in ("epoch", *CURVES)})
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{folder / 'metrics.csv'}: not the training log of a run ({error})") from error
    return evaluations, log


def what(evaluation: dict) -> str:
    """How an evaluation differs from the next one, in words."""
    s = evaluation["settings"]
    words = [
        "{}x{}".format(*s["input_size"]),
        f"scale {s['heatmap_scale']:g}" + (" free" * bool(s.get("scale_free"))),
    ]
    words.append(s["align"])
    if s["align"] == "blazepose":
        words[-1] += " rotated" if s.get("align_rotate", True) else " not rotated"
        words[-1] += ", others dropped" if s.get("align_missing") == "drop" else ""
        turns = f" x{s['first_pass_turns']}" if s.get("first_pass_turns", 1) > 1 else ""
        words.append(
            {"gt": "points annotated", "detections": "points detected"}.get(
                s.get("align_source", "gt"), "two-pass" + turns
            )
        )
    if s.get("predict_align_points"):
        words.append("19 joints")
    words.append("gt boxes" if s["boxes"] == "gt" else Path(s["boxes"]).name)
    words.append("flip" if s["flip_test"] else "no flip")
    dataset = Path(s.get("val_annotations", "")).stem
    if not dataset.startswith("person_keypoints_val"):
        words.append(f"on {dataset}")
    counted = evaluation.get("people_counted", evaluation.get("people"))
    if counted != evaluation.get("people"):
        words.append(f"{counted} of {evaluation['people']} people")
    return ", ".join(words)


def rows(evaluations: list[dict]) -> list[list[str]]:
    """The cells of the table, one row for each evaluation."""
    table = []
    for e in sorted(evaluations, key=lambda e: (e["experiment"], what(e), e["epoch"])):
        log = published(e["settings"], e["epoch"])
        own = [cell(e[name]) for name in LOG_METRICS]
        theirs = [cell(log[name]) if log else "" for name in LOG_METRICS]
        table.append([e["experiment"], what(e), str(e["epoch"]), *own, *theirs])
    return table


def header() -> list[str]:
    return ["experiment", "what", "epoch", *LOG_METRICS, *(f"log's {name}" for name in LOG_METRICS)]


def markdown(table: list[list[str]], with_curves: bool) -> str:
    lines = ["# Runs", "", *("| " + " | ".join(row) + " |" for row in [header(), ["---"] * len(header()), *table])]
    lines += [
        "",
        "The log's numbers are the published ones of the same settings, on COCO val2017.",
    ]
    return "\n".join(lines + (["", "![Training curves](curves.png)"] if with_curves else [])) + "\n"


def page(table: list[list[str]], curves: bytes | None) -> str:
    """The same as one HTML file, with the curves inside."""

    def line(tag, cells):
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    body = line("th", header()) + "".join(line("td", row) for row in table)
    image = ""
    if curves:
        image = f'<img alt="Training curves" src="data:image/png;base64,{base64.b64encode(curves).decode()}">'
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Runs</title><style>{_STYLE}</style>'
        f"<h1>Runs</h1><table>{body}</table>"
        f"<p>The log's numbers are the published ones of the same settings, on COCO val2017.</p>{image}"
        "</html>\n"
    )


def draw_curves(logs: dict[str, list[dict]]) -> bytes:
    """PNG of losses and AP by epoch, one line for each run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(CURVES), figsize=(4.2 * len(CURVES) + 2, 3.6), layout="constrained")
    # Thirty runs can be told apart.
    looks = pyplot.cycler(linestyle=["-", "--", ":"]) * pyplot.rcParams["axes.prop_cycle"]
    for axis, name in zip(axes, CURVES):
        values = []
        axis.set_prop_cycle(looks)
        for run, log in logs.items():
            points = [(row["epoch"], row[name]) for row in log if row[name] is not None]
            values += [value for _, value in points if value > 0]
            axis.plot(*zip(*(points or [(0, float("nan"))])), marker="o" if name == "AP" else None, label=run)
        axis.set(title=name if name == "AP" else f"{name} loss", xlabel="epoch")
        # Runs of several heatmap scales lie orders of magnitude apart.
        if name != "AP" and values and max(values) > 20 * min(values):
            axis.set_yscale("log")
        if name == "AP":
            axis.set_ylim(bottom=0)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize="small")
    png = io.BytesIO()
    figure.savefig(png, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return png.getvalue()


def main() -> None:
    if not FLAGS.runs:
        raise InputError("--runs is missing; see python tools/report.py --help")
    folders = []
    for pattern in FLAGS.runs:
        found = sorted(Path(p) for p in glob.glob(pattern) if Path(p).is_dir())
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
        raise InputError(f"--runs={','.join(FLAGS.runs)}: nothing is evaluated there; python -m tfcpn.eval does it")
    # By name, where that is enough to tell them apart.
    names = [folder.name for folder in logs]
    logs = {folder.name if names.count(folder.name) == 1 else str(folder): log for folder, log in logs.items()}
    table = rows(evaluations)
    output = Path(FLAGS.output)
    curves = draw_curves(logs) if logs else None
    if curves:
        write_atomically(output / "curves.png", curves)
    write_atomically(output / "report.md", markdown(table, bool(curves)))
    write_atomically(output / "report.html", page(table, curves))
    print(markdown(table, False))
    print(f"written: {output / 'report.md'}, {output / 'report.html'}")


if __name__ == "__main__":
    command_line.run(main, "python tools/report.py", __doc__, GROUPS)
