"""Encoded images -> pixels of a rectangle, decoded as `cv2.imread` does it."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from tfcpn.addons import transform
from tfcpn.align import crop_to_image
from tfcpn.augment import MEAN_BGR
from tfcpn.errors import InputError

_EXIF_ORIENTATION = 0x0112
FORMATS = ("JPEG", "MPO", "PNG")  # MPO: a JPEG with more pictures behind it, as phones write


def read_header(encoded: bytes, name: str) -> tuple[int, int, int]:
    """(height, width, EXIF orientation) of an encoded image, without decoding it.

    height and width are those of the image as shown, after the orientation (1..8) is applied: what cv2.imread
    returns. Raises InputError, naming the file `name`, if it is neither JPEG nor PNG.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            width, height = image.size
            orientation = image.getexif().get(_EXIF_ORIENTATION, 1) if image.format != "PNG" else 1
            known = image.format in FORMATS
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError):
        known = False
    if not known:
        raise InputError(f"{name}: not a JPEG or PNG image")
    if orientation not in range(1, 9):
        orientation = 1
    return (width, height, orientation) if orientation >= 5 else (height, width, orientation)


def _apply_orientation(image, orientation):
    """Turn and mirror a decoded image (H, W, 3) as its EXIF orientation (1..8) says."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    # The transpose is orientation 5; the mirrorings of 6, 7 and 8 follow it.
    left_right = (orientation == 2) | (orientation == 3) | (orientation == 6) | (orientation == 7)
    up_down = (orientation == 3) | (orientation == 4) | (orientation == 7) | (orientation == 8)
    image = tf.cond(left_right, lambda: image[:, ::-1], lambda: image)
    return tf.cond(up_down, lambda: image[::-1], lambda: image)


def decode_window(encoded, orientation, window, image_width) -> tf.Tensor:
    """The pixels (h, w, 3) uint8 RGB of the window (y, x, height, width) of an encoded JPEG or PNG.

    Of a JPEG only the window is decoded, with the accurate integer DCT that OpenCV uses (TensorFlow's default is
    the fast one). orientation: the image's EXIF orientation; window and image_width are those of the image as shown.
    """

    def whole():
        image = tf.cond(
            tf.io.is_jpeg(encoded),
            lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
            lambda: tf.io.decode_png(encoded, channels=3),
        )
        image = _apply_orientation(image, orientation)
        return tf.slice(image, [window[0], window[1], 0], [window[2], window[3], 3])

    def part():
        # The decoder upsamples colour from neighbours inside the window only: two more columns where there are
        # some, or its first and last column differ from those of the whole image.
        left = tf.minimum(window[1], 2)
        right = tf.minimum(image_width - window[1] - window[3], 2)
        wider = tf.stack([window[0], window[1] - left, window[2], left + window[3] + right])
        image = tf.image.decode_and_crop_jpeg(encoded, wider, channels=3, dct_method="INTEGER_ACCURATE")
        return tf.slice(image, [0, left, 0], [window[2], window[3], 3])

    pixels = tf.cond(tf.io.is_jpeg(encoded) & (orientation == 1), part, whole)
    return tf.ensure_shape(pixels, (None, None, 3))


class Window(NamedTuple):
    """Decoded pixels (h, w, 3) uint8 RGB, and where in the image they lie: (2,) int32 x, y of their first pixel."""

    pixels: tf.Tensor
    corner: tf.Tensor


def _bounds(regions, input_size: tuple[int, int]):
    """The least and the greatest x, y, each (2,) float64, of regions (..., 5), and a pixel more."""
    frame = tf.constant([[0, 0, 1], [input_size[1], 0, 1], [0, input_size[0], 1], [*input_size[::-1], 1]], tf.float64)
    corners = tf.reshape(tf.einsum("...ij,cj->...ci", crop_to_image(regions, input_size), frame), (-1, 2))
    return tf.floor(tf.reduce_min(corners, axis=0)) - 1, tf.math.ceil(tf.reduce_max(corners, axis=0)) + 1


def touched(regions, input_size: tuple[int, int], image_size) -> tf.Tensor:
    """The rectangle (4,) int32 min x, min y, max x, max y of the image that regions (..., 5) touch, and a pixel more.

    Empty (a maximum is not above its minimum) if none touches the image. image_size: (2,) height, width.
    """
    limit = tf.cast(tf.reverse(tf.cast(image_size, tf.int32), [0]), tf.float64)
    low, high = (tf.clip_by_value(bound, 0.0, limit) for bound in _bounds(regions, input_size))
    return tf.cast(tf.concat([low, high], axis=0), tf.int32)


def _narrow(window: Window, region, size: tuple[int, int]) -> Window:
    """Of a window that several regions touch what one touches: its crop gets the same bits whoever else is there."""
    extent = tf.reverse(tf.shape(window.pixels)[:2], [0])
    low, high = (tf.cast(bound, tf.int32) - window.corner for bound in _bounds(region, size))
    low = tf.clip_by_value(low, 0, extent - 1)
    high = tf.clip_by_value(high, low + 1, extent)
    pixels = window.pixels[low[1] : high[1], low[0] : high[0]]
    return Window(pixels, window.corner + low)


def decode_touched(encoded, orientation, rectangle, image_size) -> Window:
    """Decode the rectangle (4,) that `touched` found; one black pixel if it is empty."""
    low, size = rectangle[:2], rectangle[2:] - rectangle[:2]
    pixels = tf.cond(
        tf.reduce_all(size > 0),
        lambda: decode_window(
            encoded, orientation, tf.concat([low[::-1], size[::-1]], axis=0), tf.cast(image_size[1], tf.int32)
        ),
        lambda: tf.zeros((1, 1, 3), tf.uint8),
    )
    return Window(pixels, low)


def _rows_of(colour, width) -> tf.Tensor:
    """A colour (3,) repeated to a row (width * 3,): a CPU adds rows of numbers much faster than triples."""
    return tf.tile(colour, [width])


def _pad_with_mean(pixels, before, after) -> tf.Tensor:
    """Pixels (h, w, 3) uint8 in a frame of the mean colour. before, after: its widths (2,), x and y."""
    height, width = tf.unstack(tf.shape(pixels)[:2])
    mean = tf.cast(tf.round(tf.constant(MEAN_BGR[::-1])), tf.uint8)
    # Channel by channel: pad the difference from the mean with zeros (modulo 256).
    flat = tf.reshape(pixels, (height, width * 3)) - _rows_of(mean, width)
    flat = tf.pad(flat, [[before[1], after[1]], [before[0] * 3, after[0] * 3]])
    height, width = before[1] + height + after[1], before[0] + width + after[0]
    return tf.reshape(flat + _rows_of(mean, width), (height, width, 3))


def cut_rectangle(window: Window, rectangle, size: tuple[int, int]) -> tf.Tensor:
    """A rectangle that may leave the image, whose outside has the mean colour, resized to (*size, 3) uint8 BGR.

    rectangle: (4,) int32 min x, min y, max x, max y, the maxima exclusive. window: what of the image it touches.
    """
    limit = tf.reverse(tf.shape(window.pixels)[:2], [0])
    low = rectangle[:2] - window.corner
    high = rectangle[2:] - window.corner
    start, end = tf.clip_by_value(low, 0, limit), tf.clip_by_value(high, 0, limit)
    extent = tf.maximum(end - start, 0)
    pixels = tf.slice(window.pixels, [start[1], start[0], 0], [extent[1], extent[0], 3])
    before = tf.clip_by_value(start - low, 0, high - low - extent)
    after = high - low - extent - before
    leaves = tf.reduce_any(extent < high - low)
    pixels = tf.cond(leaves, lambda: _pad_with_mean(pixels, before, after), lambda: pixels)
    return to_bgr(resize(pixels, size))


def cut_turned(window: Window, region, size: tuple[int, int]) -> tf.Tensor:
    """The pixels of a turned region, outside of which the image has the mean colour: (*size, 3) uint8 BGR.

    region: (5,) as in `align`. Bilinear, with pixel centres at halves, as `resize` has them. window: what of the
    image it touches.
    """
    window = _narrow(window, region, size)
    # Crop pixel (i, j) has its centre at (i + .5, j + .5), and so has the window's.
    to_image = crop_to_image(region, size)
    linear = to_image[:, :2]
    shift = tf.linalg.matvec(linear, tf.constant([0.5, 0.5], tf.float64)) + to_image[:, 2]
    shift = tf.cast(shift - tf.cast(window.corner, tf.float64) - 0.5, tf.float32)
    linear = tf.cast(linear, tf.float32)
    flat = tf.concat([linear[0], shift[:1], linear[1], shift[1:], tf.zeros(2)], axis=0)
    height, width = tf.unstack(tf.shape(window.pixels)[:2])
    mean = tf.constant(MEAN_BGR[::-1])
    difference = tf.cast(tf.reshape(window.pixels, (height, width * 3)), tf.float32) - _rows_of(mean, width)
    difference = tf.reshape(difference, (1, height, width, 3))
    warped = transform(difference, flat[None], "bilinear", output_shape=size, fill_mode="constant")[0]
    return to_bgr(warped + mean)


def resize(pixels, size: tuple[int, int]) -> tf.Tensor:
    """(h, w, 3) uint8 -> (*size, 3) float32, OpenCV's bilinear resize: half-pixel centres, no antialiasing."""
    return tf.image.resize(pixels, size, method="bilinear", antialias=False)


def to_bgr(pixels) -> tf.Tensor:
    """(H, W, 3) float32 RGB -> uint8 BGR, rounded. A product swaps the channels, which is the fastest on a CPU."""
    swapped = tf.matmul(tf.reshape(pixels, (-1, 3)), tf.constant(np.eye(3)[::-1], tf.float32))
    return tf.cast(tf.floor(tf.reshape(swapped, tf.shape(pixels)) + 0.5), tf.uint8)
