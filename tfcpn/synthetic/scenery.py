"""What people stand in front of and behind: textured backgrounds, clutter, obstacles."""

from __future__ import annotations

import cv2
import numpy as np

from tfcpn.synthetic.draw import OBSTACLE, SUPERSAMPLE, Canvas, hsv


def _noise(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Return (H, W, 3) smooth noise in about [0, 1], more in brightness than in color."""
    coarse = 0.75 * rng.random((cells + 1, cells + 1, 1)) + 0.25 * rng.random(
        (cells + 1, cells + 1, 3)
    )
    return cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)


def textured(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a (H, W, 3) float32 texture in [0, 255]: smooth color, grain, perhaps stripes."""
    base = (rng.uniform(70, 190) + rng.uniform(-22, 22, 3)).astype(np.float32)
    image = (
        base
        + 80 * (_noise(rng, height, width, 3) - 0.5)
        + 18 * (_noise(rng, height, width, 12) - 0.5)
    )
    image += rng.uniform(2, 14) * (_noise(rng, height, width, 48) - 0.5)
    if rng.random() < 0.2:
        y, x = np.mgrid[:height, :width].astype(np.float32)
        angle, period = rng.uniform(0, np.pi), rng.uniform(14, 60)
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period))
        image += (rng.uniform(3, 10) * wave)[..., None].astype(np.float32)
    return np.clip(image, 0, 255)


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return (H, W, 3) uint8, supersampled: a textured scene, a ground and clutter."""
    image = textured(rng, height, width)
    horizon = int(height * rng.uniform(0.4, 0.9))
    image[horizon:] = textured(rng, height - horizon, width)
    height, width = height * SUPERSAMPLE, width * SUPERSAMPLE
    image = cv2.resize(image.astype(np.uint8), (width, height))
    for _ in range(rng.integers(0, 5)):
        color = tuple(hsv(rng.uniform(0, 180), rng.uniform(0, 110), rng.uniform(50, 220)))
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        size = int(rng.integers(8, max(10, width // 4)))
        shape = rng.integers(0, 3)
        if shape == 0:
            cv2.rectangle(image, (x, y), (x + size, y + int(size * rng.uniform(0.3, 2))), color, -1)
        elif shape == 1:
            cv2.ellipse(
                image, (x, y), (size // 2, size // 3), float(rng.uniform(0, 180)), 0, 360, color, -1
            )
        else:
            end = (x + int(rng.normal(0, size)), y + int(rng.normal(0, size)))
            cv2.line(image, (x, y), end, color, int(rng.integers(2, 14)), cv2.LINE_AA)
    return image


def obstacle(rng: np.random.Generator, canvas: Canvas, x: float, y: float, size: float) -> None:
    """Draw something textured about (x, y)."""
    mask = np.zeros(canvas.owner.shape, np.uint8)
    w, h = size * rng.uniform(0.5, 1.3), size * rng.uniform(0.4, 1.0)
    box = cv2.boxPoints(((x, y), (w, h), float(rng.uniform(-30, 30))))
    cv2.fillConvexPoly(mask, box.astype(np.int32), 1)
    inside = mask.astype(bool)
    texture = textured(rng, *(n // SUPERSAMPLE for n in mask.shape)).astype(np.uint8)
    canvas.pixels[inside] = cv2.resize(texture, mask.shape[::-1])[inside]
    canvas.owner[inside] = OBSTACLE
