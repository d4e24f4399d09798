"""Encoded images -> pixels, as `cv2.imread` decodes them, and no more of them than regions touch."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfcpn.geometry.crops import crop_to_image


class _Turn(NamedTuple):
    """How an image with an EXIF orientation (1..8) is shown: transposed first, then mirrored. Scalar bool tensors."""

    transposed: tf.Tensor
    left_right: tf.Tensor
    up_down: tf.Tensor


def _turn(orientation) -> _Turn:
    # The transpose is orientation 5; the mirrorings of 6, 7 and 8 follow it.
    left_right = (orientation == 2) | (orientation == 3) | (orientation == 6) | (orientation == 7)
    up_down = (orientation == 3) | (orientation == 4) | (orientation == 7) | (orientation == 8)
    return _Turn(orientation >= 5, left_right, up_down)


def _shown(image, turn: _Turn):
    """A decoded image (H, W, 3), or a part of one, as it is shown."""
    image = tf.cond(turn.transposed, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    image = tf.cond(turn.left_right, lambda: image[:, ::-1], lambda: image)
    return tf.cond(turn.up_down, lambda: image[::-1], lambda: image)


def _stored(window, image_size, turn: _Turn):
    """Where a window (y, x, height, width) of the image as shown, of `image_size` (height, width), lies in the file;
    and the width of the image there.
    """
    y, x, height, width = tf.unstack(window)
    y = tf.where(turn.up_down, image_size[0] - y - height, y)
    x = tf.where(turn.left_right, image_size[1] - x - width, x)
    upright, lying = tf.stack([y, x, height, width]), tf.stack([x, y, width, height])
    across = tf.where(turn.transposed, image_size[0], image_size[1])
    return tf.where(turn.transposed, lying, upright), across


def decode_window(encoded, orientation, window, image_size) -> tf.Tensor:
    """The pixels (h, w, 3) uint8 RGB of the window (y, x, height, width) of an encoded JPEG or PNG.

    Of a JPEG only the window is decoded, with the accurate integer DCT that OpenCV uses (TensorFlow's default is
    the fast one), so that memory goes by the window and not by the image. orientation: the image's EXIF orientation;
    window and image_size (height, width) are those of the image as shown. All int32.
    """
    turn = _turn(orientation)

    def whole():
        image = _shown(tf.io.decode_png(encoded, channels=3), turn)
        return tf.slice(image, [window[0], window[1], 0], [window[2], window[3], 3])

    def part():
        inside, across = _stored(window, image_size, turn)
        # The decoder upsamples colour from neighbours inside the window only: two more columns where there are
        # some, or its first and last column differ from those of the whole image.
        left = tf.minimum(inside[1], 2)
        right = tf.minimum(across - inside[1] - inside[3], 2)
        wider = tf.stack([inside[0], inside[1] - left, inside[2], left + inside[3] + right])
        image = tf.image.decode_and_crop_jpeg(encoded, wider, channels=3, dct_method="INTEGER_ACCURATE")
        return _shown(tf.slice(image, [0, left, 0], [inside[2], inside[3], 3]), turn)

    pixels = tf.cond(tf.io.is_jpeg(encoded), part, whole)
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
            encoded, orientation, tf.concat([low[::-1], size[::-1]], axis=0), tf.cast(image_size, tf.int32)
        ),
        lambda: tf.zeros((1, 1, 3), tf.uint8),
    )
    return Window(pixels, low)
