"""Images of people: what is annotated and what evaluations say, side by side, about the person."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from tfcpn.analysis.evaluated import LoadedEvaluation
from tfcpn.analysis.matching import Match
from tfcpn.base.errors import InputError
from tfcpn.data.coco import Person
from tfcpn.report.pictures import draw_pose, load_coco_image

_HEIGHT, _AROUND = (
    240,
    0.35,
)  # pixels of an image; what is shown about the box, in parts of its longer side
_GAP = 6


def person_thumbnail(
    person: Person, shown: list[tuple[LoadedEvaluation, Match | None]]
) -> str | None:
    """The annotated person, then the same with the result of each of these evaluations: JPEG as a data URL. None
    where the image is not there.
    """
    evaluation = shown[0][0]
    try:
        pixels = load_coco_image(evaluation.folder_of_images, evaluation.images[person.image_id])
    except InputError:
        return None
    poses = [(person.keypoints[:, :2], person.keypoints[:, 2] > 0)]
    for own, match in shown:
        keypoints = np.zeros((own.skeleton.num_annotated, 2)) if match is None else match.keypoints
        seen = np.full(len(keypoints), match is not None)
        seen[list(own.missing_keypoints)] = False
        poses.append((keypoints, seen))
    window, corner, scale = _window(pixels, person)
    cells = []
    for keypoints, seen in poses:
        cell = window.copy()
        draw_pose(cell, (keypoints - corner) * scale, seen, evaluation.skeleton, 2)
        cells += [cell, np.full((len(cell), _GAP, 3), 255, np.uint8)]
    encoded = cv2.imencode(".jpg", np.hstack(cells[:-1]), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def _window(pixels: np.ndarray, person: Person) -> tuple[np.ndarray, np.ndarray, float]:
    """The part of an image about a person, _HEIGHT pixels high, the place of its corner, and its scale."""
    x, y, wide, high = person.box
    around = _AROUND * max(wide, high)
    limit = np.array(pixels.shape[1::-1])
    low = np.clip(np.floor([x - around, y - around]), 0, limit - 1).astype(int)
    far = np.clip(np.ceil([x + wide + around, y + high + around]), low + 1, limit).astype(int)
    part = pixels[low[1] : far[1], low[0] : far[0]]
    scale = _HEIGHT / part.shape[0]
    size = max(1, round(part.shape[1] * scale)), _HEIGHT
    return (
        cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC),
        low,
        scale,
    )
