"""Image files of annotated images: found, compared with their annotation, and tried before they are relied on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tfcpn.base.errors import InputError
from tfcpn.data.coco import CocoImage
from tfcpn.picture.header import read_header


class Picture(NamedTuple):
    """An image file. height and width are as shown, after its EXIF orientation is applied."""

    path: str
    height: int
    width: int
    orientation: int


def _check_size(image: CocoImage, size: tuple[int, int], name: str) -> None:
    if size != (image.height, image.width):
        raise InputError(f"{name}: is {size[1]}x{size[0]} pixels, but annotated as {image.width}x{image.height}")


def picture_size(path) -> tuple[int, int]:
    """(height, width) of an image file as shown. Raises OSError, and InputError for a file that is no image."""
    with Path(path).open("rb") as file:
        return read_header(file, str(path))[:2]


def find_picture(image_dir, image: CocoImage) -> Picture:
    """The file of an annotated image, of which only the header is read. Raises InputError if it does not fit."""
    path = Path(image_dir) / image.file_name
    try:
        with path.open("rb") as file:
            height, width, orientation = read_header(file, str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); do the images fit the annotations?") from error
    _check_size(image, (height, width), str(path))
    return Picture(str(path), height, width, orientation)


def check_content(image: CocoImage, encoded: bytes) -> int:
    """Decode an image, compare it with its annotation and return its EXIF orientation.

    Decoded by what training uses, so a file that passes here cannot stop a training. Raises InputError.
    """
    import tensorflow as tf  # only those who decode wait for it

    height, width, orientation = read_header(encoded, image.file_name)
    # Before anything is decoded: a small file may say that it is a picture of gigabytes.
    _check_size(image, (height, width), image.file_name)
    try:
        with tf.device("CPU:0"):
            if tf.io.is_jpeg(encoded):
                tf.io.decode_jpeg(encoded, channels=3)
            else:
                tf.io.decode_png(encoded, channels=3)
    except tf.errors.InvalidArgumentError as error:
        raise InputError(f"{image.file_name}: cannot be decoded; the file is cut short or damaged") from error
    return orientation
