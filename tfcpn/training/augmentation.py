"""Four views of every training crop: rescaled, mirrored and twice rotated, made on the device.

Two functions: `draw` makes the random numbers, `four_views` applies them and is deterministic.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.base.addons import transform
from tfcpn.picture.look import Preprocessing, normalize
from tfcpn.picture.mirror import flip_horizontal
from tfcpn.settings.recipe import TRAINING_MARGIN, VIEWS


class Ranges(NamedTuple):
    """What the draws are uniform over. tf-cpn's are the defaults.

    rescale: the zoom of view 0; below 1.25 it enlarges. rotation: degrees, either way. shift: parts of the region's
    side, either way along each axis; tf-cpn has none, and the four views take none. shift_exponent: the power to which
    the uniform draws of a shift are raised: above 1, small ones are more frequent. random_half_body, occlusion: shares of
    the views that show one half of the body, and that have something in front. color: how far colors change.
    """

    rescale_min: float = 0.7
    rescale_max: float = 1.35
    rotation: float = 45.0
    shift: float = 0.0
    shift_exponent: float = 1.0
    random_half_body: float = 0.0
    random_erasing: float = 0.0
    color_jitter: float = 0.0


class Draws(NamedTuple):
    """rescale: (P,) float32. angle: (P, 2) float32, signed degrees, positive is counter-clockwise."""

    rescale: tf.Tensor
    angle: tf.Tensor


def stateless_seed(seed, fold: int | None = None) -> tf.Tensor:
    """Make the seed of a stateless random operation.

    Its place is the host: there a GPU's random operation reads it, and a seed that was computed on the GPU would have
    to wait for the step before.

    Args:
        seed: Two integers, or scalar integer tensors.
        fold: A number that makes another seed of it, for draws that are independent of those of the seed itself.

    Returns:
        (2,) int64.
    """
    with tf.device("CPU:0"):
        seed = tf.stack([tf.cast(s, tf.int64) for s in seed])
        return seed if fold is None else tf.random.experimental.stateless_fold_in(seed, fold)


def draw(seed, people, ranges: Ranges) -> Draws:
    """Random draws for `people` crops: a function of the seed, a pair of integers, alone."""
    u = tf.random.stateless_uniform((people, 5), stateless_seed(seed))
    rescale = ranges.rescale_min + (ranges.rescale_max - ranges.rescale_min) * u[:, 0]
    angle = u[:, 1::2] * ranges.rotation
    return Draws(rescale, tf.where(u[:, 2::2] < 0.5, -angle, angle))


def _resize_weights(low, high, size: int) -> tf.Tensor:
    """(P, size, size) matrices that stretch the pixels [low, high) of a line of `size` pixels over all of it.

    OpenCV's bilinear resize: half-pixel centers, the edge pixels of the range repeated.
    """
    low, high = tf.cast(low, tf.float32)[:, None], tf.cast(high, tf.float32)[:, None]
    centers = tf.range(size, dtype=tf.float32)[None] + 0.5
    source = tf.clip_by_value(low + centers * (high - low) / size - 0.5, low, high - 1)
    return tf.nn.relu(1 - tf.abs(source[..., None] - tf.range(size, dtype=tf.float32)))


def zero_outside(keypoints, visibility, height: int, width: int) -> tf.Tensor:
    x, y = keypoints[..., 0], keypoints[..., 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return tf.where(inside, visibility, 0.0)


def _rescale(images, keypoints, visibility, rescale):
    """View 0: the middle of the crop, enlarged to the whole."""
    height, width = images.shape[1:3]
    moved, weights = [], []
    for axis, size in ((0, width), (1, height)):
        center = size / 2
        half = tf.minimum(center, center / TRAINING_MARGIN * rescale)
        low = tf.cast(center - half, tf.int32)
        high = tf.minimum(tf.cast(center + half + 1, tf.int32), size)
        weights.append(_resize_weights(low, high, size))
        # Keypoints use the half width as drawn, pixels the truncated one.
        moved.append((keypoints[..., axis] - center) / half[:, None] * (size - center) + center)
    # Bilinear resizing is separable: as two small matrix products it costs next to nothing on any device.
    images = tf.einsum("pyh,phwc->pywc", weights[1], images)
    images = tf.einsum("pxw,pywc->pyxc", weights[0], images)
    keypoints = tf.stack(moved, axis=-1)
    return images, keypoints, zero_outside(keypoints, visibility, height, width)


def _mirror(images, keypoints, visibility, other_side: list[int]):
    """View 1: the mirror image; left and right trade places."""
    x = keypoints[..., 0]
    x = tf.where(x >= 0, images.shape[2] - 1 - x, x)
    keypoints = tf.gather(tf.stack([x, keypoints[..., 1]], axis=-1), other_side, axis=1)
    return flip_horizontal(images), keypoints, tf.gather(visibility, other_side, axis=1)


def _rotate(images, keypoints, visibility, angle, fill: str = "constant"):
    """Views 2 and 3: turned about the center (W/2, H/2). What comes in from outside is 0, the mean color, or, with
    fill "nearest", the border.
    """
    height, width = images.shape[1:3]
    center_x, center_y = width / 2, height / 2
    radians = angle * (np.pi / 180)
    cos, sin = tf.cos(radians), tf.sin(radians)
    zero = tf.zeros_like(cos)
    # The warp wants the way from a pixel of the result to one of the source: the rotation by minus the angle.
    images = transform(
        images,
        tf.stack(
            [
                cos,
                -sin,
                center_x - cos * center_x + sin * center_y,
                sin,
                cos,
                center_y - sin * center_x - cos * center_y,
                zero,
                zero,
            ],
            axis=1,
        ),
        interpolation="bilinear",
        fill_mode=fill,
        fill_value=0.0,
    )
    x, y = keypoints[..., 0], keypoints[..., 1]
    cos, sin = cos[:, None], sin[:, None]
    turned = tf.stack(
        [
            cos * (x - center_x) + sin * (y - center_y) + center_x,
            -sin * (x - center_x) + cos * (y - center_y) + center_y,
        ],
        axis=-1,
    )
    keypoints = tf.where(((x >= 0) & (y >= 0))[..., None], turned, keypoints)
    return images, keypoints, zero_outside(keypoints, visibility, height, width)


def four_views(
    crops, keypoints, draws: Draws, mirror: list[int], preprocessing: Preprocessing
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Training crops -> the network's input and targets; the four views of a person lie next to each other.

    crops: (P, H, W, 3) uint8 BGR. keypoints: (P, K, 3) float32: x, y in crop pixels (negative: not labeled) and
    visibility. mirror: the keypoint that each becomes in a mirror image. look: how pixels become the network's input.
    Returns images (4P, H, W, 3) float32, normalized; keypoints (4P, K, 2); visibility (4P, K).
    """
    rescaled = _rescale(
        normalize(crops, preprocessing), keypoints[..., :2], keypoints[..., 2], draws.rescale
    )
    mirrored = _mirror(*rescaled, mirror)
    fill = "nearest" if preprocessing.pad_color is None else "constant"
    turned = [_rotate(*rescaled, draws.angle[:, i], fill) for i in range(2)]
    views = [rescaled, mirrored, *turned]
    assert len(views) == VIEWS

    def interleave(tensors):
        stacked = tf.stack(tensors, axis=1)
        return tf.reshape(stacked, (-1, *stacked.shape[2:]))

    images, keypoints, visibility = (interleave(t) for t in zip(*views))
    return images, keypoints, visibility
