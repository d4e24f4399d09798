"""The original's arithmetic once more, in numpy and OpenCV, one person at a time: slow, and easy to
check by eye.

Written from the description of what tf-cpn computes; the fast code is proven against it on inputs
of any kind.
"""

from __future__ import annotations

import cv2
import numpy as np

MEAN = np.array([102.9801, 115.9465, 122.7717])
PAIRS = [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)]


def crop(image, box, input_size, training):
    """The crop of a person and its corners in the image."""
    height, width = input_size
    pad = max(image.shape[:2])
    padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=MEAN.tolist())
    x, y, w, h = np.array(box, np.float32)
    x, y = np.float32(x + pad), np.float32(y + pad)
    center_x, center_y = float(x) + float(w) / 2, float(y) + float(h) / 2
    grow = 1.25 if training else 1.0
    crop_w, crop_h = float(w) * 1.2 * grow, float(h) * 1.3 * grow
    size, rule = (crop_h, height) if crop_h / height > crop_w / width else (crop_w, width)
    for center, length, end in (
        (center_x, width, padded.shape[1]),
        (center_y, height, padded.shape[0]),
    ):
        size = min(size, 2 * center / length * rule - 1, 2 * (end - center) / length * rule - 1)
    half_w, half_h = size / 2 / rule * width, size / 2 / rule * height
    x0, y0 = int(center_x - half_w), int(center_y - half_h)
    x1, y1 = int(center_x + half_w), int(center_y + half_h)
    pixels = cv2.resize(padded[y0:y1, x0:x1], (width, height))
    return pixels, np.array([x0 - pad, y0 - pad, x1 - pad, y1 - pad])


def mirror_keypoints(keypoints, visibility, width):
    keypoints, visibility = keypoints.copy(), visibility.copy()
    keypoints[:, 0] = np.where(keypoints[:, 0] >= 0, width - 1 - keypoints[:, 0], keypoints[:, 0])
    for left, right in PAIRS:
        keypoints[[left, right]] = keypoints[[right, left]]
        visibility[[left, right]] = visibility[[right, left]]
    return keypoints, visibility


def _outside(keypoints, width, height):
    x, y = keypoints.T
    return (x < 0) | (x >= width) | (y < 0) | (y >= height)


def four_views(pixels, keypoints, visibility, rescale, angles):
    """The four training views of one crop: images (normalized), keypoints, visibility."""
    image = (pixels.astype(np.float32) - MEAN.astype(np.float32)) / 255
    height, width = image.shape[:2]
    lows, highs = [], []
    moved = keypoints.copy()
    for axis, size in ((0, width), (1, height)):
        center = size / 2
        half = min(center, center / 1.25 * rescale)
        lows.append(int(center - half))
        highs.append(min(int(center + half + 1), size))
        moved[:, axis] = (keypoints[:, axis] - center) / half * (size - center) + center
    first = cv2.resize(image[lows[1] : highs[1], lows[0] : highs[0]], (width, height))
    seen = np.where(_outside(moved, width, height), 0, visibility)
    views = [(first, moved, seen), (first[:, ::-1], *mirror_keypoints(moved, seen, width))]
    for angle in angles:
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), float(angle), 1)
        turned = moved.copy()
        known = (moved >= 0).all(axis=1)
        turned[known] = moved[known] @ matrix[:, :2].T + matrix[:, 2]
        image = cv2.warpAffine(first, matrix, (width, height))
        views.append((image, turned, np.where(_outside(turned, width, height), 0, seen)))
    return [np.stack(v) for v in zip(*views)]


def label_map(x, y, input_size, map_size, kernel, scale):
    """The label of one keypoint."""
    height, width = input_size
    label = np.zeros(map_size, np.float32)
    if x < 0 or y < 0:
        return label
    x, y = min(x, width - 1), min(y, height - 1)
    label[int(y * map_size[0] / height), int(x * map_size[1] / width)] = 1
    label = cv2.GaussianBlur(label, (kernel, kernel), 0)
    return label / label.max() * scale


def decode(heatmaps, scale):
    """Keypoints (K, 2) in crop pixels and scores (K,) of the maps (h, w, K) of one person."""
    height, width, count = heatmaps.shape
    keypoints, scores = [], []
    for k in range(count):
        raw = heatmaps[..., k].astype(np.float64)
        confidence = raw / scale + 0.5
        with np.errstate(invalid="ignore", divide="ignore"):
            padded = np.pad(raw / raw.max(), 10)
        blurred = cv2.GaussianBlur(padded, (21, 21), 0)
        y, x = np.unravel_index(blurred.argmax(), blurred.shape)
        blurred[y, x] = 0
        y2, x2 = np.unravel_index(blurred.argmax(), blurred.shape)
        length = np.hypot(x2 - x, y2 - y)
        if length > 1e-3:
            x, y = x + 0.25 * (x2 - x) / length, y + 0.25 * (y2 - y) / length
        x, y = min(max(x - 10, 0), width - 1), min(max(y - 10, 0), height - 1)
        keypoints.append((4 * x + 2, 4 * y + 2))
        scores.append(confidence[int(round(y)), int(round(x))])
    return np.array(keypoints), np.array(scores)
