"""Decoded pixels of an image -> the crop of a region, in the input's size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfcpn.base.addons import transform
from tfcpn.geometry.crops import crop_to_image
from tfcpn.geometry.regions import region_rectangle
from tfcpn.picture.decode import Window, decode_touched, narrow, not_empty, touched


def _pad(pixels, before, after, outside) -> tf.Tensor:
    """Pixels (h, w, 3) uint8 RGB in a frame of a BGR colour. before, after: its widths (2,), x and y."""
    height, width = tf.unstack(tf.shape(pixels)[:2])
    colour = tf.cast(tf.round(tf.constant(outside[::-1])), tf.uint8)

    def block(rows, columns):
        # One row copied is much faster than a colour repeated over two axes.
        return tf.gather(tf.tile(colour, [columns])[None], tf.zeros([rows], tf.int32))

    # Rows of numbers, which a CPU joins much faster than triples.
    flat = tf.reshape(pixels, (height, width * 3))
    flat = tf.concat([block(height, before[0]), flat, block(height, after[0])], axis=1)
    width = before[0] + width + after[0]
    flat = tf.concat([block(before[1], width), flat, block(after[1], width)], axis=0)
    return tf.reshape(flat, (before[1] + height + after[1], width, 3))


def cut_rectangle(window: Window, rectangle, size: tuple[int, int], outside) -> tf.Tensor:
    """A rectangle that may leave the image, resized to (*size, 3) uint8 BGR.

    rectangle: (4,) int32 min x, min y, max x, max y, the maxima exclusive. window: what of the image it touches.
    outside: (3,) the colour in BGR that lies outside the image; None: its border is repeated.
    """
    limit = tf.reverse(tf.shape(window.pixels)[:2], [0])
    low = rectangle[:2] - window.corner
    high = rectangle[2:] - window.corner
    if outside is None:
        # At least the pixel that is nearest to the rectangle.
        start = tf.clip_by_value(low, 0, limit - 1)
        end = tf.clip_by_value(high, start + 1, limit)
    else:
        start, end = tf.clip_by_value(low, 0, limit), tf.clip_by_value(high, 0, limit)
    extent = tf.maximum(end - start, 0)
    pixels = tf.slice(window.pixels, [start[1], start[0], 0], [extent[1], extent[0], 3])
    if outside is None:
        # What of the rectangle lies beyond, on each side; all of it is on one side if it does not touch the image.
        row, column = (
            tf.clip_by_value(tf.range(low[axis], high[axis]), start[axis], end[axis] - 1) - start[axis]
            for axis in (1, 0)
        )
        return to_bgr(resize(tf.gather(tf.gather(pixels, row, axis=0), column, axis=1), size))
    before = tf.clip_by_value(start - low, 0, high - low - extent)
    after = high - low - extent - before
    leaves = tf.reduce_any(extent < high - low)
    pixels = tf.cond(leaves, lambda: _pad(pixels, before, after, outside), lambda: pixels)
    return to_bgr(resize(pixels, size))


def cut_turned(window: Window, region, size: tuple[int, int], outside) -> tf.Tensor:
    """The pixels of a turned region: (*size, 3) uint8 BGR.

    region: (5,) as in `geometry.regions`. Bilinear, with pixel centres at halves, as `resize` has them. window: what
    of the image it touches. outside: (3,) the colour in BGR that lies outside it; None: its border is repeated.
    """
    window = narrow(window, region, size)
    # Crop pixel (i, j) has its centre at (i + .5, j + .5), and so has the window's.
    to_image = crop_to_image(region, size)
    linear = to_image[:, :2]
    shift = tf.linalg.matvec(linear, tf.constant([0.5, 0.5], tf.float64)) + to_image[:, 2]
    shift = tf.cast(shift - tf.cast(window.corner, tf.float64) - 0.5, tf.float32)
    linear = tf.cast(linear, tf.float32)
    flat = tf.concat([linear[0], shift[:1], linear[1], shift[1:], tf.zeros(2)], axis=0)
    height, width = tf.unstack(tf.shape(window.pixels)[:2])
    if outside is None:
        pixels = tf.cast(window.pixels, tf.float32)[None]
        return to_bgr(transform(pixels, flat[None], "bilinear", output_shape=size, fill_mode="nearest")[0])
    colour = tf.constant(outside[::-1])
    # Rows of numbers, which a CPU adds much faster than triples.
    difference = tf.cast(tf.reshape(window.pixels, (height, width * 3)), tf.float32) - tf.tile(colour, [width])
    difference = tf.reshape(difference, (1, height, width, 3))
    warped = transform(difference, flat[None], "bilinear", output_shape=size, fill_mode="constant")[0]
    return to_bgr(warped + colour)


@dataclass(frozen=True)
class CropFormat:
    """What crops look like: their (height, width), whether regions may be turned, and the BGR colour outside.

    Without a colour the image's border is repeated outside.
    """

    size: tuple[int, int]
    turned: bool
    outside: tuple[float, float, float] | None


def decode_and_cut(image: dict, regions, crop_format: CropFormat) -> tf.Tensor:
    """The crops (P, H, W, 3) uint8 BGR of the regions (P, 5) of one image, of which what they touch is decoded once.

    image: its `encoded` file, its `orientation` and its `image_size` (height, width). regions: unless they may be
    turned, rectangles of whole pixels.
    """
    size, outside = crop_format.size, crop_format.outside
    image_size = image["image_size"]
    rectangle = touched(regions, size, image_size)
    if outside is None:
        rectangle = not_empty(rectangle, image_size)
    window = decode_touched(image["encoded"], image["orientation"], rectangle, image_size)
    cut = cut_turned if crop_format.turned else cut_rectangle
    places = regions if crop_format.turned else region_rectangle(regions)

    def crop(place):
        return tf.ensure_shape(cut(window, place, size, outside), (*size, 3))

    if regions.shape[0] == 1:
        return crop(places[0])[None]
    return tf.map_fn(crop, places, fn_output_signature=tf.TensorSpec((*size, 3), tf.uint8))


def resize(pixels, size: tuple[int, int]) -> tf.Tensor:
    """(h, w, 3) uint8 -> (*size, 3) float32, OpenCV's bilinear resize: half-pixel centres, no antialiasing."""
    return tf.image.resize(pixels, size, method="bilinear", antialias=False)


def to_bgr(pixels) -> tf.Tensor:
    """(H, W, 3) float32 RGB, H and W known -> uint8 BGR, rounded."""
    # A product swaps the channels, which is the fastest on a CPU, and more so for several pixels at a time.
    together = math.gcd(4, pixels.shape[0] * pixels.shape[1])
    swap = np.kron(np.eye(together), np.eye(3)[::-1])
    swapped = tf.matmul(tf.reshape(pixels, (-1, len(swap))), tf.constant(swap, tf.float32))
    # A cast cuts off what is behind the point.
    return tf.cast(tf.reshape(swapped, tf.shape(pixels)) + 0.5, tf.uint8)
