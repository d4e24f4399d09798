"""Runs and their evaluations as a table next to tf-cpn's experiment log, and training curves."""

from __future__ import annotations

import base64
import csv
import dataclasses
import html
import io
import json
from pathlib import Path

from tfcpn.config import FIELDS, Config
from tfcpn.evaluation.metrics import format_metric
from tfcpn.utils.errors import InputError

LOG_METRICS = ("AP", "AP50", "AP75", "APm", "APl")
DATASET = "person_keypoints_val2017.json"
# What may differ from the log's runs and still be the same experiment.
_ANY = {"seed", "init_weights", "shuffle_buffer", "strategy"}
# As in a metrics.json: lists for tuples.
_DEFAULTS = json.loads(json.dumps(dataclasses.asdict(Config())))
_BASE = {
    name: _DEFAULTS[name]
    for name, field in FIELDS.items()
    if field.metadata["scope"] in ("model", "train") and name not in _ANY
}
_EVALUATED = (
    "boxes",
    "flip_test",
    "eval_people",
    "align_source",
    "first_pass_rotations",
    "decoder",
    "result_nms",
)
_BASE |= {name: _DEFAULTS[name] for name in _EVALUATED}
_SQUARE = {**_BASE, "input_size": [256, 256], "align": "square"}
_BLAZEPOSE = {
    **_BASE,
    "input_size": [256, 256],
    "align": "blazepose",
    "align_rotate": False,
    "align_radius": "nose",
}
_BLAZEPOSE |= {"align_missing": "drop"}
_SCALE1 = {**_BASE, "heatmap_scale": 1.0}
_NOFLIP = {"flip_test": False}
_ALIGNABLE = {**_BLAZEPOSE, **_NOFLIP, "eval_people": "alignable"}

# Settings, epoch, AP, AP50, AP75, APm, APl. All on COCO val2017.
ROWS = [
    (_BASE, 400, (0.702, 0.904, 0.782, 0.677, 0.746)),
    (_BASE, 350, (0.702, 0.904, 0.782, 0.677, 0.744)),
    (_SCALE1, 350, (0.599, 0.843, 0.666, 0.574, 0.635)),
    (_SCALE1, 400, (0.606, 0.853, 0.669, 0.581, 0.644)),
    (_SCALE1, 500, (0.609, 0.853, 0.679, 0.586, 0.651)),
    (_SCALE1, 600, (0.613, 0.854, 0.680, 0.588, 0.653)),
    (_SCALE1, 700, (0.613, 0.854, 0.679, 0.589, 0.653)),
    (_SCALE1, 950, (0.613, 0.854, 0.679, 0.589, 0.653)),
    (_SQUARE, 400, (0.702, 0.904, 0.781, 0.676, 0.746)),
    (_SQUARE, 350, (0.703, 0.913, 0.781, 0.675, 0.748)),
    ({**_SQUARE, **_NOFLIP}, 400, (0.691, 0.902, 0.768, 0.665, 0.732)),
    ({**_SQUARE, **_NOFLIP}, 350, (0.690, 0.903, 0.759, 0.664, 0.731)),
    (_BLAZEPOSE, 400, (0.077, 0.120, 0.077, 0.091, 0.191)),
    ({**_BLAZEPOSE, **_NOFLIP}, 350, (0.077, 0.117, 0.079, 0.088, 0.185)),
    ({**_BLAZEPOSE, **_NOFLIP}, 200, (0.076, 0.116, 0.078, 0.087, 0.183)),
    (_ALIGNABLE, 400, (0.131, 0.202, 0.133, 0.175, 0.321)),
    (_ALIGNABLE, 350, (0.131, 0.202, 0.134, 0.175, 0.319)),
    (_ALIGNABLE, 200, (0.076, 0.116, 0.078, 0.087, 0.183)),
]
# tf-cpn's own row used a detector's boxes, whatever their file is called.
_DETECTOR = {name: value for name, value in _BASE.items() if name != "boxes"}
TF_CPN = (_DETECTOR, 350, (0.697, 0.883, 0.770, 0.662, 0.761))


