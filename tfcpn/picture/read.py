"""Image files -> pixels outside TensorFlow: the one reader for prediction, packing and drawing."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from tfcpn.base.errors import InputError
from tfcpn.picture.header import FORMATS, read_header

MOST_PIXELS = 100_000_000  # of a picture: .3 GB when decoded
MOST_SIDE = 32_767
_BITS, _PHOTOMETRIC, _MAX_SAMPLE = 258, 262, 281  # tags of a TIFF
_JPEG_END, _TRAILER = b"\xff\xd9", 65_536  # what a whole JPEG ends with, but for what some cameras add


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn the pixels of a file as its EXIF orientation says.

    Args:
        pixels: (H, W, C), as they lie in the file.
        orientation: 1 to 8; `picture.decode` does the same within TensorFlow.

    Returns:
        (H, W, C), or (W, H, C) from orientation 5 on.
    """
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def read_picture(path: str | Path) -> np.ndarray:
    """Read an image file, turned as its EXIF orientation says.

    Returns:
        (H, W, 3) uint8 BGR. Sixteen bits are scaled to eight; so are floats from 0 to 1.

    Raises:
        InputError: For a file that cannot be decoded, that is cut short, or whose image is too large.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return decode_picture(content, str(path))


def decode_picture(content: bytes, name: str) -> np.ndarray:
    """Decode the content of an image file. Arguments, result and errors are as of `read_picture`."""
    try:
        with Image.open(io.BytesIO(content)) as opened:
            (width, height), form = opened.size, opened.format
            if width * height > MOST_PIXELS:
                raise InputError(f"{name}: {width}x{height} is more than {MOST_PIXELS // 1_000_000} megapixels")
            # OpenCV's decoders are those that training is compared with.
            if form not in FORMATS:
                return _checked(_shown(opened, name)[..., ::-1].copy(), name)
    except Image.DecompressionBombError as error:
        raise InputError(f"{name}: is too large a picture ({error})") from error
    except InputError:
        raise
    except Exception as error:  # Pillow's errors on damaged files have no common class
        raise InputError(f"{name}: cannot be read as a picture") from error
    if form != "PNG" and _JPEG_END not in content[-_TRAILER:]:
        raise InputError(f"{name}: cannot be decoded; the file is cut short")
    # Not by its name: OpenCV does not take every one. Which formats it turns by itself depends on its version.
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return turned(_checked(pixels, name), read_header(content, name).orientation)


def _shown(opened: Image.Image, name: str) -> np.ndarray:
    """Return the pixels (H, W, 3) uint8 RGB of an image that Pillow decodes, turned as its EXIF says."""
    shown = ImageOps.exif_transpose(opened)
    if shown.mode != "F" and not shown.mode.startswith("I"):
        return np.array(shown.convert("RGB"))
    # What is turned has lost its tags, which tell what white is.
    return _eight_bits(shown, opened, name)


def _checked(pixels: np.ndarray | None, name: str) -> np.ndarray:
    if pixels is None or min(pixels.shape[:2]) < 2:
        raise InputError(f"{name}: cannot be decoded; the file is damaged or of a single line")
    if max(pixels.shape[:2]) >= MOST_SIDE:
        raise InputError(f"{name}: a side of {max(pixels.shape[:2])} pixels is more than OpenCV warps")
    return pixels


def _eight_bits(shown: Image.Image, opened: Image.Image, name: str) -> np.ndarray:
    """Return the pixels (H, W, 3) uint8 RGB of an image of wide numbers, which PIL would cut off at 255.

    Raises:
        InputError: For numbers of which it is not known what white is.
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
    """Return the number that stands for white in an image of wide numbers; None if nothing tells."""
    if opened.mode == "F":
        # Interpolation may reach a little beyond white.
        return 1.0 if high <= 1.25 else 255.0 if 16 <= high <= 320 else None
    told, bits = _tag(opened, _MAX_SAMPLE), _tag(opened, _BITS)
    white = float(told) if told else float(2**bits - 1) if bits else 65_535.0
    return white if 255 <= white <= 65_535 and high <= white else None


def _tag(opened: Image.Image, number: int) -> int | None:
    """Return a TIFF's tag, or None."""
    value = getattr(opened, "tag_v2", {}).get(number)
    return value[0] if isinstance(value, tuple) else value


def for_tensorflow(content: bytes, name: str) -> bytes:
    """Return the content of an image file in a format that TensorFlow decodes: itself, or a PNG of its pixels."""
    if read_header(content, name).native:
        return content
    return cv2.imencode(".png", decode_picture(content, name))[1].tobytes()
