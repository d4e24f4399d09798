"""Say what TensorFlow computes on; fail if a GPU is required (REQUIRE_GPU is not 0) and none is there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import tfcpn  # noqa: F401  (quietens TensorFlow's start)

import tensorflow as tf  # isort: skip


def main() -> None:
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        details = tf.config.experimental.get_device_details(gpu)
        capability = ".".join(map(str, details.get("compute_capability", ())))
        print(f"{gpu.name}: {details.get('device_name', 'GPU')}, compute capability {capability}")
    if not gpus and os.environ.get("REQUIRE_GPU", "1") != "0":
        if Path("/.dockerenv").exists():
            remedy = "give `docker run --gpus all` (with NVIDIA's container toolkit installed); -e REQUIRE_GPU=0"
        else:
            remedy = 'install CUDA\'s libraries with pip install "tensorflow[and-cuda]>=2.15,<2.16"; REQUIRE_GPU=0'
        sys.exit(f"error: TensorFlow sees no GPU: look at nvidia-smi, and {remedy} runs on the CPU")
    if not gpus:
        print("no GPU: running on the CPU")


if __name__ == "__main__":
    main()
