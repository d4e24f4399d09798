"""Pictures of people: what is annotated and what evaluations say, side by side, about the person."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from tfcpn.analysis.evaluated import Evaluated
from tfcpn.analysis.matching import Match
from tfcpn.base.errors import InputError
from tfcpn.data.coco import Person
from tfcpn.report.pictures import draw_pose, read_image

_HEIGHT, _AROUND = 240, 0.35  # pixels of a picture; what is shown about the box, in parts of its longer side
_GAP = 6


def portrait(person: Person, shown: list[tuple[Evaluated, Match | None]]) -> str | None:
    """The annotated person, then the same with the result of each of these evaluations: JPEG as a data URL. None
    where the picture is not there.
    """
    evaluation = shown[0][0]
    try:
        pixels = read_image(evaluation.folder_of_images, evaluation.images[person.image_id])
    except InputError:
        return None
    poses = [(person.keypoints[:, :2], person.keypoints[:, 2] > 0)]
    for own, match in shown:
        joints = np.zeros((own.skeleton.annotated, 2)) if match is None else match.joints
        seen = np.full(len(joints), match is not None)
        seen[list(own.absent)] = False
        poses.append((joints, seen))
    window, corner, scale = _window(pixels, person)
    cells = []
    for joints, seen in poses:
        cell = window.copy()
        draw_pose(cell, (joints - corner) * scale, seen, evaluation.skeleton, 2)
        cells += [cell, np.full((len(cell), _GAP, 3), 255, np.uint8)]
    encoded = cv2.imencode(".jpg", np.hstack(cells[:-1]), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def _window(pixels: np.ndarray, person: Person) -> tuple[np.ndarray, np.ndarray, float]:
    """The part of a picture about a person, _HEIGHT pixels high, the place of its corner, and its scale."""
    x, y, wide, high = person.box
    around = _AROUND * max(wide, high)
    limit = np.array(pixels.shape[1::-1])
    low = np.clip(np.floor([x - around, y - around]), 0, limit - 1).astype(int)
    far = np.clip(np.ceil([x + wide + around, y + high + around]), low + 1, limit).astype(int)
    part = pixels[low[1] : far[1], low[0] : far[0]]
    scale = _HEIGHT / part.shape[0]
    size = max(1, round(part.shape[1] * scale)), _HEIGHT
    return cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), low, scale
