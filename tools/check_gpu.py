"""Say what TensorFlow computes on; fail if a GPU is required (REQUIRE_GPU is not 0) and none is
there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tfcpn.utils.device import install_hint

import tensorflow as tf  # isort: skip

# Docker and podman make a file each; the Dockerfile sets a variable for whatever else runs the
# image.
_CONTAINER_FILES = (Path("/.dockerenv"), Path("/run/.containerenv"))


def in_container() -> bool:
    """Return whether this process runs in a container."""
    return bool(os.environ.get("CONTAINER")) or any(path.exists() for path in _CONTAINER_FILES)


def main() -> None:
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        details = tf.config.experimental.get_device_details(gpu)
        compute_capability = ".".join(map(str, details.get("compute_capability", ())))
        print(
            f"{gpu.name}: {details.get('device_name', 'GPU')}, compute capability "
            f"{compute_capability}"
        )
    if not gpus and os.environ.get("REQUIRE_GPU", "1") != "0":
        if in_container():
            remedy = (
                "give the container the GPU: docker run --gpus all, podman run --device "
                "nvidia.com/gpu=all, or nvidia.com/gpu in a pod's limits, each with NVIDIA's "
                "container toolkit; -e REQUIRE_GPU=0"
            )
        else:
            remedy = f"install CUDA's libraries with {install_hint()}; REQUIRE_GPU=0"
        sys.exit(f"error: TensorFlow sees no GPU: look at nvidia-smi, and {remedy} runs on the CPU")
    if not gpus:
        print("no GPU: running on the CPU")


if __name__ == "__main__":
    main()