def published(settings: dict, epoch: int) -> dict[str, float] | None:
    """Return the log's metrics for settings of a metrics.json at an epoch, if it has them."""
    if Path(settings.get("val_annotations", "")).name != DATASET:
        return None
    rows = ROWS if settings.get("boxes", "gt") == "gt" else [TF_CPN]
    for wanted, row_epoch, values in rows:
        # Settings missing in an older file had their defaults.
        if epoch == row_epoch and all(
            settings.get(name, value) == value for name, value in wanted.items()
        ):
            return dict(zip(LOG_METRICS, values))
    return None


PCK = ("PCK@.2", "PCK@.1")
DEFAULT_DETECTOR = FIELDS["detector"].default
SETTINGS = {
    "input_size",
    "heatmap_scale",
    "align",
    "boxes",
    "flip_test",
}  # settings shown in the table


def curves(columns) -> list[str]:
    """Return the columns of a training log to draw: losses, their total, and AP."""
    columns = list(columns)
    return [*columns[columns.index("step") + 1 : columns.index("decay")], "total", "AP"]


def read_run(folder: Path) -> tuple[list[dict], list[dict]]:
    """Return the evaluations of a run, as in metrics.json, and the rows of its training log."""
    evaluations, log = [], []
    for path in sorted(folder.glob("eval/*/metrics.json")):
        try:
            evaluation = json.loads(path.read_text())
            missing = {"experiment", "epoch", "settings", *LOG_METRICS} - set(evaluation)
            missing |= SETTINGS - set(evaluation.get("settings", {}))
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: not valid JSON ({error})") from error
        if missing:
            raise InputError(
                f"{path}: not the metrics of an evaluation, lacks {', '.join(sorted(missing))}"
            )
        evaluations.append(evaluation)
    if (folder / "metrics.csv").exists():
        try:
            with (folder / "metrics.csv").open() as file:
                reader = csv.DictReader(file)
                log = list(reader)
            names = ("epoch", *curves(reader.fieldnames or ()))
            log = [{name: float(row[name]) if row[name] else None for name in names} for row in log]
        except (KeyError, ValueError, TypeError, csv.Error) as error:
            raise InputError(
                f"{folder / 'metrics.csv'}: not the training log of a run ({error})"
            ) from error
    return evaluations, log


def _detector(path: str) -> str:
    return "MediaPipe's detector" + ("" if path == DEFAULT_DETECTOR else f" {path}")


def describe_evaluation(evaluation: dict) -> str:
    """Describe how an evaluation differs from others."""
    s = evaluation["settings"]
    words = ["{}x{}".format(*s["input_size"])]
    if s.get("network", "cpn") == "cpn":
        words.append(f"scale {s['heatmap_scale']:g}" + (" free" * bool(s.get("scale_free"))))
    else:
        words += [s["network"], *["refined"] * bool(s.get("refine_landmarks"))]
    words.append(s["align"])
    if s["align"] == "blazepose":
        words[-1] += " rotated" if s.get("align_rotate", True) else " not rotated"
        words[-1] += ", others dropped" if s.get("align_missing") == "drop" else ""
        turns = f" x{s['first_pass_rotations']}" if s.get("first_pass_rotations", 1) > 1 else ""
        words.append(
            {
                "gt": "points annotated",
                "detections": "points detected",
                "detector": _detector(s.get("detector", DEFAULT_DETECTOR)),
                "two_pass": "two-pass" + turns,
            }[s.get("align_source", "gt")]
        )
    if s.get("predict_align_points"):
        words.append("alignment points predicted")
    words.append("gt boxes" if s["boxes"] == "gt" else Path(s["boxes"]).name)
    words.append("flip" if s["flip_test"] else "no flip")
    for name, usual in (("decoder", "tf_cpn"), ("mixed_precision", "float32")):
        words += [s[name]] if s.get(name, usual) != usual else []
    if s.get("result_nms", "none") == "oks":
        words.append(f"OKS-NMS at {s.get('nms_oks', 0.9):g}")
    elif s.get("result_nms", "none") == "soft":
        words.append("Soft-NMS")
    if s.get("pck_norm", "auto") != "auto":
        words.append(f"PCK by {s['pck_norm']}")
    dataset = Path(s.get("val_annotations", "")).stem
    if not dataset.startswith("person_keypoints_val"):
        words.append(f"on {dataset}")
    counted = evaluation.get("people_counted", evaluation.get("people"))
    if counted != evaluation.get("people"):
        words.append(f"{counted} of {evaluation['people']} people")
    return ", ".join(words)


