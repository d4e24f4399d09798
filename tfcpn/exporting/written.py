"""A network written in some format, compared with Keras at once, and kept only if it is as good."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.base.files import write_atomically
from tfcpn.base.progress import status
from tfcpn.evaluation.predictor import Predictor
from tfcpn.exporting import onnx, tflite
from tfcpn.exporting.comparison import ParityCheck, Row, table
from tfcpn.exporting.people import Shown
from tfcpn.exporting.saved import write_saved_model
from tfcpn.exporting.served import ExportGraph, build_export_graph
from tfcpn.parts import Parts
from tfcpn.prediction.saved import SIGNATURE
from tfcpn.settings.config import Config

TABLE = "comparison.md"
# How many layers int8 leaves in float, the worst first, until the file is good enough.
_LEFT_IN_FLOAT = (0, 8, 16, 32, 64)
_log = logging.getLogger(__name__)
_BATCH = 8  # crops at a time, but for TensorFlow Lite, which takes one


def table_of(output: str) -> Path:
    """Where the comparison of an export lies: in a SavedModel's folder, beside a file."""
    path = Path(output)
    return path / TABLE if path.is_dir() else path.with_name(f"{path.name}.{TABLE}")


def write(
    kind: str,
    output: str,
    quantize: str,
    decoded: bool,
    predictor: Predictor,
    parts: Parts,
    shown: Shown,
    learn_from: np.ndarray | None,
    cfg: Config,
) -> str:
    """kind: "savedmodel", "tflite" or "onnx". learn_from: crops for int8. Returns the table, which is written too.

    Raises InputError, and leaves nothing behind, for a file that is worse than it may be.
    """
    name = {"savedmodel": "SavedModel", "tflite": "TensorFlow Lite", "onnx": "ONNX"}[kind]
    graph = build_export_graph(predictor, decoded or kind == "savedmodel")
    with status("predicting with Keras"):
        judge = ParityCheck(
            predictor,
            graph,
            parts.skeleton,
            shown,
            cfg.val_annotations,
            1 if kind == "tflite" else _BATCH,
        )
    if kind == "savedmodel":
        told = []

        def judge_folder(folder: Path) -> None:
            size = sum(file.stat().st_size for file in folder.rglob("*"))
            row = judge.row(name, saved_run(str(folder), SIGNATURE), size)
            wrong = judge.failure_reason(row, quantize)
            if wrong:
                raise InputError(f"{output} is not written: {wrong}")
            told.append(table([judge.keras, row]) + _below(shown, judge))
            (folder / TABLE).write_text(told[0])

        with status("writing the SavedModel and comparing it with Keras"):
            write_saved_model(output, graph, parts.skeleton, parts.alignment, judge_folder)
        return told[0]
    content, row, note = _file(kind, name, quantize, graph, judge, learn_from)
    write_atomically(Path(output), content)
    told = table([judge.keras, row]) + note + _below(shown, judge)
    write_atomically(table_of(output), told)
    return told


def _below(shown: Shown, judge: ParityCheck) -> str:
    return f"\n{_who(shown)}; milliseconds of {judge.batch} at a time on this machine\n"


def _who(shown: Shown) -> str:
    if shown.people is None:
        return f"{len(shown.crops)} made-up images"
    return f"{len(shown.crops)} people of {shown.people.annotations}"


def saved_run(folder: str, signature: str) -> Callable:
    """A SavedModel's signature as a function of crops."""
    loaded = tf.saved_model.load(folder)
    run = loaded.signatures[signature]
    run.loaded = loaded  # its variables live as long as somebody holds it
    return lambda crops: {
        name: value.numpy() for name, value in run(crops=tf.constant(crops)).items()
    }


def _file(
    kind: str,
    name: str,
    quantize: str,
    graph: ExportGraph,
    judge: ParityCheck,
    learn_from: np.ndarray | None,
) -> tuple[bytes, Row, str]:
    """The content of a file that is good enough, its row, and a note on what int8 left in float."""
    # On all cores, as Keras runs.
    on_tflite = partial(tflite.TfliteFile, threads=os.cpu_count())
    convert, run = {"tflite": (tflite.to_tflite, on_tflite), "onnx": (onnx.to_onnx, onnx.OnnxFile)}[
        kind
    ]
    name = name if quantize == "none" else f"{name} {quantize}"
    hurting: list[tflite.SensitiveLayer] = []
    for count in _LEFT_IN_FLOAT if quantize == "int8" else (0,):
        if count and not hurting:
            with status("looking for the layers that int8 changes most"):
                hurting = tflite.rank_by_quantization_error(graph, learn_from)
            if kind == "onnx":  # which has other names between layers
                layers = {layer.name for layer in graph.predictor.model.layers}
                hurting = [hurt for hurt in hurting if hurt.layer in layers]
        if count and count >= len(hurting):
            break
        left = hurting[:count]
        with status(f"converting to {name}"):
            content = convert(graph, quantize, learn_from, left)
        with status(f"comparing {name} with Keras"):
            row = judge.row(name, run(content), len(content))
        wrong = judge.failure_reason(row, quantize)
        if not wrong:
            return content, row, _told(left)
        if quantize == "int8":
            _log.info("%s with %d layers left in float: %s", name, len(left), wrong)
    raise InputError(f"the {name} file is not written: {wrong}")


def _told(left: list[tflite.SensitiveLayer]) -> str:
    names = ", ".join(dict.fromkeys(hurt.layer for hurt in left))
    return f"\nleft in float, since int8 costs them most: {names}\n" if left else ""
