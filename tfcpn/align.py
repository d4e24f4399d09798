"""The region of an image that the network sees of one person, and the way between image and crop.

A region is five numbers: centre x, centre y, width and height in pixels, and the rotation in radians, positive
clockwise. Whatever the mode, pixels, joints and results go through the same region. Plain functions on tensors:
they run eagerly, in a tf.data pipeline and in an exported graph alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.skeleton import JOINTS

MODES = ["person", "square", "blazepose"]
RADII = ["body", "joints", "nose"]
# A crop is this much wider and higher than the person's box.
WIDEN_X, WIDEN_Y = 1.2, 1.3
# Where a joint that is not labelled is put: so far outside that every later step sees a negative coordinate.
UNLABELLED = -1e6

# From the farthest labelled joint to the circle around the body: what MediaPipe's own circle measures.
BEYOND_JOINTS = 1.15
# The experiment log's circle: through a point beyond the nose.
BEYOND_NOSE = 1.3
_HIPS = [JOINTS.index("left_hip"), JOINTS.index("right_hip")]
_SHOULDERS = [JOINTS.index("left_shoulder"), JOINTS.index("right_shoulder")]
_NOSE = [JOINTS.index("nose")]


class Alignment(NamedTuple):
    """How the region of a person is found; the flags --align, --align_rotate and so on.

    mode: one of MODES. The rest is for "blazepose". rotate: turn the region until the body is upright. margin: side
    of the region over the diameter of the circle around the body. radius: one of RADII, how that circle is found.
    missing: "drop" or "square", what becomes of people whose joints do not tell it.
    """

    mode: str = "person"
    rotate: bool = True
    margin: float = 1.25
    radius: str = "body"
    missing: str = "square"


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


def alignment_joints(radius: str) -> list[int]:
    """The joints that must be labelled for the alignment points to be known."""
    return _HIPS + (_NOSE if radius == "nose" else _SHOULDERS)


def alignable(keypoints, radius: str) -> tf.Tensor:
    """Whether each of the people (..., K, 3) has the joints that the alignment points are made of: (...) bool."""
    return tf.reduce_all(tf.gather(keypoints, alignment_joints(radius), axis=-2)[..., 2] > 0, axis=-1)


def alignment_points(keypoints, reach, radius: str) -> tf.Tensor:
    """MediaPipe's two alignment points: the mid-hip, and the point above it on the circle around the whole body.

    keypoints: (..., K, 3) x, y, visibility. reach: (...) distance from the mid-hip to the farthest point of the
    person's outline, 0 if none is known. radius: "body" takes the farthest labelled joint or outline point (without
    an outline, as "joints"); "joints" the farthest labelled joint times 1.15; "nose" is the experiment log's rule,
    1.3 times the way to the nose. Returns (..., 2, 2) float64 x, y; without meaning where `alignable` is false.
    """
    keypoints = tf.cast(keypoints, tf.float64)
    xy = keypoints[..., :2]
    centre = tf.reduce_mean(tf.gather(xy, _HIPS, axis=-2), axis=-2)
    if radius == "nose":
        nose = tf.gather(xy, _NOSE[0], axis=-2)
        return tf.stack([centre, centre + BEYOND_NOSE * (nose - centre)], axis=-2)
    direction = tf.reduce_mean(tf.gather(xy, _SHOULDERS, axis=-2), axis=-2) - centre
    length = tf.norm(direction, axis=-1, keepdims=True)
    # Shoulders exactly on the hips tell no direction: then up is up.
    up = tf.constant([0.0, -1.0], tf.float64)
    direction = tf.where(length > 0, tf.math.divide_no_nan(direction, length), up)
    distance = tf.norm(xy - centre[..., None, :], axis=-1)
    farthest = tf.reduce_max(tf.where(keypoints[..., 2] > 0, distance, 0.0), axis=-1)
    circle = BEYOND_JOINTS * farthest
    if radius == "body":
        reach = tf.cast(reach, tf.float64)
        circle = tf.where(reach > 0, tf.maximum(reach, farthest), circle)
    return tf.stack([centre, centre + circle[..., None] * direction], axis=-2)


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

    box: (..., 4) x, y, w, h. points: (..., 2, 2) as from `alignment_points`, known where found (...) is true; people
    without them get the region of the square box. image_size: (..., 2) height, width. margin: 1.25 in training.
    """
    box = box if alignment.mode == "person" else square_box(box)
    region = rectangle_region(crop_rectangle(box, image_size, input_size, margin))
    if alignment.mode == "blazepose":
        aligned = points_region(points, alignment.margin * margin, alignment.rotate)
        region = tf.where(tf.convert_to_tensor(found)[..., None], aligned, region)
    return region


def crop_to_image(region, input_size: tuple[int, int]) -> tf.Tensor:
    """The affine maps (..., 2, 3) float64 from crop pixels (x, y, 1) to image pixels."""
    region = tf.cast(region, tf.float64)
    cx, cy, width, height, rotation = tf.unstack(region, axis=-1)
    cos, sin = tf.cos(rotation), tf.sin(rotation)
    x_step, y_step = width / input_size[1], height / input_size[0]
    rows = [
        [cos * x_step, -sin * y_step, cx - (cos * width - sin * height) / 2],
        [sin * x_step, cos * y_step, cy - (sin * width + cos * height) / 2],
    ]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)


def _parts(region):
    region = tf.cast(region, tf.float64)[..., None, :]
    return region[..., :2], region[..., 2:4], tf.cos(region[..., 4]), tf.sin(region[..., 4])


def joints_to_crop(joints, region, input_size: tuple[int, int]) -> tf.Tensor:
    """Joints (..., K, 3) in the image -> (..., K, 3) float32 in the crop; the third value, visibility, stays.

    region: (..., 5). A joint of visibility 0 is put far outside (negative). Without rotation this is, to the last
    bit, tf-cpn's float32 difference times a rounded ratio: a joint that lies exactly between two pixels of a label
    map must fall to the same side.
    """
    joints = tf.cast(joints, tf.float32)
    centre, extent, cos, sin = _parts(region)
    way = tf.cast(joints[..., :2], tf.float64) - centre
    turned = tf.stack([cos * way[..., 0] + sin * way[..., 1], cos * way[..., 1] - sin * way[..., 0]], axis=-1)
    ratio = tf.cast(tf.constant([input_size[1], input_size[0]], tf.float64) / extent, tf.float32)
    xy = tf.cast(turned + extent / 2, tf.float32) * ratio
    xy = tf.where(joints[..., 2:] > 0, xy, UNLABELLED)
    return tf.concat([xy, joints[..., 2:]], axis=-1)


def joints_to_image(joints, region, input_size: tuple[int, int]) -> tf.Tensor:
    """Joints (..., K, 2) in the crop -> (..., K, 2) float64 in the image: the inverse of `joints_to_crop`."""
    centre, extent, cos, sin = _parts(region)
    way = (tf.cast(joints, tf.float64) / tf.constant([input_size[1], input_size[0]], tf.float64) - 0.5) * extent
    turned = tf.stack([cos * way[..., 0] - sin * way[..., 1], cos * way[..., 1] + sin * way[..., 0]], axis=-1)
    return turned + centre
