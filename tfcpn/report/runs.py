"""What lies in the folders of runs: their evaluations, as rows of the log's table, and their training logs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from tfcpn.base.errors import InputError
from tfcpn.report.published import LOG_METRICS, published
from tfcpn.report.table import cell
from tfcpn.settings.config import FIELDS

PCK = ("PCK@.2", "PCK@.1")
USUAL_DETECTOR = FIELDS["detector"].default
SETTINGS = {"input_size", "heatmap_scale", "align", "boxes", "flip_test"}  # what the table tells


def curves(columns) -> list[str]:
    """What of a training log is drawn: the losses of its network, their sum and the AP."""
    columns = list(columns)
    return [*columns[columns.index("step") + 1 : columns.index("decay")], "total", "AP"]


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
    return "MediaPipe's detector" + ("" if path == USUAL_DETECTOR else f" {path}")


def what(evaluation: dict) -> str:
    """How an evaluation differs from the next one, in words."""
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
                "detector": _detector(s.get("detector", USUAL_DETECTOR)),
                "two_pass": "two-pass" + turns,
            }[s.get("align_source", "gt")]
        )
    if s.get("predict_align_points"):
        words.append("two more keypoints")
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
    """The cells of the table, one row for each evaluation."""
    table = []
    for e in sorted(evaluations, key=lambda e: (e["experiment"], what(e), e["epoch"])):
        log = published(e["settings"], e["epoch"])
        own = [cell(e[name]) for name in LOG_METRICS]
        theirs = [cell(log[name]) if log else "" for name in LOG_METRICS]
        pck = [cell(e.get(name)) if name in e else "" for name in PCK]
        table.append([e["experiment"], what(e), str(e["epoch"]), *own, *theirs, *pck])
    return table


def header() -> list[str]:
    return [
        "experiment",
        "what",
        "epoch",
        *LOG_METRICS,
        *(f"log's {name}" for name in LOG_METRICS),
        *PCK,
    ]
