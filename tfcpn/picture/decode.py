"""Decode images as `cv2.imread` does, and only the parts that regions touch."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfcpn.geometry.crops import crop_to_image


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

    Of a JPEG only the window is decoded, with the accurate integer DCT that OpenCV uses (TensorFlow's
    default is the fast one), so memory scales with the window, not with the image.

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
        # The decoder upsamples color from neighbors inside the window only. Two more columns on each
        # side make its first and last column equal to those of the whole image.
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
