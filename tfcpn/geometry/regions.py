"""The region of an image that the network sees of a person.

A region is five numbers: center x, center y, width and height in pixels, and the rotation in
radians, positive clockwise. Pixels, keypoints and results all go through the same region. These
functions run eagerly, in a tf.data pipeline and in an exported graph.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfcpn.geometry.alignment import Alignment

# Size of a crop over that of the person's box.
WIDEN_X, WIDEN_Y = 1.2, 1.3


def square_box(box) -> tf.Tensor:
    """Return squares with the longer side of boxes about the same centers.

    Args:
        box: (..., 4) x, y, width, height.
    """
    box = tf.convert_to_tensor(box)
    side = tf.maximum(box[..., 2], box[..., 3])
    x = box[..., 0] + (box[..., 2] - side) / 2
    y = box[..., 1] + (box[..., 3] - side) / 2
    return tf.stack([x, y, side, side], axis=-1)


def crop_rectangle(box, image_size, input_size: tuple[int, int], margin: float = 1.0) -> tf.Tensor:
    """Return tf-cpn's crop of a person: the box, widened, in the input's shape, near the image.

    tf-cpn works in the image padded on every side by its longer side: it limits the crop to that and
    truncates the corners to integers, which is exact only in float64 and in padded coordinates.

    Args:
        box: (..., 4) x, y, width, height in pixels.
        image_size: (..., 2) height, width.
        input_size: (height, width) of the network.
        margin: Extra factor of the size; 1.25 in training.

    Returns:
        (..., 4) int32 min x, min y, max x, max y, possibly outside the image.
    """
    # In tf-cpn the box is float32 and the arithmetic on it float64.
    box = tf.cast(box, tf.float32)
    image_size = tf.cast(image_size, tf.int32)
    pad = tf.reduce_max(image_size, axis=-1)
    height, width = (float(n) for n in input_size)
    corner = tf.cast(box[..., :2] + tf.cast(pad, tf.float32)[..., None], tf.float64)
    size = tf.cast(box[..., 2:], tf.float64)
    center = corner + size / 2
    padded = tf.cast(image_size + 2 * pad[..., None], tf.float64)

    crop_w = size[..., 0] * (WIDEN_X * margin)
    crop_h = size[..., 1] * (WIDEN_Y * margin)
    height_rules = crop_h / height > crop_w / width
    ruling = tf.where(height_rules, height, width)
    ruling = tf.cast(ruling, tf.float64)
    extent = tf.where(height_rules, crop_h, crop_w)
    for axis, length in ((0, width), (1, height)):
        before = center[..., axis]
        after = padded[..., 1 - axis] - before
        extent = tf.minimum(extent, 2 * tf.minimum(before, after) / length * ruling - 1)
    half_x = extent / 2 / ruling * width
    half_y = extent / 2 / ruling * height
    corners = tf.stack(
        [
            center[..., 0] - half_x,
            center[..., 1] - half_y,
            center[..., 0] + half_x,
            center[..., 1] + half_y,
        ],
        axis=-1,
    )
    corners = tf.cast(corners, tf.int32)
    # tf-cpn fails if the corners coincide; here such a crop has one pixel.
    low = corners[..., :2]
    high = tf.maximum(corners[..., 2:], low + 1)
    return tf.concat([low, high], axis=-1) - pad[..., None]


def region_from_rectangle(rectangle) -> tf.Tensor:
    """Convert rectangles to regions without rotation.

    Args:
        rectangle: (..., 4) min x, min y, max x, max y.

    Returns:
        (..., 5) float64.
    """
    rectangle = tf.cast(rectangle, tf.float64)
    low, high = rectangle[..., :2], rectangle[..., 2:]
    return tf.concat([(low + high) / 2, high - low, tf.zeros_like(low[..., :1])], axis=-1)


def rectangle_from_region(region) -> tf.Tensor:
    """Convert regions without rotation to rectangles: the inverse of `region_from_rectangle`.

    Args:
        region: (..., 5).

    Returns:
        (..., 4) int32 min x, min y, max x, max y.
    """
    corners = tf.concat(
        [region[..., :2] - region[..., 2:4] / 2, region[..., :2] + region[..., 2:4] / 2], axis=-1
    )
    return tf.cast(tf.round(corners), tf.int32)


def region_from_points(points, margin: float = 1.25, rotate: bool = True) -> tf.Tensor:
    """Return MediaPipe's region: a square about the first point, the second one straight above.

    Args:
        points: (..., 2, 2) x, y of the mid-hip and of the point on the circle.
        margin: Side of the region over the circle's diameter.
        rotate: Whether to rotate; else the rotation is 0.

    Returns:
        (..., 5) float64 with rotation in [-pi, pi).
    """
    points = tf.cast(points, tf.float64)
    center, offset = points[..., 0, :], points[..., 1, :] - points[..., 0, :]
    side = tf.maximum(2 * margin * tf.norm(offset, axis=-1), 1.0)
    rotation = np.pi / 2 - tf.atan2(-offset[..., 1], offset[..., 0])
    rotation = rotation - 2 * np.pi * tf.floor((rotation + np.pi) / (2 * np.pi))
    if not rotate:
        rotation = tf.zeros_like(rotation)
    return tf.concat([center, tf.stack([side, side, rotation], axis=-1)], axis=-1)


def person_region(
    box,
    points,
    found,
    image_size,
    alignment: Alignment,
    input_size: tuple[int, int],
    margin: float = 1.0,
) -> tf.Tensor:
    """Return the region of a person.

    Args:
        box: (..., 4) x, y, width, height.
        points: (..., 2, 2) as returned by `alignment_points`.
        found: (...) bool, whether the points are known. People without them get the region of the
            square box.
        image_size: (..., 2) height, width.
        alignment: How regions are defined.
        input_size: (height, width) of the network.
        margin: Extra factor of the size; 1.25 in training.

    Returns:
        (..., 5) float64.
    """
    box = box if alignment.mode == "person" else square_box(box)
    region = region_from_rectangle(crop_rectangle(box, image_size, input_size, margin))
    if alignment.uses_points:
        aligned = region_from_points(points, alignment.margin * margin, alignment.rotate)
        region = tf.where(tf.convert_to_tensor(found)[..., None], aligned, region)
    return region
