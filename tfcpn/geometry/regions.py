"""The region of an image that the network sees of one person.

A region is five numbers: centre x, centre y, width and height in pixels, and the rotation in radians, positive
clockwise. Whatever the mode, pixels, joints and results go through the same region. Plain functions on tensors:
they run eagerly, in a tf.data pipeline and in an exported graph alike.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfcpn.geometry.alignment import Alignment

# A crop is this much wider and higher than the person's box.
WIDEN_X, WIDEN_Y = 1.2, 1.3


def square_box(box) -> tf.Tensor:
    """Boxes (..., 4) as x, y, w, h -> squares of their longer side about the same centre."""
    box = tf.convert_to_tensor(box)
    side = tf.maximum(box[..., 2], box[..., 3])
    x = box[..., 0] + (box[..., 2] - side) / 2
    y = box[..., 1] + (box[..., 3] - side) / 2
    return tf.stack([x, y, side, side], axis=-1)


def crop_rectangle(box, image_size, input_size: tuple[int, int], margin: float = 1.0) -> tf.Tensor:
    """tf-cpn's crop of one person: the box, widened, brought to the input's shape, kept near the image.

    box: (..., 4) x, y, w, h in pixels. image_size: (..., 2) height, width. input_size: (H, W) of the network.
    margin: 1.25 in training. Returns (..., 4) int32 min x, min y, max x, max y, which may lie outside the image.

    Works in the image padded on every side by its longer side. There the crop's size is limited so that it stays
    inside, and corners are truncated to integers; both are exact only in float64 and in padded coordinates.
    """
    # The box itself is float32 in tf-cpn, the arithmetic on it float64.
    box = tf.cast(box, tf.float32)
    image_size = tf.cast(image_size, tf.int32)
    pad = tf.reduce_max(image_size, axis=-1)
    height, width = (float(n) for n in input_size)
    corner = tf.cast(box[..., :2] + tf.cast(pad, tf.float32)[..., None], tf.float64)
    size = tf.cast(box[..., 2:], tf.float64)
    centre = corner + size / 2
    padded = tf.cast(image_size + 2 * pad[..., None], tf.float64)

    crop_w = size[..., 0] * (WIDEN_X * margin)
    crop_h = size[..., 1] * (WIDEN_Y * margin)
    height_rules = crop_h / height > crop_w / width
    ruling = tf.where(height_rules, height, width)
    ruling = tf.cast(ruling, tf.float64)
    extent = tf.where(height_rules, crop_h, crop_w)
    for axis, length in ((0, width), (1, height)):
        before = centre[..., axis]
        after = padded[..., 1 - axis] - before
        extent = tf.minimum(extent, 2 * tf.minimum(before, after) / length * ruling - 1)
    half_x = extent / 2 / ruling * width
    half_y = extent / 2 / ruling * height
    corners = tf.stack(
        [centre[..., 0] - half_x, centre[..., 1] - half_y, centre[..., 0] + half_x, centre[..., 1] + half_y],
        axis=-1,
    )
    corners = tf.cast(corners, tf.int32)
    # tf-cpn stops at a box so small that its corners coincide; here it gets one pixel.
    low = corners[..., :2]
    high = tf.maximum(corners[..., 2:], low + 1)
    return tf.concat([low, high], axis=-1) - pad[..., None]


def rectangle_region(rectangle) -> tf.Tensor:
    """Rectangles (..., 4) min x, min y, max x, max y -> regions (..., 5) float64 without rotation."""
    rectangle = tf.cast(rectangle, tf.float64)
    low, high = rectangle[..., :2], rectangle[..., 2:]
    return tf.concat([(low + high) / 2, high - low, tf.zeros_like(low[..., :1])], axis=-1)


def region_rectangle(region) -> tf.Tensor:
    """The inverse of `rectangle_region`, for regions without rotation: (..., 4) int32."""
    corners = tf.concat([region[..., :2] - region[..., 2:4] / 2, region[..., :2] + region[..., 2:4] / 2], axis=-1)
    return tf.cast(tf.round(corners), tf.int32)


def points_region(points, margin: float = 1.25, rotate: bool = True) -> tf.Tensor:
    """MediaPipe's region of a person: a square about the first point, turned until the second is straight above.

    points: (..., 2, 2) x, y of centre and scale point. margin: side over the circle's diameter. Returns (..., 5)
    float64 with the rotation in [-pi, pi), 0 everywhere if not `rotate`.
    """
    points = tf.cast(points, tf.float64)
    centre, way = points[..., 0, :], points[..., 1, :] - points[..., 0, :]
    side = tf.maximum(2 * margin * tf.norm(way, axis=-1), 1.0)
    rotation = np.pi / 2 - tf.atan2(-way[..., 1], way[..., 0])
    rotation = rotation - 2 * np.pi * tf.floor((rotation + np.pi) / (2 * np.pi))
    if not rotate:
        rotation = tf.zeros_like(rotation)
    return tf.concat([centre, tf.stack([side, side, rotation], axis=-1)], axis=-1)


def person_region(
    box, points, found, image_size, alignment: Alignment, input_size: tuple[int, int], margin: float = 1.0
) -> tf.Tensor:
    """The region of a person, by the mode of `alignment`: (..., 5) float64.

    box: (..., 4) x, y, w, h. points: (..., 2, 2) as from `alignment_points`, known where found (...) is true;
    people without them get the region of the square box. image_size: (..., 2) height, width. margin: 1.25 in
    training.
    """
    box = box if alignment.mode == "person" else square_box(box)
    region = rectangle_region(crop_rectangle(box, image_size, input_size, margin))
    if alignment.by_points:
        aligned = points_region(points, alignment.margin * margin, alignment.rotate)
        region = tf.where(tf.convert_to_tensor(found)[..., None], aligned, region)
    return region
