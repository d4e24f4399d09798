"""Encoded images -> pixels of a rectangle, decoded as `cv2.imread` does it."""

from __future__ import annotations

import io

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
    """The pixels (h, w, 3) uint8 BGR of the window (y, x, height, width) of an encoded JPEG or PNG.

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
    pixels = tf.ensure_shape(pixels, (None, None, 3))
    return pixels[..., ::-1]


def decode_rectangle(encoded, orientation, rectangle, image_size) -> tf.Tensor:
    """The pixels of a rectangle that may leave the image, whose outside has the mean colour.

    rectangle: (4,) int32 min x, min y, max x, max y, the maxima exclusive. image_size: (2,) height, width
    as shown. Returns (max y - min y, max x - min x, 3) uint8 BGR.
    """
    height, width = tf.unstack(tf.cast(image_size, tf.int32))
    x0, x1 = tf.clip_by_value(rectangle[0], 0, width), tf.clip_by_value(rectangle[2], 0, width)
    y0, y1 = tf.clip_by_value(rectangle[1], 0, height), tf.clip_by_value(rectangle[3], 0, height)
    size = tf.stack([rectangle[3] - rectangle[1], rectangle[2] - rectangle[0], 3])
    mean = tf.cast(tf.round(tf.constant(MEAN_BGR)), tf.uint8)

    def inside():
        pixels = decode_window(encoded, orientation, tf.stack([y0, x0, y1 - y0, x1 - x0]), width)
        before = tf.stack([y0 - rectangle[1], x0 - rectangle[0]])
        after = tf.stack([rectangle[3] - y1, rectangle[2] - x1])
        padding = tf.stack([before, after], axis=1)
        # Padding with the mean, channel by channel: pad the difference from it with zeros (modulo 256).
        return tf.pad(pixels - mean, tf.concat([padding, [[0, 0]]], axis=0)) + mean

    return tf.cond((x1 > x0) & (y1 > y0), inside, lambda: tf.broadcast_to(mean, size))


def decode_region(encoded, orientation, region, image_size, input_size: tuple[int, int]) -> tf.Tensor:
    """The pixels of a turned region, outside of which the image has the mean colour: (*input_size, 3) uint8 BGR.

    region: (5,) as in `align`. Bilinear, with pixel centres at halves, as `resize` has them; only the window of the
    image that the region touches is decoded.
    """
    height, width = tf.unstack(tf.cast(image_size, tf.int32))
    to_image = crop_to_image(region, input_size)
    frame = tf.constant([[0, 0, 1], [input_size[1], 0, 1], [0, input_size[0], 1], [*input_size[::-1], 1]], tf.float64)
    corners = tf.matmul(frame, to_image, transpose_b=True)
    limit = tf.cast(tf.stack([width, height]), tf.float64)
    low = tf.cast(tf.clip_by_value(tf.floor(tf.reduce_min(corners, axis=0)) - 1, 0, limit), tf.int32)
    high = tf.cast(tf.clip_by_value(tf.math.ceil(tf.reduce_max(corners, axis=0)) + 1, 0, limit), tf.int32)
    (x0, y0), (x1, y1) = tf.unstack(low), tf.unstack(high)

    def inside():
        window = decode_window(encoded, orientation, tf.stack([y0, x0, y1 - y0, x1 - x0]), width)
        # Crop pixel (i, j) has its centre at (i + .5, j + .5), and so has the window's.
        linear = to_image[:, :2]
        shift = tf.linalg.matvec(linear, tf.constant([0.5, 0.5], tf.float64)) + to_image[:, 2]
        shift = tf.cast(shift - tf.cast(low, tf.float64) - 0.5, tf.float32)
        linear = tf.cast(linear, tf.float32)
        flat = tf.concat([linear[0], shift[:1], linear[1], shift[1:], tf.zeros(2)], axis=0)
        mean = tf.constant(MEAN_BGR)
        difference = tf.cast(window, tf.float32) - mean
        warped = transform(difference[None], flat[None], "bilinear", output_shape=input_size, fill_mode="constant")
        return tf.cast(tf.floor(warped[0] + mean + 0.5), tf.uint8)

    mean = tf.cast(tf.round(tf.constant(MEAN_BGR)), tf.uint8)
    empty = (x1 <= x0) | (y1 <= y0)
    pixels = tf.cond(empty, lambda: tf.broadcast_to(mean, (*input_size, 3)), inside)
    return tf.ensure_shape(pixels, (*input_size, 3))


def resize(pixels, size: tuple[int, int]) -> tf.Tensor:
    """(h, w, 3) uint8 -> (*size, 3) uint8, OpenCV's bilinear resize: half-pixel centres, no antialiasing."""
    resized = tf.image.resize(pixels, size, method="bilinear", antialias=False)
    return tf.cast(tf.floor(resized + 0.5), tf.uint8)
