"""Which operations the time of a training step goes into, as TensorFlow's profiler sees them on a
CPU.
"""

from __future__ import annotations

import collections
import tempfile
from pathlib import Path

import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmarking import network
from tfcpn.builders import build_components
from tfcpn.config import Config
from tfcpn.skeleton import COCO
from tfcpn.utils import device
from tfcpn.utils.errors import InputError

# Operations that only run others, whose time is theirs.
_CALLS = {
    "PartitionedCall",
    "StatefulPartitionedCall",
    "If",
    "StatelessIf",
    "While",
    "StatelessWhile",
}
SHOWN = 14


def operation_times(folder: str) -> dict[str, tuple[float, int]]:
    """Seconds and calls by type of operation, of a profiler's trace; oneDNN's and TensorFlow's
    kernels together.
    """
    seconds: dict[str, float] = collections.defaultdict(float)
    calls: dict[str, int] = collections.Counter()
    for path in Path(folder).rglob("*.xplane.pb"):
        space = xplane_pb2.XSpace()
        space.ParseFromString(path.read_bytes())
        for plane in space.planes:
            for event in (event for line in plane.lines for event in line.events):
                node, _, operation = plane.event_metadata[event.metadata_id].name.rpartition(":")
                args = operation.isidentifier() and operation not in _CALLS
                if args and node and not node.endswith(":"):
                    operation = operation.removeprefix("_MklNative").removeprefix("_Mkl")
                    seconds[operation] += event.duration_ps / 1e12
                    calls[operation] += 1
    return {operation: (seconds[operation], calls[operation]) for operation in seconds}


def benchmark_profile(cfg: Config, rounds: int) -> list[dict]:
    """Rows of the table: the costliest operations of a step of cfg.batch_size crops, in
    cfg.mixed_precision.

    What runs side by side counts twice, so that the sum may be more than the step. Raises
    InputError on a GPU.
    """
    if tf.config.list_physical_devices("GPU"):
        raise InputError(
            "profile reads a CPU's trace; on a GPU use TensorBoard's profiler, or "
            "CUDA_VISIBLE_DEVICES="
        )
    size = build_components(cfg, COCO).training_spec.size
    crops, keypoints = network.random_batch(cfg, cfg.batch_size // cfg.views, size)
    _, step = network.our_step(cfg, device.resolve_precision(cfg.mixed_precision), crops, keypoints)
    step(), step()
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(rounds):
                step()
        times = operation_times(folder)
    total = sum(seconds for seconds, _ in times.values())
    ordered = sorted(times.items(), key=lambda item: item[1][0], reverse=True)
    rest = ordered[SHOWN:]
    rows = [(operation, *time) for operation, time in ordered[:SHOWN]]
    rows.append(("all others", sum(t[0] for _, t in rest), sum(t[1] for _, t in rest)))
    return [
        {
            "profile": operation,
            "ms a crop": 1000 * seconds / rounds / cfg.batch_size,
            "of the sum": f"{seconds / total:.1%}",
            "calls a step": calls / rounds,
        }
        for operation, seconds, calls in rows
    ]
