"""Smooth images made from noise, written in any format."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image


def photo(height=150, width=210, seed=0) -> np.ndarray:
    """A smooth color image, (height, width, 3) uint8 BGR."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def write(path, pixels: np.ndarray, orientation=None, **options) -> bytes:
    """Save BGR or gray pixels; returns the file's bytes."""
    image = Image.fromarray(pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    image.save(path, **options)
    return path.read_bytes()
