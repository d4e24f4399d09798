"""What this machine computes with: precision policy, distribution strategy, determinism."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
from pathlib import Path

import tensorflow as tf

from tfcpn.base import gpu
from tfcpn.base.errors import InputError

_CPUINFO = Path("/proc/cpuinfo")


def resolve_precision(name: str) -> str:
    """ "auto" -> the fastest precision that the machine computes natively; other names stay as they are."""
    if name != "auto":
        return name
    if tf.config.get_visible_devices("GPU"):
        return "bfloat16" if capability() >= (8, 0) else "float16" if capability() >= (7, 0) else "float32"
    # What computes quickly in bfloat16 is oneDNN, which may be off or kept from the processor's newer instructions.
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0" or limit not in ("DEFAULT", "ALL"):
        return "float32"
    words = set(_CPUINFO.read_text().split()) if _CPUINFO.exists() else set()
    # Intel's AVX-512 is slower in bfloat16 than in float32 (1.4 times, docs/performance.md): there the gain is AMX's,
    # which a virtual machine may hide. AMD's AVX-512 is faster.
    fast = "amx_bf16" in words or {"avx512_bf16", "AuthenticAMD"} <= words
    return "bfloat16" if fast else "float32"


def capability() -> tuple[int, int]:
    """NVIDIA's compute capability of the first GPU, (8, 0) for an A100; (0, 0) where it is not told."""
    first = tf.config.get_visible_devices("GPU")[0]
    return tf.config.experimental.get_device_details(first).get("compute_capability", (0, 0))


def set_precision(name: str) -> None:
    """Set the Keras policy under which the layers that are built next compute; their variables stay float32.

    Unless "tf32" is asked for, float32 has all its bits on every device. From the A100 on, TensorFlow's own choice is
    to round what goes into convolutions and matrix products, those of labels and decoding too, to ten bits.
    """
    tf.config.experimental.enable_tensor_float_32_execution(name == "tf32")
    tf.keras.mixed_precision.set_global_policy("float32" if name in ("float32", "tf32") else f"mixed_{name}")


def choose(name: str) -> None:
    """What --device says: "cpu" leaves the GPUs alone, "gpu" wants one, "auto" takes what there is.

    Raises InputError without a GPU under "gpu", and under "auto" if there is a card that TensorFlow, which is built
    for it, does not see: a run of days on the CPU is not what its owner meant.
    """
    if name == "cpu":
        use_no_gpu()
        return
    if tf.config.list_physical_devices("GPU"):
        grow_memory()
        return
    # Hidden on purpose, such as by a scheduler or a test.
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    why = "" if hidden or not tf.test.is_built_with_cuda() else gpu.why_unused()
    if why or name == "gpu":
        raise InputError(f"--device={name}: {why or 'there is no GPU here'}")


def describe() -> str:
    """What this process computes on: its GPUs by name, or its CPU."""
    names = [
        tf.config.experimental.get_device_details(device).get("device_name", "GPU")
        for device in tf.config.get_visible_devices("GPU")
    ]
    if names:
        return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    cpu = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*: (.*)$", cpu.read_text(), re.M) if cpu.exists() else []
    return f"CPU ({models[0] if models else platform.machine()}, {os.cpu_count()} cores)"


def _check_cluster() -> None:
    """See that TF_CONFIG describes a cluster and this process's place in it. Raises InputError."""
    wanted = (
        '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}, with an '
        "index of its own for each process; one of them may be the chief"
    )
    try:
        cluster = json.loads(os.environ.get("TF_CONFIG", ""))
        hosts, task = cluster["cluster"], cluster["task"]
        fits = (
            {"worker"} <= set(hosts) <= {"worker", "chief"}
            and len(hosts.get("chief", [""])) == 1
            and 0 <= int(task["index"]) < len(hosts[task["type"]])
        )
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise InputError(f"--strategy=multi_worker: the environment variable TF_CONFIG must be such as {wanted}")


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy of --strategy. To be called before TensorFlow computes anything.

    "one": the default device. "mirrored": all GPUs of this machine. "multi_worker": all GPUs (else the CPU) of all
    the processes that TF_CONFIG names. Raises InputError for devices or a TF_CONFIG that do not fit.
    """
    if name == "one":
        return tf.distribute.get_strategy()
    if name == "multi_worker":
        _check_cluster()
        return tf.distribute.MultiWorkerMirroredStrategy()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        raise InputError(f"--strategy={name}: this machine has only the device {devices[0].name}")
    return tf.distribute.MirroredStrategy([d.name for d in devices])


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes: the chief, else the first worker, or the only process."""
    if not together(strategy):
        return True
    resolver = strategy.cluster_resolver
    jobs = resolver.cluster_spec().jobs
    return resolver.task_type == ("chief" if "chief" in jobs else "worker") and resolver.task_id == 0


def together(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes take part."""
    resolver = strategy.cluster_resolver
    return resolver is not None and bool(resolver.task_type)


def use_no_gpu() -> None:
    """Keep this process off the GPUs, of whose memory it would take a share, though it only decodes images."""
    tf.config.set_visible_devices([], "GPU")


def grow_memory() -> None:
    """Let GPU memory grow with need, so that several processes fit on a card. Too late where the GPU is in use."""
    for card in tf.config.get_visible_devices("GPU"):
        # A program that uses tfcpn as a library may have computed before.
        with contextlib.suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(card, True)


def set_up(deterministic: bool) -> None:
    """Let GPU memory grow with need, and make every operation repeatable if asked.

    Args:
        deterministic: The same bits on every run.
    """
    grow_memory()
    if deterministic:
        tf.config.experimental.enable_op_determinism()
        # That is not enough. The graph optimiser rewrites sums in an order that hangs on memory addresses: of ten
        # processes two had gradients with other last bits, without it none. One thread an operation on a CPU, for
        # kernels that sum over threads.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
        if not tf.config.get_visible_devices("GPU"):
            tf.config.threading.set_intra_op_parallelism_threads(1)
