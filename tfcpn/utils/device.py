"""Devices, precision policy, distribution strategy and determinism."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import re
import site
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from tfcpn.utils.errors import InputError

_NVIDIA, _DISPLAY = "0x10de", "0x03"


def nvidia_devices(root: Path = Path("/")) -> list[str]:
    """Return paths that show NVIDIA cards: those of the driver, else those of the PCI bus.

    Args:
        root: Root of the file system.
    """
    of_driver = sorted((root / "proc/driver/nvidia/gpus").glob("*")) + sorted(
        (root / "dev").glob("nvidia[0-9]*")
    )
    if of_driver:
        return [str(path) for path in of_driver]
    found = []
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        try:
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
        except OSError:
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY):
            found.append(str(device))
    return found


def _loads(name: str, folders: list[Path]) -> bool:
    """Return whether a library can be loaded from the system or from NVIDIA's wheels."""
    for candidate in [
        name,
        *(str(path) for folder in folders for path in folder.glob(f"nvidia/*/lib/{name}")),
    ]:
        try:
            ctypes.CDLL(candidate)
            return True
        except OSError:
            continue
    return False


def cuda_libraries(build: Mapping[str, str]) -> list[str]:
    """Return the shared libraries that TensorFlow loads to use a GPU.

    Args:
        build: Result of `tf.sysconfig.get_build_info()`; "cuda_version" and "cudnn_version" are
        used.

    Returns:
        File names such as libcudart.so.12. The first one comes with the driver, the others
        with CUDA and cuDNN.
    """
    cuda = str(build.get("cuda_version", 12)).split(".")[0]
    cudnn = str(build.get("cudnn_version", 8)).split(".")[0]
    # Two libraries have their own version numbers, one less than CUDA's.
    names = [f"lib{name}.so.{cuda}" for name in ("cudart", "cublas", "cublasLt", "cusparse")]
    names += [f"lib{name}.so.{int(cuda) - 1}" for name in ("cufft", "cusolver")]
    return ["libcuda.so.1", *names, f"libcudnn.so.{cudnn}"]


def missing_libraries() -> list[str]:
    """Return the libraries of `cuda_libraries` that cannot be loaded."""
    folders = [Path(folder) for folder in site.getsitepackages()]
    return [
        name for name in cuda_libraries(tf.sysconfig.get_build_info()) if not _loads(name, folders)
    ]


def install_hint() -> str:
    """Return the command that installs CUDA's libraries for the installed TensorFlow."""
    return f'pip install "tensorflow[and-cuda]=={tf.__version__}"'


def explain_unusable_gpu(root: Path = Path("/")) -> str:
    """Return why an NVIDIA card that is present cannot be used; "" if there is no card.

    Args:
        root: Root of the file system.
    """
    seen = nvidia_devices(root)
    if not seen:
        return ""
    missing = missing_libraries()
    lacks = (
        f"cannot load {', '.join(missing)}"
        if missing
        else "loads CUDA's libraries; nvidia-smi may tell more"
    )
    return (
        f"there is an NVIDIA card ({seen[0]}) but TensorFlow sees no GPU: it {lacks}; install them "
        f"with {install_hint()} (libcuda.so.1 comes with the driver), or give --device=cpu"
    )


_CPUINFO = Path("/proc/cpuinfo")


def resolve_precision(name: str) -> str:
    """Return the precision to compute in.

    Args:
        name: A value of --mixed_precision. "auto" becomes the fastest precision that the hardware
            supports natively.
    """
    if name != "auto":
        return name
    if tf.config.get_visible_devices("GPU"):
        return (
            "bfloat16"
            if compute_capability() >= (8, 0)
            else "float16"
            if compute_capability() >= (7, 0)
            else "float32"
        )
    # oneDNN provides the fast bfloat16 kernels; it may be off or limited to older instructions.
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0" or limit not in ("DEFAULT", "ALL"):
        return "float32"
    words = set(_CPUINFO.read_text().split()) if _CPUINFO.exists() else set()
    # Intel's AVX-512 is 1.4 times slower in bfloat16 than in float32 (docs/notes/performance.md);
    # AMX, which a virtual machine may hide, is faster. AMD's AVX-512 is faster too.
    fast = "amx_bf16" in words or {"avx512_bf16", "AuthenticAMD"} <= words
    return "bfloat16" if fast else "float32"


