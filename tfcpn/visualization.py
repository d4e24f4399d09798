"""Drawings: skeletons on images, heatmaps, and contact sheets."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tfcpn.data.coco import CocoImage, PersonAnnotation
from tfcpn.data.images import find_image, read_image
from tfcpn.skeleton import Skeleton
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

# BGR. The person's left is warm, the right is cold, what is neither is green.
LEFT, RIGHT, MIDDLE = (40, 120, 255), (255, 160, 30), (90, 220, 90)


def _color(skeleton: Skeleton, *keypoints: int):
    left, right = ({pair[side] for pair in skeleton.pairs} for side in (0, 1))
    if left.issuperset(keypoints):
        return LEFT
    return RIGHT if right.issuperset(keypoints) else MIDDLE


def draw_pose(
    image: np.ndarray,
    keypoints: np.ndarray,
    drawn: np.ndarray,
    skeleton: Skeleton,
    thickness: int = 2,
) -> None:
    """Draw a skeleton into an image, in place.

    Args:
        image: (H, W, 3) uint8 BGR.
        keypoints: (K, 2) x, y in pixels.
        drawn: (K,) bool; a limb is drawn if both its ends are.
        skeleton: The keypoints.
        thickness: Width of limbs in pixels.
    """
    points = [tuple(int(round(float(v) * 16)) for v in keypoint) for keypoint in keypoints]
    for a, b in skeleton.limbs:
        if drawn[a] and drawn[b]:
            cv2.line(image, points[a], points[b], _color(skeleton, a, b), thickness, cv2.LINE_AA, 4)
    for keypoint, point in enumerate(points):
        if drawn[keypoint]:
            # A rim about a point of a pixel would be all that is seen of it.
            if thickness > 1:
                rim = round(16 * (1.25 * thickness + 0.5))
                cv2.circle(image, point, rim, (255, 255, 255), -1, cv2.LINE_AA, 4)
            cv2.circle(image, point, 16 * thickness, _color(skeleton, keypoint), -1, cv2.LINE_AA, 4)


def load_coco_image(image_dir, image: CocoImage) -> np.ndarray:
    """Return an image (H, W, 3) uint8 BGR.

    Raises:
        InputError: If the file does not exist, is no image, or of another size than annotated.
    """
    file = find_image(image_dir, image)
    return read_image(file.path, file.orientation)


def draw_annotated(pixels: np.ndarray, people: list[PersonAnnotation], skeleton: Skeleton) -> None:
    """Draw the labeled keypoints of annotated people, in place."""
    for person in people:
        if person.trainable:
            draw_pose(pixels, person.keypoints[:, :2], person.keypoints[:, 2] > 0, skeleton)


def draw_results(pixels: np.ndarray, results: list[dict], skeleton: Skeleton) -> None:
    """Draw the people of a results file in place, without missing keypoints."""
    for result in results:
        keypoints = np.reshape(result["keypoints"], (-1, 3))
        draw_pose(pixels, keypoints[:, :2], keypoints[:, 2] > 0, skeleton)


def check_name(output: str) -> None:
    """Raise InputError unless a file name is that of a PNG or JPEG."""
    if Path(output).suffix not in (".png", ".jpg"):
        raise InputError(f"--output={output}: expected a name that ends in .png or .jpg")


def write_image(output: str, pixels: np.ndarray) -> None:
    """Write an image.

    Args:
        output: Name of the file, .png or .jpg.
        pixels: (H, W, 3) uint8 BGR.

    Raises:
        InputError: For another name.
    """
    check_name(output)
    _, encoded = cv2.imencode(Path(output).suffix, pixels)
    write_atomically(Path(output), encoded.tobytes())


def sheet(cells: list[np.ndarray], columns: int, cell_size: tuple[int, int]) -> np.ndarray:
    """Return a contact sheet (H, W, 3) uint8 BGR.

    Args:
        cells: Images, each resized to fit a cell.
        columns: Number of columns.
        cell_size: (height, width) of a cell.
    """
    height, width = cell_size
    rows = -(-len(cells) // columns)
    canvas = np.full((rows * height, columns * width, 3), 30, np.uint8)
    for i, cell in enumerate(cells):
        scale = min(height / cell.shape[0], width / cell.shape[1])
        h, w = max(1, int(cell.shape[0] * scale)), max(1, int(cell.shape[1] * scale))
        shrunk = cv2.resize(
            cell, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        )
        y = (i // columns) * height + (height - h) // 2
        x = (i % columns) * width + (width - w) // 2
        canvas[y : y + h, x : x + w] = shrunk
    return canvas


def overlay_heatmap(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Return an image with a heatmap over it.

    Args:
        image: (H, W, 3) uint8 BGR.
        heatmap: (H, W), of any range.
    """
    low, extent = heatmap.min(), max(float(np.ptp(heatmap)), 1e-6)
    levels = np.clip((heatmap - low) / extent * 255, 0, 255).astype(np.uint8)
    colors = cv2.applyColorMap(levels, cv2.COLORMAP_JET)
    return cv2.addWeighted(image, 0.45, colors, 0.55, 0)
