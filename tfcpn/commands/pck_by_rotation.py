"""Tabulate PCK of evaluated runs by how far people are rotated."""

from __future__ import annotations

import glob
import json
import os
from pathlib import Path

import numpy as np

from tfcpn.analysis.run_table import describe_evaluation
from tfcpn.cli import Command, Options, path, string_list
from tfcpn.data.coco import read_annotations
from tfcpn.evaluation.metrics import (
    PCK_NAMES,
    ROTATION_GROUPS,
    correct_keypoints,
    format_metric,
    pck_by_rotation,
    reference_lengths,
    resolve_pck_norm,
    torso_rotation,
)
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically
from tfcpn.utils.json_io import read_json

COMMAND = Command(
    "python tools/pck_by_rotation.py",
    __doc__,
    {
        "What": [
            string_list(
                "evaluations", (), "Folders of evaluations, such as 'runs/*/eval/*'.", required=True
            ),
            string_list(
                "keypoints",
                (),
                "Keypoints that count, so that networks with different ones compare; empty: all.",
            ),
        ],
        "Where": [
            path(
                "output",
                "pck_by_rotation.md",
                "Table to write; the numbers are written to NAME.json.",
            )
        ],
    },
)


def of_evaluation(folder: Path, keypoints: tuple[str, ...] = ()) -> dict:
    """Return the PCK of an evaluation on annotated boxes, by threshold and rotation.

    Args:
        folder: The evaluation.
        keypoints: Names of keypoints that count; () for all.
    """
    from tfcpn.analysis.evaluation import resolve_skeleton

    metrics, results = read_json(folder / "metrics.json"), read_json(folder / "results.json")
    settings = metrics.get("settings", {}) if isinstance(metrics, dict) else {}
    if settings.get("boxes") != "gt" or not isinstance(results, list):
        raise InputError(
            f"{folder}: no evaluation on annotated boxes, so results do not belong to people"
        )
    _, people, skeleton, *_ = read_annotations(
        settings["val_annotations"],
        expected=resolve_skeleton(folder, metrics),
        image_dir=settings.get("val_images"),
    )
    if not skeleton.hips or not skeleton.shoulders:
        raise InputError(f"{settings['val_annotations']}: its keypoints do not define a torso")
    people = [p for p in people if p.trainable]
    by_image: dict[int, list] = {}
    for result in results:
        by_image.setdefault(result["image_id"], []).append(result)
    if any(len(by_image.get(p.image_id, ())) > 1 for p in people):
        raise InputError(
            f"{folder}: has several people in an image, and its results file has no ids"
        )
    found = np.full((len(people), skeleton.num_keypoints, 2), np.nan)
    present = np.zeros(skeleton.num_keypoints, bool)
    for row, person in enumerate(people):
        for result in by_image.get(person.image_id, ()):
            predicted = np.reshape(result["keypoints"], (-1, 3))
            found[row] = predicted[:, :2]
            present |= predicted[:, 2] > 0
    # What no result has its network does not.
    missing_keypoints = ~present & bool(by_image)
    if keypoints:
        missing_keypoints[
            np.setdiff1d(range(skeleton.num_keypoints), skeleton.indices(keypoints, "keypoints"))
        ] = True
    keypoints, boxes = np.stack([p.keypoints for p in people]), np.stack([p.box for p in people])
    norm = resolve_pck_norm(skeleton, settings.get("pck_norm", "auto"))
    rotation = torso_rotation(keypoints, skeleton)
    length = reference_lengths(keypoints, boxes, skeleton, norm)
    keypoints[:, missing_keypoints, 2] = 0
    correct = correct_keypoints(found, keypoints, length)
    shares = {name: pck_by_rotation(correct[..., i], rotation) for i, name in enumerate(PCK_NAMES)}
    return {
        "experiment": metrics["experiment"],
        "what": describe_evaluation(metrics),
        "epoch": metrics["epoch"],
        "shares": shares,
    }


def _is_of_detector(folder: Path) -> bool:
    metrics = read_json(folder / "metrics.json")
    settings = metrics.get("settings") if isinstance(metrics, dict) else None
    return isinstance(settings, dict) and settings.get("network") == "blazepose_detector"


def table(rows: list[dict]) -> str:
    """Return a Markdown table for each threshold: PCK and interval by rotation."""
    lines = []
    for name in PCK_NAMES:
        people = {group: rows[0]["shares"][name][group].people for group in ROTATION_GROUPS}
        lines += [f"{name} (95% interval)", ""]
        lines.append(
            "| experiment | what | "
            + " | ".join(f"{g} ({n} people)" for g, n in people.items())
            + " |"
        )
        lines.append("|" + "---|" * (2 + len(ROTATION_GROUPS)))
        for row in rows:
            cells = [
                f"{format_metric(s.mean)} ({format_metric(s.low)}-{format_metric(s.high)})"
                for s in row["shares"][name].values()
            ]
            lines.append(f"| {row['experiment']} | {row['what']} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main(options: Options) -> None:
    folders = [
        Path(p)
        for pattern in options.args.evaluations
        for p in sorted(glob.glob(os.path.expanduser(pattern)))
    ]
    folders = [folder for folder in folders if (folder / "metrics.json").exists()]
    if not folders:
        raise InputError(
            f"--evaluations={','.join(options.args.evaluations)}: there is no evaluation"
        )
    detectors = [folder for folder in folders if _is_of_detector(folder)]
    if detectors:
        print(f"left out: {len(detectors)} evaluations of detectors, such as {detectors[0]}")
    folders = [folder for folder in folders if folder not in detectors]
    if not folders:
        raise InputError(f"{detectors[0]}: is of a detector, which predicts no keypoints")
    rows = [of_evaluation(folder, options.args.keypoints) for folder in folders]
    text, output = table(rows), Path(options.args.output)
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
