"""What the header of an encoded image tells, without decoding it. Needs no TensorFlow."""

from __future__ import annotations

import io
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from tfcpn.base.errors import InputError

_EXIF_ORIENTATION = 0x0112
FORMATS = ("JPEG", "MPO", "PNG")  # MPO: a JPEG with more pictures behind it, as phones write


def read_header(image: bytes | BinaryIO, name: str) -> tuple[int, int, int]:
    """(height, width, EXIF orientation) of an encoded image, without decoding it; of a file no more is read.

    height and width are those of the image as shown, after the orientation (1..8) is applied: what cv2.imread
    returns. Raises InputError, naming the file `name`, if it is neither JPEG nor PNG.
    """
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
            width, height = opened.size
            orientation = opened.getexif().get(_EXIF_ORIENTATION, 1) if opened.format != "PNG" else 1
            known = opened.format in FORMATS
    except Image.DecompressionBombError as error:
        raise InputError(f"{name}: is too large an image ({error})") from error
    except (UnidentifiedImageError, OSError, ValueError):
        known = False
    if not known:
        raise InputError(f"{name}: not a JPEG or PNG image")
    if orientation not in range(1, 9):
        orientation = 1
    return (width, height, orientation) if orientation >= 5 else (height, width, orientation)
