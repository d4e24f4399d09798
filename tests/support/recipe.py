"""The weights, images and labels behind the golden network numbers, made from a seed."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent.parent / "golden"
SEED = 20171120


def weight(name: str, shape) -> np.ndarray:
    """The value of the variable that TensorFlow 1 calls `name`."""
    r = np.random.RandomState((zlib.crc32(name.encode()) + SEED) % 2**32)
    kind = name.rsplit("/", 1)[1]
    if kind == "weights":
        value = r.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
    elif kind == "biases":
        value = r.standard_normal(shape) * 0.01
    elif kind == "gamma":
        value = r.uniform(0.5, 1, shape)
    elif kind == "moving_variance":
        value = r.uniform(0.5, 1.5, shape)
    else:  # beta, moving_mean
        value = r.standard_normal(shape) * 0.1
    return value.astype(np.float32)


def images(height: int, width: int) -> np.ndarray:
    return np.random.RandomState(SEED).uniform(-0.5, 0.5, (2, height, width, 3)).astype(np.float32)


def labels(height: int, width: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Four label maps (2, height, width, 17) in order, and the visibility (2, 17)."""
    r = np.random.RandomState(SEED + 1)
    cx, cy = r.randint(0, width, (2, 17)), r.randint(0, height, (2, 17))
    x, y = np.arange(width)[None, None, :, None], np.arange(height)[None, :, None, None]
    distance = (x - cx[:, None, None, :]) ** 2 + (y - cy[:, None, None, :]) ** 2
    maps = [
        (np.exp(-distance / (2 * sigma**2)) * 255).astype(np.float32)
        for sigma in (2.6, 2.0, 1.7, 1.4)
    ]
    return maps, r.choice([0.0, 1.0, 2.0], (2, 17), p=[0.2, 0.2, 0.6]).astype(np.float32)
