"""Image files: headers, decoding outside TensorFlow, and checks against annotations."""

from __future__ import annotations

import atexit
import functools
import hashlib
import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps

from tfcpn.data.coco import CocoImage
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import file_fingerprint, write_atomically

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


MAX_PIXELS = 100_000_000  # 0.3 GB when decoded
MAX_SIDE = 32_767
_BITS, _PHOTOMETRIC, _MAX_SAMPLE = 258, 262, 281  # TIFF tags
_JPEG_END, _TRAILER = b"\xff\xd9", 65_536  # end of a complete JPEG; some cameras append data


def apply_exif_orientation(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Transform pixels by their EXIF orientation; `cropping` does the same in TensorFlow.

    Args:
        pixels: (H, W, C) as stored in the file.
        orientation: 1 to 8.

    Returns:
        (H, W, C), or (W, H, C) for orientations of 5 and more.
    """
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file with its EXIF orientation applied.

    Args:
        path: The file.

    Returns:
        (H, W, 3) uint8 BGR. 16-bit images are scaled to 8 bits, and floats from 0 to 1 as well.

    Raises:
        InputError: If the file cannot be decoded, is truncated, or its image is too large.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return decode_image(content, str(path))


def decode_image(content: bytes, name: str) -> np.ndarray:
    """Decode the content of an image file; see `read_image`.

    Args:
        content: Content of the file.
        name: Name of the image in errors.
    """
    try:
        with Image.open(io.BytesIO(content)) as opened:
            (width, height), form = opened.size, opened.format
            if width * height > MAX_PIXELS:
                raise InputError(
                    f"{name}: {width}x{height} is more than {MAX_PIXELS // 1_000_000} megapixels"
                )
            # OpenCV's decoders, to which training is compared.
            if form not in FORMATS:
                return _checked(_shown(opened, name)[..., ::-1].copy(), name)
    except Image.DecompressionBombError as error:
        raise InputError(f"{name}: is too large an image ({error})") from error
    except InputError:
        raise
    except Exception as error:  # Pillow's errors on damaged files have no common class
        raise InputError(f"{name}: cannot be read as an image") from error
    if form != "PNG" and _JPEG_END not in content[-_TRAILER:]:
        raise InputError(f"{name}: cannot be decoded; the file is cut short")
    # From memory, as OpenCV does not open every name. Which formats it rotates depends on its
    # version.
    pixels = cv2.imdecode(
        np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    )
    return apply_exif_orientation(_checked(pixels, name), read_header(content, name).orientation)


def _shown(opened: Image.Image, name: str) -> np.ndarray:
    """Return the pixels (H, W, 3) uint8 RGB of an image that Pillow decodes, as displayed."""
    shown = ImageOps.exif_transpose(opened)
    if shown.mode != "F" and not shown.mode.startswith("I"):
        return np.array(shown.convert("RGB"))
    # The transposed image has lost its tags, which define white.
    return _eight_bits(shown, opened, name)


def _checked(pixels: np.ndarray | None, name: str) -> np.ndarray:
    """Return the pixels, or raise InputError if OpenCV cannot process them."""
    if pixels is None or min(pixels.shape[:2]) < 2:
        raise InputError(f"{name}: cannot be decoded; the file is damaged or of a single line")
    if max(pixels.shape[:2]) >= MAX_SIDE:
        raise InputError(
            f"{name}: a side of {max(pixels.shape[:2])} pixels is more than OpenCV warps"
        )
    return pixels


def _eight_bits(shown: Image.Image, opened: Image.Image, name: str) -> np.ndarray:
    """Return the pixels (H, W, 3) uint8 RGB of an image of wide numbers, which Pillow would clip.

    Raises:
        InputError: If the white level is unknown.
    """
    values = np.array(shown).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    white = _white(opened, high)
    if white is None or not (np.isfinite([low, high]).all() and low >= 0):
        kind = "floats" if opened.mode == "F" else "whole numbers"
        raise InputError(
            f"{name}: has {kind} from {low:g} to {high:g}, with unknown white level; "
            "save it with 8 bits"
        )
    gray = np.round(np.clip(values / white, 0, 1) * 255).astype(np.uint8)
    if _tag(opened, _PHOTOMETRIC) == 0:  # white is zero
        gray = 255 - gray
    return np.repeat(gray[..., None], 3, axis=2)


def _white(opened: Image.Image, high: float) -> float | None:
    """Return the value of white in an image of wide numbers; None if unknown."""
    if opened.mode == "F":
        # Interpolation may exceed white slightly.
        return 1.0 if high <= 1.25 else 255.0 if 16 <= high <= 320 else None
    max_sample, bits = _tag(opened, _MAX_SAMPLE), _tag(opened, _BITS)
    white = float(max_sample) if max_sample else float(2**bits - 1) if bits else 65_535.0
    return white if 255 <= white <= 65_535 and high <= white else None


def _tag(opened: Image.Image, number: int) -> int | None:
    """Return the value of a TIFF tag, or None."""
    value = getattr(opened, "tag_v2", {}).get(number)
    return value[0] if isinstance(value, tuple) else value


def to_tensorflow_format(content: bytes, name: str) -> bytes:
    """Return an image file as TensorFlow can decode it: unchanged, or as PNG."""
    if read_header(content, name).native:
        return content
    return cv2.imencode(".png", decode_image(content, name))[1].tobytes()


class ImageFile(NamedTuple):
    """An image file.

    Attributes:
        path: The file.
        height, width: Size in pixels as displayed.
        orientation: EXIF orientation.
    """

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
            ": it was annotated as stored in the file, and its EXIF orientation "
            f"({header.orientation}) turns it; "
            "remove the orientation from the file, or annotate it as it is shown"
        )
    raise InputError(
        f"{name}: is {header.width}x{header.height} pixels, but annotated as "
        f"{image.width}x{image.height}{why}"
    )


@functools.lru_cache(maxsize=1)
def _temp_dir() -> Path:
    """Return a temporary folder for converted images, for the life of this process."""
    folder = Path(tempfile.mkdtemp(prefix="tfcpn-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _convert_to_png(path: Path) -> Path:
    """Return a PNG of an image in a format that TensorFlow does not decode, made once.

    Thread-safe.
    """
    key = hashlib.sha256(
        repr((os.path.abspath(path), file_fingerprint(str(path)))).encode()
    ).hexdigest()
    target = _temp_dir() / f"{key[:32]}.png"
    if not target.exists():
        write_atomically(target, to_tensorflow_format(path.read_bytes(), str(path)), durable=False)
    return target


def read_image_size(path) -> tuple[int, int]:
    """Return (height, width) of an image file as displayed.

    Raises:
        OSError: If it cannot be read.
        InputError: If it is no image.
    """
    with Path(path).open("rb") as file:
        header = read_header(file, str(path))
    return header.height, header.width


def find_image(image_dir, image: CocoImage) -> ImageFile:
    """Return the file of an annotated image; only its header is read.

    Raises:
        InputError: If it does not exist or does not fit the annotation.
    """
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
        return ImageFile(str(_convert_to_png(path)), header.height, header.width, 1)
    return ImageFile(str(path), header.height, header.width, header.orientation)


def check_image(image: CocoImage, encoded: bytes) -> int:
    """Decode an image, compare it with its annotation and return its EXIF orientation.

    The decoder is that of training, so a file that passes cannot stop a training.

    Raises:
        InputError: If it is damaged or does not fit.
    """
    import tensorflow as tf  # slow import

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
