"""Compare an exported file with Keras on the same people: outputs, accuracy and speed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.data.detections import coco_result
from tfcpn.evaluation.metrics import coco_metrics, compute_pck
from tfcpn.evaluation.predictor import Predictor
from tfcpn.export.graph import ExportGraph, SampleCrops, crops_spec, functions_of
from tfcpn.skeleton import Skeleton
from tfcpn.transforms.regions import keypoints_to_image

# Maximum drop of AP, or of PCK@.1 without AP; and the crop pixels within which 99% of the keypoints
# of float32 files must be of those of Keras.
MAX_ACCURACY_DROP = {"none": 0.001, "float16": 0.002, "dynamic": 0.02, "int8": 0.02}
MAX_ACCURACY_DROP |= {"full_int8": 0.02}
NEAR, ALMOST_ALL = 0.05, 99
# Minimum AP or PCK of a network whose files are judged by it.
MIN_ACCURACY = 0.05
# Maximum median distance of keypoints in crop pixels, without AP or PCK to judge by.
MAX_OFFSET_PX = 2.0
_TIMED = 32


class Row(NamedTuple):
    """A row of the comparison.

    Attributes:
        name: Name of the runtime.
        accuracy: AP and PCK by name, as far as the people are labeled.
        heatmaps: Maximum error over the maximum value.
        median, almost_all: Median and 99th percentile of the keypoints' distances in crop pixels.
        milliseconds: Time per crop.
        megabytes: Size of the file.
    """

    name: str
    accuracy: dict[str, float]
    heatmaps: float
    median: float
    almost_all: float
    milliseconds: float
    megabytes: float


def accuracy(
    shown: SampleCrops,
    keypoints: np.ndarray,
    scores: np.ndarray,
    missing_keypoints,
) -> dict[str, float]:
    """Return AP and PCK of keypoints (N, K, 2) in crop pixels; {} for random crops."""
    people = shown.people
    if people is None:
        return {}
    count, size = people.skeleton.num_keypoints, shown.crops.shape[1:3]
    keypoints, scores = (
        keypoints_to_image(keypoints, shown.regions, size).numpy()[:, :count],
        scores[:, :count],
    )
    boxes = people.boxes[: len(keypoints)]
    results = [
        coco_result(
            box,
            keypoints=j,
            scores=s,
            category=people.category,
            missing_keypoints=missing_keypoints,
        )
        for box, j, s in zip(boxes, keypoints, scores)
    ]
    seen = {box.annotation_id for box in boxes}
    counted = frozenset(people.counted & seen)
    found = {
        "AP": coco_metrics(
            people.annotated,
            results,
            counted=counted,
            missing_keypoints=missing_keypoints,
        )["AP"]
    }
    truth = {p.id: p for p in people.people}
    rows = [row for row, box in enumerate(boxes) if box.annotation_id in truth]
    if not rows:
        return found
    annotated, corners = (
        np.stack([getattr(truth[boxes[r].annotation_id], n) for r in rows])
        for n in ("keypoints", "box")
    )
    shares = compute_pck(
        keypoints[rows],
        annotated,
        corners,
        skeleton=people.skeleton,
        norm="auto",
        missing_keypoints=missing_keypoints,
    ).mean
    return found | {"PCK@.2": float(shares[0]), "PCK@.1": float(shares[1])}


def _batched(run: Callable, crops: np.ndarray, batch: int) -> dict[str, np.ndarray]:
    outputs = [run(crops[i : i + batch]) for i in range(0, len(crops), batch)]
    return {
        name: np.concatenate([np.asarray(part[name]) for part in outputs]) for name in outputs[0]
    }


def _milliseconds(run: Callable, crops: np.ndarray, batch: int) -> float:
    """Return the time per crop, the faster of two passes."""
    some = np.resize(crops, (min(_TIMED, max(len(crops), batch)), *crops.shape[1:]))
    some = some[: len(some) // batch * batch]
    times = []
    for _ in range(2):
        start = time.perf_counter()
        _batched(run, some, batch)
        times.append(time.perf_counter() - start)
    return min(times) / len(some) * 1000


class ParityCheck:
    """Compares files with Keras."""

    def __init__(
        self,
        predictor: Predictor,
        graph: ExportGraph,
        skeleton: Skeleton,
        shown: SampleCrops,
        batch: int,
    ):
        """Predict the sample crops with the Keras model.

        Args:
            predictor: Predictor of the trained model.
            graph: The exported graph.
            skeleton: Its keypoints.
            shown: Sample crops, and their people.
            batch: Number of crops per call, as the file expects.
        """
        self.graph, self.shown, self.batch = graph, shown, batch
        self.count = skeleton.num_annotated
        # As it was trained, its batch norms in place.
        run = tf.function(
            functions_of(predictor)[graph.decoded], input_signature=[crops_spec(graph.crop_spec)]
        )
        self._theirs = _batched(run, shown.crops, batch)
        self.keras = self._row(
            "Keras float32", self._theirs, _milliseconds(run, shown.crops, batch), 0.0
        )

    def _keypoints(self, outputs: dict) -> tuple[np.ndarray, np.ndarray]:
        keypoints, scores = self.graph.decode(outputs)
        return np.asarray(keypoints), np.asarray(scores)

    def _row(self, name: str, outputs: dict, milliseconds: float, megabytes: float) -> Row:
        missing_keypoints = tuple(
            keypoint for keypoint in self.graph.codec.missing_keypoints if keypoint < self.count
        )
        keypoints, scores = self._keypoints(outputs)
        distances = np.linalg.norm(keypoints - self._keypoints(self._theirs)[0], axis=-1)
        distances = np.delete(distances, list(self.graph.codec.missing_keypoints), axis=1)
        heat = 0.0
        if "heatmaps" in outputs:
            theirs = self._theirs["heatmaps"]
            heat = float(np.max(np.abs(outputs["heatmaps"] - theirs)) / np.max(np.abs(theirs)))
        value = accuracy(self.shown, keypoints, scores, missing_keypoints)
        # One keypoint may differ even if there are few: two peaks of a map can be nearly equal.
        beyond = max(1, int(distances.size * (1 - ALMOST_ALL / 100)))
        far = float(np.sort(distances, axis=None)[-1 - min(beyond, distances.size - 1)])
        return Row(name, value, heat, float(np.median(distances)), far, milliseconds, megabytes)

    def row(self, name: str, run: Callable, size: int) -> Row:
        """Return the row of a file of `size` bytes that `run` runs."""
        outputs = _batched(run, self.shown.crops, self.batch)
        return self._row(
            name, outputs, _milliseconds(run, self.shown.crops, self.batch), size / 1e6
        )

    def failure_reason(self, row: Row, quantize: str) -> str:
        """Return why a file is not good enough; "" if it is."""
        return failure_reason(self.keras, row, quantize)


def failure_reason(keras: Row, row: Row, quantize: str) -> str:
    """Return why a file is worse than it may be; "" if it is good."""
    if not np.isfinite([row.median, row.heatmaps]).all():
        return "its outputs are no numbers"
    # A network that finds nothing loses nothing; it is judged by its keypoints alone.
    measures = [n for n in ("AP", "PCK@.1") if keras.accuracy.get(n, -1) >= MIN_ACCURACY]
    measure = measures[0] if measures else None
    if measure is None and row.median > MAX_OFFSET_PX:
        return (
            f"the median distance to the keypoints of Keras is {row.median:.2f} crop pixels, "
            f"expected at most {MAX_OFFSET_PX}"
        )
    less = keras.accuracy[measure] - row.accuracy[measure] if measure else 0.0
    if less > MAX_ACCURACY_DROP[quantize]:
        limit = MAX_ACCURACY_DROP[quantize]
        return f"its {measure} is {less:.4f} less than that of Keras, expected at most {limit}"
    if quantize == "none" and row.almost_all > NEAR:
        distance = f"{row.almost_all:.3f} crop pixels only, expected {NEAR}"
        return f"99% of its keypoints are within {distance}"
    return ""


def table(rows: list[Row]) -> str:
    """Return rows as a Markdown table."""
    measures = list(rows[0].accuracy)
    head = ["", *measures, "heatmaps off", "keypoints off: median", "99%", "ms a crop", "MB"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [row.name, *(f"{row.accuracy[m]:.4f}" for m in measures), f"{row.heatmaps:.1e}"]
        cells += [f"{row.median:.4f} px", f"{row.almost_all:.4f} px", f"{row.milliseconds:.1f}"]
        lines.append([*cells, f"{row.megabytes:.1f}" if row.megabytes else ""])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"
