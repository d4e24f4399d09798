"""Whether an NVIDIA card is in the machine that TensorFlow does not use, and what it lacks for that."""

from __future__ import annotations

import ctypes
import site
from pathlib import Path

# What TensorFlow 2.15 loads, by the CUDA 12 that it is built with; the first comes with the driver.
LIBRARIES = (
    "libcuda.so.1",
    "libcudart.so.12",
    "libcublas.so.12",
    "libcublasLt.so.12",
    "libcufft.so.11",
    "libcusolver.so.11",
    "libcusparse.so.12",
    "libcudnn.so.8",
)
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


def missing_libraries() -> list[str]:
    """Those of LIBRARIES that cannot be loaded."""
    folders = [Path(folder) for folder in site.getsitepackages()]
    return [name for name in LIBRARIES if not _loads(name, folders)]


def why_unused(root: Path = Path("/")) -> str:
    """What to say of a card that TensorFlow sees nothing of; empty if there is none."""
    seen = cards(root)
    if not seen:
        return ""
    missing = missing_libraries()
    lacks = f"cannot load {', '.join(missing)}" if missing else "loads CUDA's libraries; nvidia-smi may tell more"
    return (
        f"there is an NVIDIA card ({seen[0]}) but TensorFlow sees no GPU: it {lacks}; install them with pip install "
        '"tensorflow[and-cuda]>=2.15,<2.16" (libcuda.so.1 comes with the driver), or give --device=cpu'
    )