def compute_capability() -> tuple[int, int]:
    """Return the CUDA compute capability of the first GPU, such as (8, 0); (0, 0) if unknown."""
    first = tf.config.get_visible_devices("GPU")[0]
    return tf.config.experimental.get_device_details(first).get("compute_capability", (0, 0))


def set_precision(name: str) -> None:
    """Set the Keras policy for layers that are built from now on; variables stay float32.

    Full float32 is used on every device unless "tf32" is given. TensorFlow's own default from the
    A100 on rounds the inputs of convolutions and matrix products, those of labels and decoding
    included, to ten bits.

    Args:
        name: "float32", "tf32", "bfloat16" or "float16".
    """
    tf.config.experimental.enable_tensor_float_32_execution(name == "tf32")
    tf.keras.mixed_precision.set_global_policy(
        "float32" if name in ("float32", "tf32") else f"mixed_{name}"
    )


def select_device(name: str) -> None:
    """Apply --device.

    Args:
        name: "cpu" hides the GPUs, "gpu" requires one, "auto" uses one if there is one.

    Raises:
        InputError: Without a GPU under "gpu", and under "auto" if a card is present that a
            TensorFlow built with CUDA does not see: training for days on the CPU is rarely
            intended.
    """
    if name == "cpu":
        hide_gpus()
        return
    if tf.config.list_physical_devices("GPU"):
        grow_memory()
        return
    # Hidden on purpose, for example by a scheduler.
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    why = "" if hidden or not tf.test.is_built_with_cuda() else explain_unusable_gpu()
    if why or name == "gpu":
        raise InputError(f"--device={name}: {why or 'there is no GPU here'}")


def describe_devices() -> str:
    """Return the names of the GPUs in use, or of the CPU."""
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
    """Raise InputError unless TF_CONFIG describes a cluster and a place in it."""
    wanted = (
        '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": '
        '"worker", "index": 0}}, with a different index for each process; one may be the chief'
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
        raise InputError(
            f"--strategy=multi_worker: the environment variable TF_CONFIG must be such as {wanted}"
        )


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Create the distribution strategy. Call before TensorFlow computes anything.

    Args:
        name: "one": the default device. "mirrored": all GPUs of this machine. "multi_worker": all
            GPUs (else the CPU) of all processes that TF_CONFIG names.

    Raises:
        InputError: For devices or a TF_CONFIG that do not fit.
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
    """Return whether this process writes files: the chief, else the first worker."""
    if not is_distributed(strategy):
        return True
    resolver = strategy.cluster_resolver
    jobs = resolver.cluster_spec().jobs
    return (
        resolver.task_type == ("chief" if "chief" in jobs else "worker") and resolver.task_id == 0
    )


def is_distributed(strategy: tf.distribute.Strategy) -> bool:
    """Return whether several processes take part."""
    resolver = strategy.cluster_resolver
    return resolver is not None and bool(resolver.task_type)


def hide_gpus() -> None:
    """Keep this process, which only decodes images, from reserving GPU memory."""
    tf.config.set_visible_devices([], "GPU")


def grow_memory() -> None:
    """Allocate GPU memory on demand, so that processes can share a card; no effect once in use."""
    for card in tf.config.get_visible_devices("GPU"):
        # A program that uses tfcpn as a library may have used the GPU before.
        with contextlib.suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(card, True)


def configure(deterministic: bool) -> None:
    """Configure memory growth and, if asked, determinism.

    Args:
        deterministic: Make every run produce the same bits.
    """
    grow_memory()
    if deterministic:
        tf.config.experimental.enable_op_determinism()
        # The graph optimizer orders sums by memory addresses: with it, two of ten processes had
        # gradients with different last bits, without it none. One thread per operation on a CPU,
        # because some kernels sum over threads.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
        if not tf.config.get_visible_devices("GPU"):
            tf.config.threading.set_intra_op_parallelism_threads(1)
