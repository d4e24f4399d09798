"""OpenCV's Gaussian blur as matrices: it is separable, so two small products apply it."""

from __future__ import annotations

import numpy as np

# OpenCV uses these tables instead of the formula for sigma 0 and small kernels.
_OPENCV_TABLES = {
    1: (1.0,),
    3: (0.25, 0.5, 0.25),
    5: (0.0625, 0.25, 0.375, 0.25, 0.0625),
    7: (0.03125, 0.109375, 0.21875, 0.28125, 0.21875, 0.109375, 0.03125),
    9: tuple(n / 256 for n in (4, 13, 30, 51, 60, 51, 30, 13, 4)),
}


def gaussian_kernel(size: int) -> np.ndarray:
    """Return OpenCV's getGaussianKernel(size, sigma=0).

    The table for 9 came with a later OpenCV than the one tf-cpn was published with; with the
    formula, a label map of that width differs by up to 1.8% of its peak.

    Args:
        size: Odd size in heatmap pixels.

    Returns:
        (size,) float64 with sum 1.
    """
    if size in _OPENCV_TABLES:
        return np.array(_OPENCV_TABLES[size])
    sigma = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
    x = np.arange(size) - (size - 1) / 2
    k = np.exp(-(x**2) / (2 * sigma**2))
    return k / k.sum()


def blur_matrix(length: int, size: int) -> np.ndarray:
    """Return the matrix that blurs a column: `blurred = matrix @ column`.

    At its ends the column is mirrored about the edge pixel (OpenCV's reflect-101).

    Args:
        length: Length of the column.
        size: Size of the kernel, odd.

    Returns:
        (length, length) float64.
    """
    matrix = np.zeros((length, length))
    for offset, weight in zip(range(-(size // 2), size // 2 + 1), gaussian_kernel(size)):
        for row in range(length):
            source = row + offset
            while not 0 <= source < length:  # repeated where the kernel is wider than the map
                source = -source if source < 0 else 2 * (length - 1) - source
            matrix[row, source] += weight
    return matrix
