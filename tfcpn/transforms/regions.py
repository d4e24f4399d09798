"""The region of an image that the network sees of a person.

A region is five numbers: center x, center y, width and height in pixels, and the rotation in
radians, positive clockwise. Pixels, keypoints and results all go through the same region. These
functions run eagerly, in a tf.data pipeline and in an exported graph.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfcpn.skeleton import Skeleton
from tfcpn.transforms.alignment import Alignment
from tfcpn.utils.errors import InputError

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

    tf-cpn works in the image padded on every side by its longer side: it limits the crop to that
    and truncates the corners to integers, which is exact only in float64 and in padded coordinates.

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


def region_from_box(box) -> tf.Tensor:
    """Convert boxes (..., 4) x, y, width, height to regions without rotation (..., 5) float64."""
    box = tf.cast(box, tf.float64)
    center = box[..., :2] + box[..., 2:] / 2
    return tf.concat([center, box[..., 2:], tf.zeros_like(box[..., :1])], axis=-1)


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


# Radius of the circle around the body over the distance of the farthest keypoint (MediaPipe).
KEYPOINT_RADIUS_FACTOR = 1.15
# The same over the distance of the nose, in tf-cpn's experiment log (docs/notes/experiments.md).
NOSE_RADIUS_FACTOR = 1.3


def alignment_keypoints(skeleton: Skeleton, radius: str) -> tuple[int, ...]:
    """Return the indices of the keypoints that define the alignment points.

    Args:
        skeleton: The keypoints.
        radius: One of `RADII`.

    Raises:
        InputError: If the skeleton does not name them.
    """
    ends, what = (skeleton.nose, "nose") if radius == "nose" else (skeleton.shoulders, "shoulders")
    for role, keypoints in (("hips", skeleton.hips), (what, ends)):
        if not keypoints:
            raise InputError(
                f"the keypoints {skeleton.name!r} name no {role}, of which BlazePose's alignment "
                "points are made: use --align=person or --align=square"
            )
    return skeleton.hips + ends


def has_alignment_keypoints(keypoints, skeleton: Skeleton, radius: str) -> tf.Tensor:
    """Return whether each person has the keypoints that define the alignment points labeled.

    Args:
        keypoints: (..., K, 3) x, y, visibility.
        skeleton: The keypoints' definition.
        radius: One of `RADII`.

    Returns:
        (...) bool.
    """
    needed = tf.gather(keypoints, list(alignment_keypoints(skeleton, radius)), axis=-2)
    return tf.reduce_all(needed[..., 2] > 0, axis=-1)


def alignment_points(keypoints, max_radius, skeleton: Skeleton, radius: str) -> tf.Tensor:
    """Compute MediaPipe's two alignment points from keypoints.

    Args:
        keypoints: (..., K, 3) x, y in pixels, visibility.
        max_radius: (...) distance in pixels from the mid-hip to the farthest point of the person's
            outline; 0 if unknown.
        skeleton: The keypoints' definition.
        radius: "body": the farthest labeled keypoint or outline point (without an outline, as
            "keypoints"). "keypoints": 1.15 times the farthest labeled keypoint. "nose": 1.3 times
            the distance to the nose, the rule of tf-cpn's experiment log.

    Returns:
        (..., 2, 2) float64 x, y; meaningless where `has_alignment_keypoints` is false.
    """
    keypoints = tf.cast(keypoints, tf.float64)
    xy = keypoints[..., :2]
    center = tf.reduce_mean(tf.gather(xy, list(skeleton.hips), axis=-2), axis=-2)
    if radius == "nose":
        nose = tf.gather(xy, skeleton.nose[0], axis=-2)
        return tf.stack([center, center + NOSE_RADIUS_FACTOR * (nose - center)], axis=-2)
    direction = tf.reduce_mean(tf.gather(xy, list(skeleton.shoulders), axis=-2), axis=-2) - center
    length = tf.norm(direction, axis=-1, keepdims=True)
    # Shoulders exactly on the hips define no direction: use straight up.
    up = tf.constant([0.0, -1.0], tf.float64)
    direction = tf.where(length > 0, tf.math.divide_no_nan(direction, length), up)
    distance = tf.norm(xy - center[..., None, :], axis=-1)
    farthest = tf.reduce_max(tf.where(keypoints[..., 2] > 0, distance, 0.0), axis=-1)
    circle = KEYPOINT_RADIUS_FACTOR * farthest
    if radius == "body":
        max_radius = tf.cast(max_radius, tf.float64)
        circle = tf.where(max_radius > 0, tf.maximum(max_radius, farthest), circle)
    return tf.stack([center, center + circle[..., None] * direction], axis=-2)


# Coordinate of unlabeled keypoints: negative after every later step.
UNLABELED = -1e6


def crop_to_image(region, input_size: tuple[int, int]) -> tf.Tensor:
    """Return the affine maps from crop pixels to image pixels.

    Args:
        region: (..., 5), see `regions`.
        input_size: (height, width) of the crop.

    Returns:
        (..., 2, 3) float64; multiply with (x, y, 1).
    """
    region = tf.cast(region, tf.float64)
    cx, cy, width, height, rotation = tf.unstack(region, axis=-1)
    cos, sin = tf.cos(rotation), tf.sin(rotation)
    x_step, y_step = width / input_size[1], height / input_size[0]
    rows = [
        [cos * x_step, -sin * y_step, cx - (cos * width - sin * height) / 2],
        [sin * x_step, cos * y_step, cy - (sin * width + cos * height) / 2],
    ]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)


def _split_region(region):
    region = tf.cast(region, tf.float64)[..., None, :]
    return region[..., :2], region[..., 2:4], tf.cos(region[..., 4]), tf.sin(region[..., 4])


def keypoints_to_crop(keypoints, region, input_size: tuple[int, int]) -> tf.Tensor:
    """Map keypoints from the image into the crop.

    Without rotation this is, to the last bit, tf-cpn's float32 difference times a rounded ratio: a
    keypoint exactly between two pixels of a label map must fall to the same side.

    Args:
        keypoints: (..., K, 3) x, y in image pixels, and visibility.
        region: (..., 5).
        input_size: (height, width) of the crop.

    Returns:
        (..., K, 3) float32 x, y in crop pixels, and visibility. Keypoints of visibility 0 lie at
        `UNLABELED`.
    """
    keypoints = tf.cast(keypoints, tf.float32)
    center, extent, cos, sin = _split_region(region)
    offset = tf.cast(keypoints[..., :2], tf.float64) - center
    rotated = tf.stack(
        [cos * offset[..., 0] + sin * offset[..., 1], cos * offset[..., 1] - sin * offset[..., 0]],
        axis=-1,
    )
    ratio = tf.cast(tf.constant([input_size[1], input_size[0]], tf.float64) / extent, tf.float32)
    xy = tf.cast(rotated + extent / 2, tf.float32) * ratio
    xy = tf.where(keypoints[..., 2:] > 0, xy, UNLABELED)
    return tf.concat([xy, keypoints[..., 2:]], axis=-1)


def keypoints_to_image(keypoints, region, input_size: tuple[int, int]) -> tf.Tensor:
    """Map keypoints from the crop into the image: the inverse of `keypoints_to_crop`.

    Args:
        keypoints: (..., K, 2) x, y in crop pixels.
        region: (..., 5).
        input_size: (height, width) of the crop.

    Returns:
        (..., K, 2) float64 x, y in image pixels.
    """
    center, extent, cos, sin = _split_region(region)
    offset = (
        tf.cast(keypoints, tf.float64) / tf.constant([input_size[1], input_size[0]], tf.float64)
        - 0.5
    ) * extent
    rotated = tf.stack(
        [cos * offset[..., 0] - sin * offset[..., 1], cos * offset[..., 1] + sin * offset[..., 0]],
        axis=-1,
    )
    return rotated + center