def rows(evaluations: list[dict]) -> list[list[str]]:
    """Return the rows of the table, one for each evaluation."""
    table = []
    for e in sorted(
        evaluations, key=lambda e: (e["experiment"], describe_evaluation(e), e["epoch"])
    ):
        log = published(e["settings"], e["epoch"])
        own = [format_metric(e[name]) for name in LOG_METRICS]
        theirs = [format_metric(log[name]) if log else "" for name in LOG_METRICS]
        pck = [format_metric(e.get(name)) if name in e else "" for name in PCK]
        table.append(
            [e["experiment"], describe_evaluation(e), str(e["epoch"]), *own, *theirs, *pck]
        )
    return table


def header() -> list[str]:
    """Return the header of the table."""
    return [
        "experiment",
        "what",
        "epoch",
        *LOG_METRICS,
        *(f"log's {name}" for name in LOG_METRICS),
        *PCK,
    ]


_STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem}"
    "table{border-collapse:collapse}"
    "th,td{padding:.3rem .6rem;border-bottom:1px solid #ddd;text-align:right}"
    "th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}img{max-width:100%}"
)


def markdown(table: list[list[str]], with_curves: bool) -> str:
    """Return the table of runs as Markdown."""
    lines = [
        "# Runs",
        "",
        *("| " + " | ".join(row) + " |" for row in [header(), ["---"] * len(header()), *table]),
    ]
    lines += [
        "",
        "The log's numbers are the published ones of the same settings, on COCO val2017.",
    ]
    return "\n".join(lines + (["", "![Training curves](curves.png)"] if with_curves else [])) + "\n"


def page(table: list[list[str]], curves: bytes | None, watch: int = 0) -> str:
    """Return the table of runs as an HTML file with the curves inside.

    Args:
        table: Rows of cells.
        curves: PNG of the training curves.
        watch: Seconds after which the page reloads; 0 for never.
    """

    def line(tag, cells):
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    body = line("th", header()) + "".join(line("td", row) for row in table)
    refresh = f'<meta http-equiv="refresh" content="{watch}">' if watch else ""
    image = ""
    if curves:
        data = base64.b64encode(curves).decode()
        image = f'<img alt="Training curves" src="data:image/png;base64,{data}">'
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{refresh}<title>Runs</title>'
        f"<style>{_STYLE}</style>"
        f"<h1>Runs</h1><table>{body}</table>"
        "<p>The log's numbers are the published ones of the same settings, on COCO "
        f"val2017.</p>{image}"
        "</html>\n"
    )


def draw_curves(logs: dict[str, list[dict]]) -> bytes:
    """Return a PNG of losses and AP by epoch, with a line for each run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # Runs of several networks have several losses.
    names = list(dict.fromkeys(name for log in logs.values() for name in log[0] if name != "epoch"))
    names = [*(name for name in names if name not in ("total", "AP")), "total", "AP"]
    size = 4.2 * len(names) + 2, 3.6
    figure, axes = pyplot.subplots(1, len(names), figsize=size, layout="constrained")
    # Thirty runs can be distinguished.
    looks = pyplot.cycler(linestyle=["-", "--", ":"]) * pyplot.rcParams["axes.prop_cycle"]
    for axis, name in zip(axes, names):
        values = []
        axis.set_prop_cycle(looks)
        for run, log in logs.items():
            points = [(row["epoch"], row[name]) for row in log if row.get(name) is not None]
            values += [value for _, value in points if value > 0]
            axis.plot(
                *zip(*(points or [(0, float("nan"))])),
                marker="o" if name == "AP" else None,
                label=run,
            )
        axis.set(title=name if name == "AP" else f"{name} loss", xlabel="epoch")
        # Runs of several heatmap scales lie orders of magnitude apart.
        if name != "AP" and values and max(values) > 20 * min(values):
            axis.set_yscale("log")
        if name == "AP":
            axis.set_ylim(bottom=0)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside right center", fontsize="small"
    )
    png = io.BytesIO()
    figure.savefig(png, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return png.getvalue()
