"""An exported file beside Keras, on the same people: what it says, what that is worth, how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.data.results import result
from tfcpn.evaluation.average_precision import coco_metrics
from tfcpn.evaluation.pck import pck
from tfcpn.evaluation.predictor import Predictor
from tfcpn.exporting.people import Shown
from tfcpn.exporting.served import Served, crops_spec, functions_of
from tfcpn.geometry.crops import joints_to_image
from tfcpn.skeleton import Skeleton

# Of AP, or of PCK@.1 where there is none, so much may be lost; and of files in float32 99% of the joints lie within
# so many crop pixels of Keras's.
BARS = {"none": 0.001, "float16": 0.002, "dynamic": 0.02, "int8": 0.02}
NEAR, ALMOST_ALL = 0.05, 99
# Where nobody tells AP or PCK, the median joint may be so many crop pixels off.
UNJUDGED = 2.0
_TIMED = 32


class Row(NamedTuple):
    """A line of the table. worth: AP and PCK by name, as far as the people tell them. heatmaps: greatest error over
    the greatest value. median, almost_all: of the joints' distances in crop pixels, the second of 99%. milliseconds:
    a crop. megabytes: of the file.
    """

    name: str
    worth: dict[str, float]
    heatmaps: float
    median: float
    almost_all: float
    milliseconds: float
    megabytes: float


def worth(shown: Shown, joints: np.ndarray, scores: np.ndarray, annotations: str, absent) -> dict[str, float]:
    """AP and PCK of joints (N, K, 2) in crop pixels; empty for made-up people."""
    people = shown.people
    if people is None:
        return {}
    count, size = people.skeleton.count, shown.crops.shape[1:3]
    joints, scores = joints_to_image(joints, shown.regions, size).numpy()[:, :count], scores[:, :count]
    boxes = people.boxes[: len(joints)]
    results = [result(box, j, s, people.category, absent) for box, j, s in zip(boxes, joints, scores)]
    seen = {box.person for box in boxes}
    counted = frozenset(people.counted & seen)
    found = {"AP": coco_metrics(annotations, results, counted, people.skeleton, people.category, absent)["AP"]}
    truth = {p.id: p for p in people.people}
    rows = [row for row, box in enumerate(boxes) if box.person in truth]
    if not rows:
        return found
    keypoints, corners = (np.stack([getattr(truth[boxes[r].person], n) for r in rows]) for n in ("keypoints", "box"))
    shares = pck(joints[rows], keypoints, corners, people.skeleton, "auto", absent).mean
    return found | {"PCK@.2": float(shares[0]), "PCK@.1": float(shares[1])}


def _batched(run: Callable, crops: np.ndarray, batch: int) -> dict[str, np.ndarray]:
    parts = [run(crops[i : i + batch]) for i in range(0, len(crops), batch)]
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}


def _milliseconds(run: Callable, crops: np.ndarray, batch: int) -> float:
    """The quicker of two passes, a crop."""
    some = np.resize(crops, (min(_TIMED, max(len(crops), batch)), *crops.shape[1:]))
    some = some[: len(some) // batch * batch]
    times = []
    for _ in range(2):
        start = time.perf_counter()
        _batched(run, some, batch)
        times.append(time.perf_counter() - start)
    return min(times) / len(some) * 1000


class Judge:
    """Keras's own row, and rows beside it."""

    def __init__(
        self, predictor: Predictor, made: Served, skeleton: Skeleton, shown: Shown, annotations: str, batch: int
    ):
        """predictor: of the model as it was trained. batch: crops at a time, as the file takes them."""
        self.made, self.shown, self.annotations, self.batch = made, shown, annotations, batch
        self.count = skeleton.annotated
        # As it was trained, its batch norms in place.
        run = tf.function(functions_of(predictor)[made.decoded], input_signature=[crops_spec(made.crop_format)])
        self._theirs = _batched(run, shown.crops, batch)
        self.keras = self._row("Keras float32", self._theirs, _milliseconds(run, shown.crops, batch), 0.0)

    def _joints(self, outputs: dict) -> tuple[np.ndarray, np.ndarray]:
        joints, scores = self.made.decode(outputs)
        return np.asarray(joints), np.asarray(scores)

    def _row(self, name: str, outputs: dict, milliseconds: float, megabytes: float) -> Row:
        absent = tuple(joint for joint in self.made.codec.absent if joint < self.count)
        joints, scores = self._joints(outputs)
        distances = np.linalg.norm(joints - self._joints(self._theirs)[0], axis=-1)
        distances = np.delete(distances, list(self.made.codec.absent), axis=1)
        heat = 0.0
        if "heatmaps" in outputs:
            theirs = self._theirs["heatmaps"]
            heat = float(np.max(np.abs(outputs["heatmaps"] - theirs)) / np.max(np.abs(theirs)))
        value = worth(self.shown, joints, scores, self.annotations, absent)
        # Of few joints one may be another: two peaks of a map can be alike to the last digits.
        beyond = max(1, int(distances.size * (1 - ALMOST_ALL / 100)))
        far = float(np.sort(distances, axis=None)[-1 - min(beyond, distances.size - 1)])
        return Row(name, value, heat, float(np.median(distances)), far, milliseconds, megabytes)

    def row(self, name: str, run: Callable, size: int) -> Row:
        """Of a file of `size` bytes that `run` runs."""
        outputs = _batched(run, self.shown.crops, self.batch)
        return self._row(name, outputs, _milliseconds(run, self.shown.crops, self.batch), size / 1e6)

    def why_bad(self, row: Row, quantize: str) -> str:
        """What is wrong with a file; empty if nothing is."""
        return why_bad(self.keras, row, quantize)


def why_bad(keras: Row, row: Row, quantize: str) -> str:
    """What is wrong with a file beside Keras's row; empty if nothing is."""
    if not np.isfinite(row.median):
        return "its joints are no numbers"
    measure = next((name for name in ("AP", "PCK@.1") if keras.worth.get(name, -1) > 0), None)
    if measure is None and row.median > UNJUDGED:
        return f"half of its joints are {row.median:.2f} crop pixels and more off Keras's, want {UNJUDGED}"
    less = keras.worth[measure] - row.worth[measure] if measure else 0.0
    if less > BARS[quantize]:
        return f"its {measure} is {less:.4f} less than that of Keras, want at most {BARS[quantize]}"
    if quantize == "none" and row.almost_all > NEAR:
        return f"only within {row.almost_all:.3f} crop pixels lie 99% of its joints, want {NEAR}"
    return ""


def table(rows: list[Row]) -> str:
    """Rows as a Markdown table."""
    measures = list(rows[0].worth)
    head = ["", *measures, "heatmaps off", "joints off: median", "99%", "ms a crop", "MB"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [row.name, *(f"{row.worth[m]:.4f}" for m in measures), f"{row.heatmaps:.1e}"]
        cells += [f"{row.median:.4f} px", f"{row.almost_all:.4f} px", f"{row.milliseconds:.1f}"]
        lines.append([*cells, f"{row.megabytes:.1f}" if row.megabytes else ""])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"
