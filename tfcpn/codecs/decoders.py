"""Sub-pixel peaks of heatmaps: tf-cpn's rule and DARK."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfcpn.codecs.gaussian import blur_matrix

DECODE_KERNEL = 21
DECODE_BORDER = 10
_MIN_VALUE = 1e-10  # below, the logarithm is meaningless

# Maps (N, K, h, w) float32 -> x and y (N, K) in heatmap pixels with centers at integers.
PeakFinder = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def padded_blur(length: int) -> np.ndarray:
    """Return the matrix that pads a column with zeros on both sides and blurs it.

    Args:
        length: Length of the column.

    Returns:
        (length + 20, length) float32.
    """
    matrix = blur_matrix(length + 2 * DECODE_BORDER, DECODE_KERNEL)
    return matrix[:, DECODE_BORDER:-DECODE_BORDER].astype(np.float32)


def _argmax(values) -> tf.Tensor:
    return tf.argmax(values, axis=-1, output_type=tf.int32)


def _top_two(maps):
    """Return the positions of the two largest pixels.

    Of equal pixels the first in row-major order counts, as in numpy's argmax.

    Args:
        maps: (N, K, h, w).

    Returns:
        x, y (N, K) of the maximum, and x, y of the maximum of the maps with 0 in its place.
    """
    # The maximum of each row first: max is many times faster than argmax.
    best = tf.reduce_max(maps, axis=3)
    y = _argmax(best)
    row = tf.gather(maps, y, axis=2, batch_dims=2)
    x = _argmax(row)
    rest = tf.where(tf.range(maps.shape[3]) == x[..., None], 0.0, row)
    best = tf.where(
        tf.range(maps.shape[2]) == y[..., None], tf.reduce_max(rest, axis=2)[..., None], best
    )
    y2 = _argmax(best)
    row2 = tf.where((y2 == y)[..., None], rest, tf.gather(maps, y2, axis=2, batch_dims=2))
    return (x, y), (_argmax(row2), y2)


def tf_cpn_peaks(size: tuple[int, int]) -> PeakFinder:
    """Return tf-cpn's rule: argmax of the blurred map, plus 1/4 pixel towards the second one.

    Args:
        size: (height, width) of the maps.
    """
    height, width = size
    blur_y, blur_x = padded_blur(height), padded_blur(width)

    def peaks(maps):
        peak = tf.reduce_max(maps, axis=(2, 3), keepdims=True)
        # A map with a negative maximum changes sign here, as in tf-cpn.
        blurred = tf.math.divide_no_nan(maps, peak)
        blurred = tf.matmul(tf.matmul(blur_y, blurred), blur_x, transpose_b=True)
        # On the padded map: the second maximum of a peak on the border may lie outside.
        (x1, y1), (x2, y2) = _top_two(blurred)
        step_x, step_y = tf.cast(x2 - x1, tf.float32), tf.cast(y2 - y1, tf.float32)
        length = tf.sqrt(step_x**2 + step_y**2)
        x = tf.cast(x1 - DECODE_BORDER, tf.float32) + tf.math.divide_no_nan(0.25 * step_x, length)
        y = tf.cast(y1 - DECODE_BORDER, tf.float32) + tf.math.divide_no_nan(0.25 * step_y, length)
        return x, y

    return peaks


def dark_peaks(size: tuple[int, int], kernel: int) -> PeakFinder:
    """Return DARK (arXiv 1910.06278, section 3.2): one Newton step from the argmax.

    The step -H^-1 D goes to the peak of the logarithm of the map, blurred as labels are, by central
    differences; of a Gaussian that is a parabola. Steps of more than a pixel and steps from the
    border are not taken.

    Args:
        size: (height, width) of the maps.
        kernel: Size of the labels' Gaussian in pixels.
    """
    height, width = size
    blur_y, blur_x = (blur_matrix(length, kernel).astype(np.float32) for length in size)

    def peaks(maps):
        smooth = tf.matmul(tf.matmul(blur_y, tf.maximum(maps, 0.0)), blur_x, transpose_b=True)
        first = tf.argmax(
            tf.reshape(maps, (-1, maps.shape[1], height * width)), axis=2, output_type=tf.int32
        )
        row, column = first // width, first % width
        flat = tf.reshape(
            tf.math.log(tf.maximum(smooth, _MIN_VALUE)), (-1, maps.shape[1], height * width)
        )

        def at(down: int, right: int):
            y, x = (
                tf.clip_by_value(row + down, 0, height - 1),
                tf.clip_by_value(column + right, 0, width - 1),
            )
            return tf.gather(flat, y * width + x, axis=2, batch_dims=2)

        middle = at(0, 0)
        dx, dy = (at(0, 1) - at(0, -1)) / 2, (at(1, 0) - at(-1, 0)) / 2
        dxx, dyy = at(0, 1) - 2 * middle + at(0, -1), at(1, 0) - 2 * middle + at(-1, 0)
        dxy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
        determinant = dxx * dyy - dxy**2
        step_x = -tf.math.divide_no_nan(dyy * dx - dxy * dy, determinant)
        step_y = -tf.math.divide_no_nan(dxx * dy - dxy * dx, determinant)
        inside = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
        summit = (
            inside
            & (determinant > 0)
            & (dxx < 0)
            & (tf.maximum(tf.abs(step_x), tf.abs(step_y)) <= 1)
        )
        zero = tf.zeros_like(step_x)
        x = tf.cast(column, tf.float32) + tf.where(summit, step_x, zero)
        return x, tf.cast(row, tf.float32) + tf.where(summit, step_y, zero)

    return peaks


DECODERS = ("tf_cpn", "dark")


def build_peak_finder(decoder: str, size: tuple[int, int], kernel: int) -> PeakFinder:
    """Return the function that finds peaks.

    Args:
        decoder: One of `DECODERS`.
        size: (height, width) of the maps.
        kernel: Size of the labels' Gaussian in pixels.
    """
    return dark_peaks(size, kernel) if decoder == "dark" else tf_cpn_peaks(size)
