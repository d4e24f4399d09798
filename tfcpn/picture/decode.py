"""Encoded images -> pixels, as `cv2.imread` decodes them, and no more of them than regions touch."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfcpn.geometry.crops import crop_to_image


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


def bounds(regions, input_size: tuple[int, int]):
    """The least and the greatest x, y, each (2,) float64, of regions (..., 5), and a pixel more."""
    frame = tf.constant([[0, 0, 1], [input_size[1], 0, 1], [0, input_size[0], 1], [*input_size[::-1], 1]], tf.float64)
    corners = tf.reshape(tf.einsum("...ij,cj->...ci", crop_to_image(regions, input_size), frame), (-1, 2))
    return tf.floor(tf.reduce_min(corners, axis=0)) - 1, tf.math.ceil(tf.reduce_max(corners, axis=0)) + 1


def touched(regions, input_size: tuple[int, int], image_size) -> tf.Tensor:
    """The rectangle (4,) int32 min x, min y, max x, max y of the image that regions (..., 5) touch, and a pixel more.

    Empty (a maximum is not above its minimum) if none touches the image. image_size: (2,) height, width.
    """
    limit = tf.cast(tf.reverse(tf.cast(image_size, tf.int32), [0]), tf.float64)
    low, high = (tf.clip_by_value(bound, 0.0, limit) for bound in bounds(regions, input_size))
    return tf.cast(tf.concat([low, high], axis=0), tf.int32)


def not_empty(rectangle, image_size) -> tf.Tensor:
    """A rectangle (4,) int32 of the image that may be empty, with at least the pixel that is nearest to it."""
    last = tf.reverse(tf.cast(image_size, tf.int32), [0]) - 1
    low = tf.clip_by_value(rectangle[:2], 0, last)
    return tf.concat([low, tf.maximum(rectangle[2:], low + 1)], axis=0)


def narrow(window: Window, region, size: tuple[int, int]) -> Window:
    """Of a window that several regions touch what one touches: its crop gets the same bits whoever else is there."""
    extent = tf.reverse(tf.shape(window.pixels)[:2], [0])
    low, high = (tf.cast(bound, tf.int32) - window.corner for bound in bounds(region, size))
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
