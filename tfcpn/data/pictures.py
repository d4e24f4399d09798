"""Image files of annotated images: found, compared with their annotation, and tried before they are relied on."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from tfcpn.base.errors import InputError
from tfcpn.base.files import file_fingerprint, write_atomically
from tfcpn.data.coco import CocoImage
from tfcpn.picture.header import ImageHeader, read_header
from tfcpn.picture.read import to_tensorflow_format


class ImageFile(NamedTuple):
    """An image file. height and width are as shown, after its EXIF orientation is applied."""

    path: str
    height: int
    width: int
    orientation: int


def _check_size(image: CocoImage, header: ImageHeader, name: str) -> None:
    if (header.height, header.width) == (image.height, image.width):
        return
    why = ""
    if header.orientation >= 5 and (header.width, header.height) == (image.height, image.width):
        why = (
            f": it was annotated as it lies in the file, and its EXIF orientation ({header.orientation}) turns it; "
            "remove the orientation from the file, or annotate it as it is shown"
        )
    raise InputError(
        f"{name}: is {header.width}x{header.height} pixels, but annotated as {image.width}x{image.height}{why}"
    )


@functools.lru_cache(maxsize=1)
def _folder() -> Path:
    """Return a folder for converted images, for the life of this process."""
    folder = Path(tempfile.mkdtemp(prefix="tfcpn-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _as_png(path: Path) -> Path:
    """Return a PNG of an image in a format that TensorFlow does not decode, made once. Several threads may ask."""
    key = hashlib.sha256(
        repr((os.path.abspath(path), file_fingerprint(str(path)))).encode()
    ).hexdigest()
    target = _folder() / f"{key[:32]}.png"
    if not target.exists():
        write_atomically(target, to_tensorflow_format(path.read_bytes(), str(path)), durable=False)
    return target


def read_image_size(path) -> tuple[int, int]:
    """(height, width) of an image file as shown. Raises OSError, and InputError for a file that is no image."""
    with Path(path).open("rb") as file:
        header = read_header(file, str(path))
    return header.height, header.width


def find_image(image_dir, image: CocoImage) -> ImageFile:
    """The file of an annotated image, of which only the header is read. Raises InputError if it does not fit."""
    path = Path(image_dir) / image.file_name
    try:
        with path.open("rb") as file:
            header = read_header(file, str(path))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); do the images fit the annotations?"
        ) from error
    _check_size(image, header, str(path))
    if not header.native:
        return ImageFile(str(_as_png(path)), header.height, header.width, 1)
    return ImageFile(str(path), header.height, header.width, header.orientation)


def check_image(image: CocoImage, encoded: bytes) -> int:
    """Decode an image, compare it with its annotation and return its EXIF orientation.

    Decoded by what training uses, so a file that passes here cannot stop a training. Raises InputError.
    """
    import tensorflow as tf  # only those who decode wait for it

    header = read_header(encoded, image.file_name)
    # Before anything is decoded: a small file may say that it is an image of gigabytes.
    _check_size(image, header, image.file_name)
    try:
        with tf.device("CPU:0"):
            if tf.io.is_jpeg(encoded):
                tf.io.decode_jpeg(encoded, channels=3)
            else:
                tf.io.decode_png(encoded, channels=3)
    except tf.errors.InvalidArgumentError as error:
        raise InputError(
            f"{image.file_name}: cannot be decoded; the file is cut short or damaged"
        ) from error
    return header.orientation
