"""Whether an NVIDIA card is in the machine that TensorFlow does not use, and what it lacks for that."""

from __future__ import annotations

import ctypes
import site
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

_NVIDIA, _DISPLAY = "0x10de", "0x03"


def cards(root: Path = Path("/")) -> list[str]:
    """Where the machine shows NVIDIA cards: of the driver, or of the PCI bus where there is no driver."""
    of_driver = sorted((root / "proc/driver/nvidia/gpus").glob("*")) + sorted((root / "dev").glob("nvidia[0-9]*"))
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
    """Whether the system finds a library, or one of the folders that NVIDIA's wheels put theirs in."""
    for candidate in [name, *(str(path) for folder in folders for path in folder.glob(f"nvidia/*/lib/{name}"))]:
        try:
            ctypes.CDLL(candidate)
            return True
        except OSError:
            continue
    return False


def libraries(build: Mapping[str, str]) -> list[str]:
    """Name the shared libraries that TensorFlow loads to use a GPU.

    Args:
        build: What `tf.sysconfig.get_build_info()` returns, of which "cuda_version" and "cudnn_version" count.

    Returns:
        File names such as libcudart.so.12. The first one comes with the driver, the others with CUDA and cuDNN.
    """
    cuda = str(build.get("cuda_version", 12)).split(".")[0]
    cudnn = str(build.get("cudnn_version", 8)).split(".")[0]
    # Two libraries count their own versions, one behind CUDA's.
    names = [f"lib{name}.so.{cuda}" for name in ("cudart", "cublas", "cublasLt", "cusparse")]
    names += [f"lib{name}.so.{int(cuda) - 1}" for name in ("cufft", "cusolver")]
    return ["libcuda.so.1", *names, f"libcudnn.so.{cudnn}"]


def missing_libraries() -> list[str]:
    """Return those of `libraries` that cannot be loaded."""
    folders = [Path(folder) for folder in site.getsitepackages()]
    return [name for name in libraries(tf.sysconfig.get_build_info()) if not _loads(name, folders)]


def install_hint() -> str:
    """Return the command that installs CUDA's libraries for the TensorFlow that is installed."""
    return f'pip install "tensorflow[and-cuda]=={tf.__version__}"'


def why_unused(root: Path = Path("/")) -> str:
    """What to say of a card that TensorFlow sees nothing of; empty if there is none."""
    seen = cards(root)
    if not seen:
        return ""
    missing = missing_libraries()
    lacks = f"cannot load {', '.join(missing)}" if missing else "loads CUDA's libraries; nvidia-smi may tell more"
    return (
        f"there is an NVIDIA card ({seen[0]}) but TensorFlow sees no GPU: it {lacks}; install them with "
        f"{install_hint()} (libcuda.so.1 comes with the driver), or give --device=cpu"
    )
