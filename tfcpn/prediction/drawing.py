"""People drawn into images: limbs by side, faint where the network is unsure, a number for each of them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tfcpn.geometry.crops import crop_to_image
from tfcpn.prediction.person import DRAW_THRESHOLD, FAINT_THRESHOLD, Person
from tfcpn.report.pictures import draw_pose
from tfcpn.skeleton import Skeleton

_FAINTLY = 0.4  # how much of a faint line covers
_REGION = (200, 200, 200)
# A color for each number, BGR, told apart on any ground.
_NUMBERS = (
    (60, 60, 220),
    (60, 180, 60),
    (220, 140, 40),
    (200, 60, 200),
    (40, 200, 220),
    (200, 200, 60),
    (90, 90, 160),
)


def draw_people(
    image: np.ndarray, people: Sequence[Person], skeleton: Skeleton, regions: bool = False
) -> None:
    """Draw people into an image (H, W, 3) uint8 BGR, in place. regions: also what the network saw of each."""
    for person in people:
        thickness = int(np.clip(round(person.region[2:4].mean() / 160), 1, 8))
        if regions:
            _draw_region(image, person.region, thickness)
        keypoints = np.nan_to_num(person.keypoints)
        sure, faint = person.confidence >= DRAW_THRESHOLD, person.confidence >= FAINT_THRESHOLD
        if (faint & ~sure).any():
            under = image.copy()
            draw_pose(under, keypoints, faint, skeleton, thickness)
            cv2.addWeighted(under, _FAINTLY, image, 1 - _FAINTLY, 0, dst=image)
        draw_pose(image, keypoints, sure, skeleton, thickness)
    for person in people:
        _draw_number(image, person)


def _draw_region(image: np.ndarray, region: np.ndarray, thickness: int) -> None:
    corners = (
        np.array([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])
        @ crop_to_image(region, (1, 1)).numpy().T
    )
    cv2.polylines(
        image, [np.round(corners * 16).astype(np.int32)], True, _REGION, thickness, cv2.LINE_AA, 4
    )


def _draw_number(image: np.ndarray, person: Person) -> None:
    """The number on a tag above the person's highest keypoint that is certain."""
    seen = person.confidence >= DRAW_THRESHOLD
    if not seen.any():
        return
    size = float(np.clip(person.region[2:4].mean() / 500, 0.4, 2))
    text, color = str(person.track_id), _NUMBERS[(person.track_id - 1) % len(_NUMBERS)]
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    x, y = person.keypoints[seen][np.argmin(person.keypoints[seen, 1])]
    pad = int(4 * size) + 2
    left = int(np.clip(x - width / 2, pad, max(pad, image.shape[1] - width - pad)))
    base = int(np.clip(y - 14 * size - pad, height + pad, max(height + pad, image.shape[0] - pad)))
    cv2.rectangle(
        image,
        (left - pad, base - height - pad),
        (left + width + pad, base + pad),
        color,
        -1,
        cv2.LINE_AA,
    )
    stroke = max(1, round(1.6 * size))
    cv2.putText(
        image,
        text,
        (left, base),
        cv2.FONT_HERSHEY_SIMPLEX,
        size,
        (255, 255, 255),
        stroke,
        cv2.LINE_AA,
    )
