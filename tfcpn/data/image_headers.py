"""Headers of image files: size, EXIF orientation and format, without decoding."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image

from tfcpn.utils.errors import InputError

_EXIF_ORIENTATION, _TIFF_WIDTH, _TIFF_HEIGHT = 0x0112, 0x0100, 0x0101
_PNG_SIGNATURE, _MAX_EXIF_BYTES = b"\x89PNG\r\n\x1a\n", 1 << 20
FORMATS = ("JPEG", "MPO", "PNG")  # MPO: a JPEG with more images behind it, as phones write
OTHER_FORMATS = ("BMP", "WEBP", "TIFF")


class ImageHeader(NamedTuple):
    """The header of an image.

    Attributes:
        height, width: Size in pixels as displayed, with the EXIF orientation applied.
        orientation: EXIF orientation, 1 to 8.
        native: Whether TensorFlow decodes the format (JPEG, PNG); others are stored as PNG.
    """

    height: int
    width: int
    orientation: int
    native: bool


def read_header(image: bytes | BinaryIO, name: str) -> ImageHeader:
    """Read the header of an encoded image, and no more of a file.

    Args:
        image: Content of the file, or the open file.
        name: Name of the image in errors.

    Raises:
        InputError: If it is neither JPEG, PNG, BMP, WebP nor TIFF.
    """
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
            (width, height), form = opened.size, opened.format
            if form == "TIFF":
                # Newer versions of Pillow tell the size of a TIFF as it is shown, older ones as it
                # lies in the file.
                width, height = opened.tag_v2[_TIFF_WIDTH], opened.tag_v2[_TIFF_HEIGHT]
            orientation = _orientation(opened)
    except Image.DecompressionBombError as error:
        raise InputError(f"{name}: is too large an image ({error})") from error
    except Exception:  # Pillow's errors on damaged files have no common class
        form = None
    if form not in (*FORMATS, *OTHER_FORMATS):
        raise InputError(f"{name}: not a JPEG, PNG, BMP, WebP or TIFF image")
    if orientation >= 5:
        width, height = height, width
    return ImageHeader(height, width, orientation, form in FORMATS)


def _orientation(opened: Image.Image) -> int:
    """Return the EXIF orientation of an image; 1 if it is missing or damaged."""
    try:
        exif = _png_exif(opened) if opened.format == "PNG" else opened.getexif()
        orientation = exif.get(_EXIF_ORIENTATION, 1)
    except Exception:  # Pillow's errors on damaged EXIF have no common class
        return 1
    return orientation if orientation in range(1, 9) else 1


def _png_exif(opened: Image.Image) -> Image.Exif:
    """Return the EXIF data of a PNG, found by the lengths of its chunks.

    Pillow would decode the image to reach data that follows it.
    """
    exif, file = Image.Exif(), opened.fp
    file.seek(len(_PNG_SIGNATURE))
    while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
        length = int.from_bytes(head[:4], "big")
        if head[4:] == b"eXIf":
            exif.load(b"Exif\0\0" + file.read(min(length, _MAX_EXIF_BYTES)))
            break
        file.seek(length + 4, 1)  # and the checksum
    return exif


def read_image_size(path) -> tuple[int, int]:
    """Return (height, width) of an image file as displayed.

    Raises:
        OSError: If it cannot be read.
        InputError: If it is no image.
    """
    with Path(path).open("rb") as file:
        header = read_header(file, str(path))
    return header.height, header.width
