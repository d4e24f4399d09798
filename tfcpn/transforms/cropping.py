"""Decode the parts of images that regions touch, and cut the crops out of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.transforms.normalize import transform
from tfcpn.transforms.regions import crop_to_image, rectangle_from_region


class _ExifTransform(NamedTuple):
    """How to display an image of EXIF orientation 1 to 8: transpose, then mirror.

    Attributes:
        transposed, left_right, up_down: Scalar bool tensors.
    """

    transposed: tf.Tensor
    left_right: tf.Tensor
    up_down: tf.Tensor


def _exif_transform(orientation) -> _ExifTransform:
    # The transpose is orientation 5; the mirrorings of 6, 7 and 8 follow it.
    left_right = (orientation == 2) | (orientation == 3) | (orientation == 6) | (orientation == 7)
    up_down = (orientation == 3) | (orientation == 4) | (orientation == 7) | (orientation == 8)
    return _ExifTransform(orientation >= 5, left_right, up_down)


def _apply_exif(image, transform: _ExifTransform):
    """Transform a decoded image (H, W, 3), or a part of one, as it is displayed."""
    image = tf.cond(transform.transposed, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    image = tf.cond(transform.left_right, lambda: image[:, ::-1], lambda: image)
    return tf.cond(transform.up_down, lambda: image[::-1], lambda: image)


def _to_file_coordinates(window, image_size, transform: _ExifTransform):
    """Map a window of the displayed image to the image as stored in the file.

    Args:
        window: (4,) y, x, height, width.
        image_size: (2,) height, width as displayed.
        transform: The EXIF transform.

    Returns:
        The window (4,) in the file, and the width of the stored image.
    """
    y, x, height, width = tf.unstack(window)
    y = tf.where(transform.up_down, image_size[0] - y - height, y)
    x = tf.where(transform.left_right, image_size[1] - x - width, x)
    upright, lying = tf.stack([y, x, height, width]), tf.stack([x, y, width, height])
    across = tf.where(transform.transposed, image_size[0], image_size[1])
    return tf.where(transform.transposed, lying, upright), across


def decode_window(encoded, orientation, window, image_size) -> tf.Tensor:
    """Decode a window of a JPEG or PNG.

    Of a JPEG only the window is decoded, with the accurate integer DCT that OpenCV uses
    (TensorFlow's default is the fast one), so memory scales with the window, not with the image.

    Args:
        encoded: Scalar string, the file.
        orientation: Scalar int, EXIF orientation.
        window: (4,) int32 y, x, height, width in the displayed image.
        image_size: (2,) int32 height, width as displayed.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    transform = _exif_transform(orientation)

    def whole():
        image = _apply_exif(tf.io.decode_png(encoded, channels=3), transform)
        return tf.slice(image, [window[0], window[1], 0], [window[2], window[3], 3])

    def part():
        inside, across = _to_file_coordinates(window, image_size, transform)
        # The decoder upsamples color from neighbors inside the window only. Two more columns on
        # each side make its first and last column equal to those of the whole image.
        left = tf.minimum(inside[1], 2)
        right = tf.minimum(across - inside[1] - inside[3], 2)
        wider = tf.stack([inside[0], inside[1] - left, inside[2], left + inside[3] + right])
        image = tf.image.decode_and_crop_jpeg(
            encoded, wider, channels=3, dct_method="INTEGER_ACCURATE"
        )
        return _apply_exif(tf.slice(image, [0, left, 0], [inside[2], inside[3], 3]), transform)

    pixels = tf.cond(tf.io.is_jpeg(encoded), part, whole)
    return tf.ensure_shape(pixels, (None, None, 3))


class Window(NamedTuple):
    """A decoded part of an image.

    Attributes:
        pixels: (h, w, 3) uint8 RGB.
        corner: (2,) int32 x, y of the first pixel in the image.
    """

    pixels: tf.Tensor
    corner: tf.Tensor


def region_bounds(regions, input_size: tuple[int, int]):
    """Return the bounds of regions, with a margin of one pixel.

    Args:
        regions: (..., 5).
        input_size: (height, width) of the crop.

    Returns:
        Minimum and maximum x, y, each (2,) float64.
    """
    frame = tf.constant(
        [[0, 0, 1], [input_size[1], 0, 1], [0, input_size[0], 1], [*input_size[::-1], 1]],
        tf.float64,
    )
    corners = tf.reshape(
        tf.einsum("...ij,cj->...ci", crop_to_image(regions, input_size), frame), (-1, 2)
    )
    return tf.floor(tf.reduce_min(corners, axis=0)) - 1, tf.math.ceil(
        tf.reduce_max(corners, axis=0)
    ) + 1


def bounding_rectangle(regions, input_size: tuple[int, int], image_size) -> tf.Tensor:
    """Return the rectangle of the image that regions touch, with a margin of one pixel.

    Args:
        regions: (..., 5).
        input_size: (height, width) of the crop.
        image_size: (2,) height, width.

    Returns:
        (4,) int32 min x, min y, max x, max y; empty (max <= min) if no region touches the image.
    """
    limit = tf.cast(tf.reverse(tf.cast(image_size, tf.int32), [0]), tf.float64)
    low, high = (
        tf.clip_by_value(bound, 0.0, limit) for bound in region_bounds(regions, input_size)
    )
    return tf.cast(tf.concat([low, high], axis=0), tf.int32)


def at_least_one_pixel(rectangle, image_size) -> tf.Tensor:
    """Extend an empty rectangle to the nearest pixel of the image.

    Args:
        rectangle: (4,) int32 min x, min y, max x, max y.
        image_size: (2,) height, width.
    """
    last = tf.reverse(tf.cast(image_size, tf.int32), [0]) - 1
    low = tf.clip_by_value(rectangle[:2], 0, last)
    return tf.concat([low, tf.maximum(rectangle[2:], low + 1)], axis=0)


def crop_window(window: Window, region, size: tuple[int, int]) -> Window:
    """Restrict a window that several regions share to one of them.

    The crop of a region then has the same bits whichever regions share the window.

    Args:
        window: The shared window.
        region: (5,).
        size: (height, width) of the crop.
    """
    extent = tf.reverse(tf.shape(window.pixels)[:2], [0])
    low, high = (tf.cast(bound, tf.int32) - window.corner for bound in region_bounds(region, size))
    low = tf.clip_by_value(low, 0, extent - 1)
    high = tf.clip_by_value(high, low + 1, extent)
    pixels = window.pixels[low[1] : high[1], low[0] : high[0]]
    return Window(pixels, window.corner + low)


def decode_rectangle(encoded, orientation, rectangle, image_size) -> Window:
    """Decode a rectangle; an empty one becomes one black pixel.

    Args:
        encoded: Scalar string, the file.
        orientation: Scalar int, EXIF orientation.
        rectangle: (4,) as returned by `bounding_rectangle`.
        image_size: (2,) height, width.
    """
    low, size = rectangle[:2], rectangle[2:] - rectangle[:2]
    pixels = tf.cond(
        tf.reduce_all(size > 0),
        lambda: decode_window(
            encoded,
            orientation,
            tf.concat([low[::-1], size[::-1]], axis=0),
            tf.cast(image_size, tf.int32),
        ),
        lambda: tf.zeros((1, 1, 3), tf.uint8),
    )
    return Window(pixels, low)


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


def warp_region(
    window: Window, region, size: tuple[int, int], pad_color, corner_to_corner: bool = False
) -> tf.Tensor:
    """Warp a rotated region to a crop: bilinear, with pixel centers at halves or at corners.

    Args:
        window: The part of the image that the region touches.
        region: (5,), see `transforms.regions`.
        size: (height, width) of the result.
        pad_color: (3,) BGR of the area outside the image; None repeats the image's border.
        corner_to_corner: See `CropSpec`.

    Returns:
        (*size, 3) uint8 BGR.
    """
    window = crop_window(window, region, size)
    # The center of pixel (i, j) is (i + .5, j + .5), in the crop and in the window.
    center = 0.0 if corner_to_corner else 0.5
    to_image = crop_to_image(region, size)
    linear = to_image[:, :2]
    shift = tf.linalg.matvec(linear, tf.constant([center] * 2, tf.float64)) + to_image[:, 2]
    shift = tf.cast(shift - tf.cast(window.corner, tf.float64) - center, tf.float32)
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
        corner_to_corner: Whether pixel (0, 0) of a rotated crop is sampled at the region's corner
            rather than half a crop's pixel within it. MediaPipe does so; a person upside down is
            then more than a pixel of the image elsewhere.
    """

    size: tuple[int, int]
    rotated: bool
    pad_color: tuple[float, float, float] | None
    corner_to_corner: bool = False


def crop_region(window: Window, region, crop_spec: CropSpec) -> tf.Tensor:
    """Cut the crop of a region.

    Args:
        window: The part of the image that the region touches.
        region: (5,). A rectangle of whole pixels unless `crop_spec.rotated`.
        crop_spec: What crops look like.

    Returns:
        (*size, 3) uint8 BGR.
    """
    size, pad_color = crop_spec.size, crop_spec.pad_color
    if crop_spec.rotated:
        crop = warp_region(window, region, size, pad_color, crop_spec.corner_to_corner)
    else:
        crop = crop_and_resize(window, rectangle_from_region(region), size, pad_color)
    return tf.ensure_shape(crop, (*size, 3))


def decode_and_crop(image: dict, regions, crop_spec: CropSpec) -> tf.Tensor:
    """Decode the part of an image that regions touch, once, and cut their crops.

    Args:
        image: Tensors `encoded` (the file), `orientation` (EXIF) and `image_size` (height, width).
        regions: (P, 5). Rectangles of whole pixels unless `crop_spec.rotated`.
        crop_spec: What crops look like.

    Returns:
        (P, H, W, 3) uint8 BGR.
    """
    image_size = image["image_size"]
    rectangle = bounding_rectangle(regions, crop_spec.size, image_size)
    if crop_spec.pad_color is None:
        rectangle = at_least_one_pixel(rectangle, image_size)
    window = decode_rectangle(image["encoded"], image["orientation"], rectangle, image_size)
    if regions.shape[0] == 1:
        return crop_region(window, regions[0], crop_spec)[None]
    spec = tf.TensorSpec((*crop_spec.size, 3), tf.uint8)
    return tf.map_fn(
        lambda region: crop_region(window, region, crop_spec), regions, fn_output_signature=spec
    )


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
