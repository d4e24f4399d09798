"""Image files: headers, decoding outside TensorFlow, and checks against annotations."""

from __future__ import annotations

import atexit
import functools
import hashlib
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps

from tfcpn.data.coco import CocoImage
from tfcpn.data.findings import AS_STORED
from tfcpn.data.image_headers import FORMATS, ImageHeader, read_header
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import file_fingerprint, write_atomically

_log = logging.getLogger(__name__)
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


def read_image(path: str | Path, orientation: int | None = None) -> np.ndarray:
    """Read an image file with its EXIF orientation applied.

    Args:
        path: The file.
        orientation: EXIF orientation to apply; None for that of the file.

    Returns:
        (H, W, 3) uint8 BGR. 16-bit images are scaled to 8 bits, and floats from 0 to 1 as well.

    Raises:
        InputError: If the file cannot be decoded, is truncated, or its image is too large.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return decode_image(content, str(path), orientation)


def decode_image(content: bytes, name: str, orientation: int | None = None) -> np.ndarray:
    """Decode the content of an image file; see `read_image`.

    Args:
        content: Content of the file.
        name: Name of the image in errors.
        orientation: EXIF orientation to apply; None for that of the file.
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
                rgb = _as_rgb(opened, name, transpose=orientation is None)
                return _checked(rgb[..., ::-1].copy(), name)
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
    if orientation is None:
        orientation = read_header(content, name).orientation
    return apply_exif_orientation(_checked(pixels, name), orientation)


def _as_rgb(opened: Image.Image, name: str, transpose: bool) -> np.ndarray:
    """Return the pixels (H, W, 3) uint8 RGB of an image that Pillow decodes.

    Args:
        opened: The image.
        name: Its name in errors.
        transpose: Whether to apply its EXIF orientation.
    """
    shown = ImageOps.exif_transpose(opened) if transpose else opened
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


def to_tensorflow_format(content: bytes, name: str, orientation: int | None = None) -> bytes:
    """Return an image file as TensorFlow can decode it: unchanged, or as PNG.

    Args:
        content: Content of the file.
        name: Its name in errors.
        orientation: EXIF orientation to apply to a PNG; None for that of the file.
    """
    if read_header(content, name).native:
        return content
    return cv2.imencode(".png", decode_image(content, name, orientation))[1].tobytes()


class ImageFile(NamedTuple):
    """An image file.

    Attributes:
        path: The file.
        height, width: Size in pixels as displayed, or as stored where it was annotated so.
        orientation: EXIF orientation to apply.
        annotated_as_stored: Whether the annotations are of the image without its orientation.
    """

    path: str
    height: int
    width: int
    orientation: int
    annotated_as_stored: bool = False


def is_annotated_as_stored(image: CocoImage, header: ImageHeader) -> bool:
    """Return whether an image was annotated without the EXIF orientation that turns it.

    Only a size tells: what is turned by 180 degrees, mirrored or square is not recognized.
    """
    size = image.height, image.width
    return (
        header.orientation >= 5
        and size == (header.width, header.height)
        and size != (header.height, header.width)
    )


def _check_size(image: CocoImage, header: ImageHeader, name: str, strict: bool) -> bool:
    """Return whether an image was annotated as stored.

    Raises:
        InputError: If the size of its annotation is another one; if strict, also if it was
            annotated as stored.
    """
    if (header.height, header.width) == (image.height, image.width):
        return False
    why, as_stored = "", is_annotated_as_stored(image, header)
    if as_stored and not strict:
        return True
    if as_stored:
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


def _convert_to_png(path: Path, orientation: int | None) -> Path:
    """Return a PNG of an image in a format that TensorFlow does not decode, made once.

    Thread-safe.
    """
    key = hashlib.sha256(
        repr((os.path.abspath(path), file_fingerprint(str(path)), orientation)).encode()
    ).hexdigest()
    target = _temp_dir() / f"{key[:32]}.png"
    if not target.exists():
        png = to_tensorflow_format(path.read_bytes(), str(path), orientation)
        write_atomically(target, png, durable=False)
    return target


def find_image(image_dir, image: CocoImage, strict: bool = False) -> ImageFile:
    """Return the file of an annotated image; only its header is read.

    Args:
        image_dir: Folder of the images.
        image: The image.
        strict: Refuse an image that was annotated without its EXIF orientation.

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
    as_stored = _check_size(image, header, str(path), strict)
    height, width = image.height, image.width
    if not header.native:
        png = _convert_to_png(path, 1 if as_stored else None)
        return ImageFile(str(png), height, width, 1, as_stored)
    return ImageFile(str(path), height, width, 1 if as_stored else header.orientation, as_stored)


def find_images(
    image_dir, images: Sequence[CocoImage], annotations, strict: bool = False
) -> list[ImageFile]:
    """Return the files of annotated images, whose headers are read; log what was repaired.

    Args:
        image_dir: Folder of the images.
        images: The images.
        annotations: The annotation file, for the log.
        strict: See `find_image`.

    Raises:
        InputError: See `find_image`.
    """
    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(lambda image: find_image(image_dir, image, strict), images))
    report_as_stored(sum(file.annotated_as_stored for file in files), annotations)
    return files


def report_as_stored(count: int, path) -> None:
    """Log how many images were annotated without their EXIF orientation.

    Args:
        count: Their number.
        path: The annotation file.
    """
    if count:
        _log.warning("%s: %s: %d; %s", path, AS_STORED.what, count, AS_STORED.then)


def check_image(image: CocoImage, encoded: bytes, strict: bool = False) -> int:
    """Decode an image, compare it with its annotation and return the EXIF orientation to apply.

    The decoder is that of training, so a file that passes cannot stop a training.

    Raises:
        InputError: If it is damaged or does not fit.
    """
    import tensorflow as tf  # slow import

    header = read_header(encoded, image.file_name)
    # Before anything is decoded: a small file may say that it is an image of gigabytes.
    as_stored = _check_size(image, header, image.file_name, strict)
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
    return 1 if as_stored else header.orientation
