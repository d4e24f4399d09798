"""Four views of every training crop: rescaled, mirrored and twice rotated, made on the device.

Two functions: `draw` makes the random numbers, `four_views` applies them and is deterministic.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.base.addons import transform
from tfcpn.picture.look import Look, normalize
from tfcpn.picture.mirror import mirror_pixels
from tfcpn.settings.recipe import TRAINING_MARGIN, VIEWS


class Ranges(NamedTuple):
    """What the draws are uniform over. tf-cpn's are the defaults.

    rescale: the zoom of view 0; below 1.25 it enlarges. rotation: degrees, either way. shift: parts of the region's
    side, either way along each axis; tf-cpn has none, and the four views take none. shift_peak: the power to which
    the uniform draws of a shift are raised: above 1, small ones are more frequent. half_body, occlusion: shares of
    the views that show one half of the body, and that have something in front. colour: how far colours change.
    """

    rescale_min: float = 0.7
    rescale_max: float = 1.35
    rotation: float = 45.0
    shift: float = 0.0
    shift_peak: float = 1.0
    half_body: float = 0.0
    occlusion: float = 0.0
    colour: float = 0.0


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

    OpenCV's bilinear resize: half-pixel centres, the edge pixels of the range repeated.
    """
    low, high = tf.cast(low, tf.float32)[:, None], tf.cast(high, tf.float32)[:, None]
    centres = tf.range(size, dtype=tf.float32)[None] + 0.5
    source = tf.clip_by_value(low + centres * (high - low) / size - 0.5, low, high - 1)
    return tf.nn.relu(1 - tf.abs(source[..., None] - tf.range(size, dtype=tf.float32)))


def zero_outside(joints, visibility, height: int, width: int) -> tf.Tensor:
    x, y = joints[..., 0], joints[..., 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return tf.where(inside, visibility, 0.0)


def _rescale(images, joints, visibility, rescale):
    """View 0: the middle of the crop, enlarged to the whole."""
    height, width = images.shape[1:3]
    moved, weights = [], []
    for axis, size in ((0, width), (1, height)):
        centre = size / 2
        half = tf.minimum(centre, centre / TRAINING_MARGIN * rescale)
        low = tf.cast(centre - half, tf.int32)
        high = tf.minimum(tf.cast(centre + half + 1, tf.int32), size)
        weights.append(_resize_weights(low, high, size))
        # Joints use the half width as drawn, pixels the truncated one.
        moved.append((joints[..., axis] - centre) / half[:, None] * (size - centre) + centre)
    # Bilinear resizing is separable: as two small matrix products it costs next to nothing on any device.
    images = tf.einsum("pyh,phwc->pywc", weights[1], images)
    images = tf.einsum("pxw,pywc->pyxc", weights[0], images)
    joints = tf.stack(moved, axis=-1)
    return images, joints, zero_outside(joints, visibility, height, width)


def _mirror(images, joints, visibility, other_side: list[int]):
    """View 1: the mirror image; left and right trade places."""
    x = joints[..., 0]
    x = tf.where(x >= 0, images.shape[2] - 1 - x, x)
    joints = tf.gather(tf.stack([x, joints[..., 1]], axis=-1), other_side, axis=1)
    return mirror_pixels(images), joints, tf.gather(visibility, other_side, axis=1)


def _rotate(images, joints, visibility, angle, fill: str = "constant"):
    """Views 2 and 3: turned about the centre (W/2, H/2). What comes in from outside is 0, the mean colour, or, with
    fill "nearest", the border.
    """
    height, width = images.shape[1:3]
    centre_x, centre_y = width / 2, height / 2
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
                centre_x - cos * centre_x + sin * centre_y,
                sin,
                cos,
                centre_y - sin * centre_x - cos * centre_y,
                zero,
                zero,
            ],
            axis=1,
        ),
        interpolation="bilinear",
        fill_mode=fill,
        fill_value=0.0,
    )
    x, y = joints[..., 0], joints[..., 1]
    cos, sin = cos[:, None], sin[:, None]
    turned = tf.stack(
        [
            cos * (x - centre_x) + sin * (y - centre_y) + centre_x,
            -sin * (x - centre_x) + cos * (y - centre_y) + centre_y,
        ],
        axis=-1,
    )
    joints = tf.where(((x >= 0) & (y >= 0))[..., None], turned, joints)
    return images, joints, zero_outside(joints, visibility, height, width)


def four_views(crops, joints, draws: Draws, mirror: list[int], look: Look) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Training crops -> the network's input and targets; the four views of a person lie next to each other.

    crops: (P, H, W, 3) uint8 BGR. joints: (P, K, 3) float32: x, y in crop pixels (negative: not labelled) and
    visibility. mirror: the joint that each becomes in a mirror image. look: how pixels become the network's input.
    Returns images (4P, H, W, 3) float32, normalised; joints (4P, K, 2); visibility (4P, K).
    """
    rescaled = _rescale(normalize(crops, look), joints[..., :2], joints[..., 2], draws.rescale)
    mirrored = _mirror(*rescaled, mirror)
    fill = "nearest" if look.outside is None else "constant"
    turned = [_rotate(*rescaled, draws.angle[:, i], fill) for i in range(2)]
    views = [rescaled, mirrored, *turned]
    assert len(views) == VIEWS

    def interleave(tensors):
        stacked = tf.stack(tensors, axis=1)
        return tf.reshape(stacked, (-1, *stacked.shape[2:]))

    images, joints, visibility = (interleave(t) for t in zip(*views))
    return images, joints, visibility
