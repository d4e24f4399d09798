"""Read image files outside TensorFlow, for prediction, packing and drawing."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from tfcpn.base.errors import InputError
from tfcpn.picture.header import FORMATS, read_header

MAX_PIXELS = 100_000_000  # 0.3 GB when decoded
MAX_SIDE = 32_767
_BITS, _PHOTOMETRIC, _MAX_SAMPLE = 258, 262, 281  # TIFF tags
_JPEG_END, _TRAILER = b"\xff\xd9", 65_536  # end of a complete JPEG; some cameras append data


def apply_exif_orientation(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Transform pixels by their EXIF orientation; `picture.decode` does the same in TensorFlow.

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
    # From memory, as OpenCV does not open every name. Which formats it rotates depends on its version.
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
            f"{name}: has {kind} from {low:g} to {high:g}, of which nothing tells what white is; save it with 8 bits"
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
