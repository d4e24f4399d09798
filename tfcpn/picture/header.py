"""What the header of an encoded image tells, without decoding it. Needs no TensorFlow."""

from __future__ import annotations

import io
from typing import BinaryIO, NamedTuple

from PIL import Image

from tfcpn.base.errors import InputError

_EXIF_ORIENTATION, _TIFF_WIDTH, _TIFF_HEIGHT = 0x0112, 0x0100, 0x0101
_PNG_SIGNATURE, _MOST_EXIF = b"\x89PNG\r\n\x1a\n", 1 << 20
FORMATS = ("JPEG", "MPO", "PNG")  # MPO: a JPEG with more pictures behind it, as phones write
OTHER_FORMATS = ("BMP", "WEBP", "TIFF")


class Header(NamedTuple):
    """height and width are those of the image as shown, after its EXIF orientation (1..8) is applied. native: whether
    TensorFlow decodes the format, which is JPEG or PNG; the others are packed as PNG.
    """

    height: int
    width: int
    orientation: int
    native: bool


def read_header(image: bytes | BinaryIO, name: str) -> Header:
    """Read the header of an encoded image, and no more of a file.

    Args:
        image: The file's content, or the open file.
        name: What an error calls it.

    Raises:
        InputError: If it is neither JPEG nor PNG, BMP, WebP or TIFF.
    """
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
            (width, height), form = opened.size, opened.format
            if form == "TIFF":
                # Newer versions of Pillow tell the size of a TIFF as it is shown, older ones as it lies in the file.
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
    return Header(height, width, orientation, form in FORMATS)


def _orientation(opened: Image.Image) -> int:
    """Return the EXIF orientation of an image; 1 where there is none, or what stands there is damaged."""
    try:
        exif = _png_exif(opened) if opened.format == "PNG" else opened.getexif()
        orientation = exif.get(_EXIF_ORIENTATION, 1)
    except Exception:  # Pillow's errors on damaged EXIF have no common class
        return 1
    return orientation if orientation in range(1, 9) else 1


def _png_exif(opened: Image.Image) -> Image.Exif:
    """Return the EXIF of a PNG by the lengths of its chunks: Pillow would decode the image to look behind it."""
    exif, file = Image.Exif(), opened.fp
    file.seek(len(_PNG_SIGNATURE))
    while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
        length = int.from_bytes(head[:4], "big")
        if head[4:] == b"eXIf":
            exif.load(b"Exif\0\0" + file.read(min(length, _MOST_EXIF)))
            break
        file.seek(length + 4, 1)  # and the checksum
    return exif
