"""Cut the crop of a region out of a decoded image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfcpn.base.addons import transform
from tfcpn.geometry.crops import crop_to_image
from tfcpn.geometry.regions import rectangle_from_region
from tfcpn.picture.decode import (
    Window,
    at_least_one_pixel,
    bounding_rectangle,
    crop_window,
    decode_rectangle,
)


def _pad(pixels, before, after, pad_color) -> tf.Tensor:
    """Pad an image with a color.

    Args:
        pixels: (h, w, 3) uint8 RGB.
        before: (2,) columns and rows before the image.
        after: (2,) columns and rows after it.
        pad_color: (3,) BGR.
    """
    height, width = tf.unstack(tf.shape(pixels)[:2])
    color = tf.cast(tf.round(tf.constant(pad_color[::-1])), tf.uint8)

    def block(rows, columns):
        # Copying one row is much faster than repeating a color over two axes.
        return tf.gather(tf.tile(color, [columns])[None], tf.zeros([rows], tf.int32))

    # Rows of numbers: a CPU concatenates them much faster than triples.
    flat = tf.reshape(pixels, (height, width * 3))
    flat = tf.concat([block(height, before[0]), flat, block(height, after[0])], axis=1)
    width = before[0] + width + after[0]
    flat = tf.concat([block(before[1], width), flat, block(after[1], width)], axis=0)
    return tf.reshape(flat, (before[1] + height + after[1], width, 3))


def crop_and_resize(window: Window, rectangle, size: tuple[int, int], pad_color) -> tf.Tensor:
    """Crop a rectangle that may leave the image, and resize it.

    Args:
        window: The part of the image that the rectangle touches.
        rectangle: (4,) int32 min x, min y, max x, max y; the maxima are exclusive.
        size: (height, width) of the result.
        pad_color: (3,) BGR of the area outside the image; None repeats the image's border.

    Returns:
        (*size, 3) uint8 BGR.
    """
    limit = tf.reverse(tf.shape(window.pixels)[:2], [0])
    low = rectangle[:2] - window.corner
    high = rectangle[2:] - window.corner
    if pad_color is None:
        # At least the pixel nearest to the rectangle.
        start = tf.clip_by_value(low, 0, limit - 1)
        end = tf.clip_by_value(high, start + 1, limit)
    else:
        start, end = tf.clip_by_value(low, 0, limit), tf.clip_by_value(high, 0, limit)
    extent = tf.maximum(end - start, 0)
    pixels = tf.slice(window.pixels, [start[1], start[0], 0], [extent[1], extent[0], 3])
    if pad_color is None:
        # Clip the indices of rows and columns that lie outside.
        row, column = (
            tf.clip_by_value(tf.range(low[axis], high[axis]), start[axis], end[axis] - 1)
            - start[axis]
            for axis in (1, 0)
        )
        return to_bgr(resize(tf.gather(tf.gather(pixels, row, axis=0), column, axis=1), size))
    before = tf.clip_by_value(start - low, 0, high - low - extent)
    after = high - low - extent - before
    leaves = tf.reduce_any(extent < high - low)
    pixels = tf.cond(leaves, lambda: _pad(pixels, before, after, pad_color), lambda: pixels)
    return to_bgr(resize(pixels, size))


def warp_region(window: Window, region, size: tuple[int, int], pad_color) -> tf.Tensor:
    """Warp a rotated region to a crop: bilinear, with pixel centers at halves.

    Args:
        window: The part of the image that the region touches.
        region: (5,), see `geometry.regions`.
        size: (height, width) of the result.
        pad_color: (3,) BGR of the area outside the image; None repeats the image's border.

    Returns:
        (*size, 3) uint8 BGR.
    """
    window = crop_window(window, region, size)
    # The center of pixel (i, j) is (i + .5, j + .5), in the crop and in the window.
    to_image = crop_to_image(region, size)
    linear = to_image[:, :2]
    shift = tf.linalg.matvec(linear, tf.constant([0.5, 0.5], tf.float64)) + to_image[:, 2]
    shift = tf.cast(shift - tf.cast(window.corner, tf.float64) - 0.5, tf.float32)
    linear = tf.cast(linear, tf.float32)
    flat = tf.concat([linear[0], shift[:1], linear[1], shift[1:], tf.zeros(2)], axis=0)
    height, width = tf.unstack(tf.shape(window.pixels)[:2])
    if pad_color is None:
        pixels = tf.cast(window.pixels, tf.float32)[None]
        return to_bgr(
            transform(pixels, flat[None], "bilinear", output_shape=size, fill_mode="nearest")[0]
        )
    color = tf.constant(pad_color[::-1])
    # Rows of numbers: a CPU adds them much faster than triples.
    difference = tf.cast(tf.reshape(window.pixels, (height, width * 3)), tf.float32) - tf.tile(
        color, [width]
    )
    difference = tf.reshape(difference, (1, height, width, 3))
    warped = transform(difference, flat[None], "bilinear", output_shape=size, fill_mode="constant")[
        0
    ]
    return to_bgr(warped + color)


@dataclass(frozen=True)
class CropSpec:
    """What crops look like.

    Attributes:
        size: (height, width).
        rotated: Whether regions may be rotated.
        pad_color: BGR of the area outside the image; None repeats the image's border.
    """

    size: tuple[int, int]
    rotated: bool
    pad_color: tuple[float, float, float] | None


def decode_and_crop(image: dict, regions, crop_spec: CropSpec) -> tf.Tensor:
    """Decode the part of an image that regions touch, once, and cut their crops.

    Args:
        image: Tensors `encoded` (the file), `orientation` (EXIF) and `image_size` (height, width).
        regions: (P, 5). Rectangles of whole pixels unless `crop_spec.rotated`.
        crop_spec: What crops look like.

    Returns:
        (P, H, W, 3) uint8 BGR.
    """
    size, pad_color = crop_spec.size, crop_spec.pad_color
    image_size = image["image_size"]
    rectangle = bounding_rectangle(regions, size, image_size)
    if pad_color is None:
        rectangle = at_least_one_pixel(rectangle, image_size)
    window = decode_rectangle(image["encoded"], image["orientation"], rectangle, image_size)
    cut = warp_region if crop_spec.rotated else crop_and_resize
    places = regions if crop_spec.rotated else rectangle_from_region(regions)

    def crop(place):
        return tf.ensure_shape(cut(window, place, size, pad_color), (*size, 3))

    if regions.shape[0] == 1:
        return crop(places[0])[None]
    return tf.map_fn(crop, places, fn_output_signature=tf.TensorSpec((*size, 3), tf.uint8))


def resize(pixels, size: tuple[int, int]) -> tf.Tensor:
    """Resize as OpenCV's bilinear resize: half-pixel centers, no antialiasing.

    Args:
        pixels: (h, w, 3) uint8.
        size: (height, width).

    Returns:
        (*size, 3) float32.
    """
    return tf.image.resize(pixels, size, method="bilinear", antialias=False)


def to_bgr(pixels) -> tf.Tensor:
    """Convert RGB to rounded BGR.

    Args:
        pixels: (H, W, 3) float32 RGB; H and W must be static.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    # A matrix product swaps channels fastest on a CPU, more so for several pixels at once.
    group = math.gcd(4, pixels.shape[0] * pixels.shape[1])
    swap = np.kron(np.eye(group), np.eye(3)[::-1])
    swapped = tf.matmul(tf.reshape(pixels, (-1, len(swap))), tf.constant(swap, tf.float32))
    # A cast truncates.
    return tf.cast(tf.reshape(swapped, tf.shape(pixels)) + 0.5, tf.uint8)
