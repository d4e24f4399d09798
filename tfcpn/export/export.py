"""Export a network, compare the file with Keras, and keep it only if it is as good."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.builders import Components
from tfcpn.config import Config
from tfcpn.evaluation.predictor import Predictor
from tfcpn.export import onnx, tflite
from tfcpn.export.comparison import ParityCheck, Row, table
from tfcpn.export.graph import ExportGraph, SampleCrops, build_export_graph, random_crops
from tfcpn.export.saved_model import write_saved_model
from tfcpn.inference.backends import SIGNATURE
from tfcpn.models.specs import BLAZEPOSE_INPUT_SIZE
from tfcpn.models.tflite import make_interpreter
from tfcpn.transforms.cropping import CropSpec
from tfcpn.utils.console import status
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

# Maximum median distance of a file's landmarks from Keras's in crop pixels; rounding the weights to
# float16 makes half of one.
MAX_MEDIAN_PX = 2.0


def checked(content: bytes, model) -> tuple[float, float]:
    """Compare the landmarks of a file with those of the model, on random images.

    Returns:
        The median and the maximum distance in crop pixels.

    Raises:
        InputError: If it is more than float16 explains.
    """
    running = make_interpreter(content)
    place, distances = running.get_input_details()[0]["index"], []
    output = next(o["index"] for o in running.get_output_details() if o["name"] == "Identity")
    for crop in random_crops(CropSpec(BLAZEPOSE_INPUT_SIZE, True, None), 4).crops:
        image = crop[None].astype(np.float32) / 255
        running.set_tensor(place, image)
        running.invoke()
        theirs = running.get_tensor(output).reshape(-1, 5)[:, :2]
        ours = model(image, training=False).landmarks.numpy()[0, :, :2]
        distances.append(np.linalg.norm(theirs - ours, axis=1))
    median, worst = float(np.median(distances)), float(np.max(distances))
    if not median <= MAX_MEDIAN_PX:
        raise InputError(
            f"the file's landmarks are {median:.2f} crop pixels off those of Keras: float16 does "
            "not hold the trained weights; train with a lower --learning_rate"
        )
    return median, worst


TABLE = "comparison.md"
# How many layers int8 leaves in float, the worst first, until the file is good enough.
_EXCLUDED_COUNTS = (0, 8, 16, 32, 64)
_log = logging.getLogger(__name__)
_BATCH = 8  # crops at a time, but for TensorFlow Lite, which takes one


def table_of(output: str) -> Path:
    """Return the path of the comparison of an export."""
    path = Path(output)
    return path / TABLE if path.is_dir() else path.with_name(f"{path.name}.{TABLE}")


def write(
    kind: str,
    output: str,
    *,
    quantize: str,
    decoded: bool,
    predictor: Predictor,
    components: Components,
    shown: SampleCrops,
    calibration: np.ndarray | None,
    cfg: Config,
) -> str:
    """Export a network and return the comparison with Keras, which is written too.

    Args:
        kind: "savedmodel", "tflite" or "onnx".
        output: The file or folder.
        quantize: One of `tflite.QUANTIZE`.
        decoded: Whether decoding is part of the graph.
        predictor: Predictor of the trained model.
        components: The components of the run.
        shown: Crops to compare on.
        calibration: Crops that int8 and full_int8 are calibrated on.
        cfg: The settings.

    Raises:
        InputError: For a file that is worse than it may be; nothing is left behind.
    """
    name = {"savedmodel": "SavedModel", "tflite": "TensorFlow Lite", "onnx": "ONNX"}[kind]
    graph = build_export_graph(predictor, decoded or kind == "savedmodel")
    with status("predicting with Keras"):
        judge = ParityCheck(
            predictor,
            graph,
            components.skeleton,
            shown,
            1 if kind == "tflite" else _BATCH,
        )
    if kind == "savedmodel":
        report = []

        def judge_folder(folder: Path) -> None:
            size = sum(file.stat().st_size for file in folder.rglob("*"))
            row = judge.row(name, saved_run(str(folder), SIGNATURE), size)
            wrong = judge.failure_reason(row, quantize)
            if wrong:
                raise InputError(f"{output} is not written: {wrong}")
            report.append(table([judge.keras, row]) + _footer(shown, judge))
            (folder / TABLE).write_text(report[0])

        with status("writing the SavedModel and comparing it with Keras"):
            write_saved_model(
                output, graph, components.skeleton, components.alignment, judge_folder
            )
        return report[0]
    content, row, note = _file(kind, name, quantize, graph, judge, calibration)
    write_atomically(Path(output), content)
    report = table([judge.keras, row]) + note + _footer(shown, judge)
    write_atomically(table_of(output), report)
    return report


def _footer(shown: SampleCrops, judge: ParityCheck) -> str:
    return f"\n{_describe_people(shown)}; milliseconds of {judge.batch} at a time on this machine\n"


def _describe_people(shown: SampleCrops) -> str:
    if shown.people is None:
        return f"{len(shown.crops)} random images"
    return f"{len(shown.crops)} people of {shown.people.annotations}"


def saved_run(folder: str, signature: str) -> Callable:
    """Return the signature of a SavedModel as a function of crops."""
    loaded = tf.saved_model.load(folder)
    run = loaded.signatures[signature]
    run.loaded = loaded  # keeps its variables alive
    return lambda crops: {
        name: value.numpy() for name, value in run(crops=tf.constant(crops)).items()
    }


def _file(
    kind: str,
    name: str,
    quantize: str,
    graph: ExportGraph,
    judge: ParityCheck,
    calibration: np.ndarray | None,
) -> tuple[bytes, Row, str]:
    """Return a file that is good enough, its row, and a note on layers that int8 excludes."""
    # On all cores, as Keras runs.
    on_tflite = partial(tflite.TfliteFile, threads=os.cpu_count())
    convert, run = {"tflite": (tflite.to_tflite, on_tflite), "onnx": (onnx.to_onnx, onnx.OnnxFile)}[
        kind
    ]
    name = name if quantize == "none" else f"{name} {quantize}"
    sensitive: list[tflite.SensitiveLayer] = []
    for count in _EXCLUDED_COUNTS if quantize == "int8" else (0,):
        if count and not sensitive:
            with status("looking for the layers that int8 changes most"):
                sensitive = tflite.rank_by_quantization_error(graph, calibration)
            if kind == "onnx":  # which has other names between layers
                layers = {layer.name for layer in graph.predictor.model.layers}
                sensitive = [layer for layer in sensitive if layer.layer in layers]
        if count and count >= len(sensitive):
            break
        left = sensitive[:count]
        with status(f"converting to {name}"):
            content = convert(graph, quantize, calibration, left)
        with status(f"comparing {name} with Keras"):
            row = judge.row(name, run(content), len(content))
        wrong = judge.failure_reason(row, quantize)
        if not wrong:
            return content, row, _excluded_note(left)
        if quantize == "int8":
            _log.info("%s with %d layers left in float: %s", name, len(left), wrong)
    raise InputError(f"the {name} file is not written: {wrong}")


def _excluded_note(left: list[tflite.SensitiveLayer]) -> str:
    names = ", ".join(dict.fromkeys(layer.layer for layer in left))
    return f"\nleft in float, since int8 costs them most: {names}\n" if left else ""
