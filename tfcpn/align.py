"""The region of an image that the network sees of one person, and the way between image and crop.

Plain functions on tensors: they run eagerly, in a tf.data pipeline and in an exported graph alike.
"""

from __future__ import annotations

import tensorflow as tf

MODES = ["person", "square"]
# A crop is this much wider and higher than the person's box.
WIDEN_X, WIDEN_Y = 1.2, 1.3
# Where a joint that is not labelled is put: so far outside that every later step sees a negative coordinate.
UNLABELLED = -1e6


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


def joints_to_crop(joints, rectangle, input_size: tuple[int, int]) -> tf.Tensor:
    """Joints (..., K, 3) in the image -> (..., K, 3) float32 in the crop; the third value, visibility, stays.

    rectangle: (..., 4) int32 as from `crop_rectangle`. A joint of visibility 0 is put far outside (negative).
    In float32, times the rounded ratio, as tf-cpn computes it: a joint that lies exactly between two pixels of
    a label map must fall to the same side.
    """
    joints = tf.cast(joints, tf.float32)
    low = tf.cast(rectangle[..., None, :2], tf.float32)
    extent = tf.cast(rectangle[..., None, 2:] - rectangle[..., None, :2], tf.float64)
    ratio = tf.cast(tf.constant([input_size[1], input_size[0]], tf.float64) / extent, tf.float32)
    xy = tf.where(joints[..., 2:] > 0, (joints[..., :2] - low) * ratio, UNLABELLED)
    return tf.concat([xy, joints[..., 2:]], axis=-1)


def joints_to_image(joints, rectangle, input_size: tuple[int, int]) -> tf.Tensor:
    """Joints (..., K, 2) in the crop -> (..., K, 2) float64 in the image: the inverse of `joints_to_crop`."""
    joints = tf.cast(joints, tf.float64)
    low, high = (tf.cast(rectangle[..., None, i : i + 2], tf.float64) for i in (0, 2))
    return joints / tf.constant([input_size[1], input_size[0]], tf.float64) * (high - low) + low
