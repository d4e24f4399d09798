"""PCK of evaluated runs, split by how far people are turned from upright, with intervals: does the alignment help?"""

from __future__ import annotations

import glob
import json
import os
from pathlib import Path

import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.base.files import write_atomically
from tfcpn.data.coco import read_annotations
from tfcpn.data.json_input import read_json
from tfcpn.evaluation.pck import NAMES, correct_keypoints, reference_lengths, resolve_norm
from tfcpn.evaluation.turns import GROUPS, pck_by_rotation, torso_rotation
from tfcpn.report.runs import what
from tfcpn.report.table import cell
from tfcpn.settings.command import Command, Options
from tfcpn.settings.flag import path, words

COMMAND = Command(
    "python tools/pck_by_turn.py",
    __doc__,
    {
        "What": [
            words(
                "evaluations", (), "Folders of evaluations, such as 'runs/*/eval/*'.", required=True
            ),
            words(
                "keypoints",
                (),
                "Keypoints that count, so that networks with different ones compare; empty: all.",
            ),
        ],
        "Where": [
            path("output", "pck_by_turn.md", "Table to write; the numbers lie beside it as .json.")
        ],
    },
)


def of_evaluation(folder: Path, keypoints: tuple[str, ...] = ()) -> dict:
    """The shares of one evaluation on annotated boxes, by threshold and turn. keypoints: who count; empty: all."""
    from tfcpn.analysis.evaluated import resolve_skeleton

    metrics, results = read_json(folder / "metrics.json"), read_json(folder / "results.json")
    settings = metrics.get("settings", {}) if isinstance(metrics, dict) else {}
    if settings.get("boxes") != "gt" or not isinstance(results, list):
        raise InputError(
            f"{folder}: no evaluation on annotated boxes, so nobody knows whose keypoints these are"
        )
    _, people, skeleton, _ = read_annotations(
        settings["val_annotations"], expected=resolve_skeleton(folder, metrics)
    )
    if not skeleton.hips or not skeleton.shoulders:
        raise InputError(f"{settings['val_annotations']}: its keypoints tell no torso")
    people = [p for p in people if p.trainable]
    by_image: dict[int, list] = {}
    for result in results:
        by_image.setdefault(result["image_id"], []).append(result)
    if any(len(by_image.get(p.image_id, ())) > 1 for p in people):
        raise InputError(
            f"{folder}: has several people in an image, whose results file does not tell who is who"
        )
    found, present = (
        np.full((len(people), skeleton.count, 2), np.nan),
        np.zeros(skeleton.count, bool),
    )
    for row, person in enumerate(people):
        for result in by_image.get(person.image_id, ()):
            predicted = np.reshape(result["keypoints"], (-1, 3))
            found[row] = predicted[:, :2]
            present |= predicted[:, 2] > 0
    # What no result has its network does not.
    missing_keypoints = ~present & bool(by_image)
    if keypoints:
        missing_keypoints[
            np.setdiff1d(range(skeleton.count), skeleton.indices(keypoints, "keypoints"))
        ] = True
    keypoints, boxes = np.stack([p.keypoints for p in people]), np.stack([p.box for p in people])
    norm = resolve_norm(skeleton, settings.get("pck_norm", "auto"))
    turn, length = (
        torso_rotation(keypoints, skeleton),
        reference_lengths(keypoints, boxes, skeleton, norm),
    )
    keypoints[:, missing_keypoints, 2] = 0
    hit = correct_keypoints(found, keypoints, length)
    shares = {name: pck_by_rotation(hit[..., i], turn) for i, name in enumerate(NAMES)}
    return {
        "experiment": metrics["experiment"],
        "what": what(metrics),
        "epoch": metrics["epoch"],
        "shares": shares,
    }


def table(rows: list[dict]) -> str:
    """A Markdown table for each threshold: share and interval by turn."""
    lines = []
    for name in NAMES:
        people = {group: rows[0]["shares"][name][group].people for group in GROUPS}
        lines += [f"{name} (95% interval)", ""]
        lines.append(
            "| experiment | what | "
            + " | ".join(f"{g} ({n} people)" for g, n in people.items())
            + " |"
        )
        lines.append("|" + "---|" * (2 + len(GROUPS)))
        for row in rows:
            cells = [
                f"{cell(s.mean)} ({cell(s.low)}-{cell(s.high)})"
                for s in row["shares"][name].values()
            ]
            lines.append(f"| {row['experiment']} | {row['what']} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main(options: Options) -> None:
    folders = [
        Path(p)
        for pattern in options.own.evaluations
        for p in sorted(glob.glob(os.path.expanduser(pattern)))
    ]
    folders = [folder for folder in folders if (folder / "metrics.json").exists()]
    if not folders:
        raise InputError(
            f"--evaluations={','.join(options.own.evaluations)}: there is no evaluation"
        )
    rows = [of_evaluation(folder, options.own.keypoints) for folder in folders]
    text, output = table(rows), Path(options.own.output)
    values = [
        {
            **r,
            "shares": {n: {g: s._asdict() for g, s in by.items()} for n, by in r["shares"].items()},
        }
        for r in rows
    ]
    write_atomically(output, text)
    write_atomically(output.with_suffix(".json"), json.dumps(values, indent=1) + "\n")
    print(text)
    print(f"written: {output}, {output.with_suffix('.json')}")


if __name__ == "__main__":
    COMMAND.run(main)
