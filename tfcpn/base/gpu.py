"""Find out why TensorFlow does not use an NVIDIA card that is present."""

from __future__ import annotations

import ctypes
import site
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

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
        build: Result of `tf.sysconfig.get_build_info()`; "cuda_version" and "cudnn_version" are used.

    Returns:
        File names such as libcudart.so.12. The first one comes with the driver, the others with CUDA
        and cuDNN.
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
        f"there is an NVIDIA card ({seen[0]}) but TensorFlow sees no GPU: it {lacks}; install them with "
        f"{install_hint()} (libcuda.so.1 comes with the driver), or give --device=cpu"
    )
