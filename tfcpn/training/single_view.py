"""One view of every training crop: zoomed, turned and half of them mirrored, in a single warp on the device.

tf-cpn's four views (`augmentation`) are four answers to one person; these are as many people as there are crops. A
turned view shows what the image has there, since it is cut from the wider training crop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.base.addons import transform
from tfcpn.picture.look import Preprocessing, normalize
from tfcpn.settings.recipe import TRAINING_MARGIN
from tfcpn.training.augmentation import Ranges, stateless_seed, zero_outside
from tfcpn.training.half_body import HalfBodies


class SingleViewDraws(NamedTuple):
    """Each (P,) but shift. rescale: side of what is seen over that of the region, below 1 it enlarges. angle: signed
    degrees, positive is counter-clockwise. mirrored: bool. shift: (P, 2), x and y from the region's middle to the
    view's, in parts of the region's sides. half: from 0 to 1, which half of a body is shown, if any.
    """

    rescale: tf.Tensor
    angle: tf.Tensor
    mirrored: tf.Tensor
    shift: tf.Tensor
    half: tf.Tensor


def draw_single_view(seed, people, ranges: Ranges) -> SingleViewDraws:
    """Random draws for `people` crops: a function of the seed, a pair of integers, alone.

    A shift is the greatest one times u |u| ** (shift_exponent - 1), with u uniform from -1 to 1.
    """
    u = tf.random.stateless_uniform((people, 3), stateless_seed(seed))
    rescale = ranges.rescale_min + (ranges.rescale_max - ranges.rescale_min) * u[:, 0]
    shift = tf.random.stateless_uniform((people, 2), stateless_seed(seed, 1), -1.0, 1.0)
    if ranges.shift_exponent != 1:
        shift *= tf.abs(shift) ** (ranges.shift_exponent - 1)
    half = tf.random.stateless_uniform((people,), stateless_seed(seed, 2))
    return SingleViewDraws(
        rescale, (2 * u[:, 1] - 1) * ranges.rotation, u[:, 2] < 0.5, shift * ranges.shift, half
    )


def single_view(
    crops,
    keypoints,
    draws: SingleViewDraws,
    mirror: list[int],
    preprocessing: Preprocessing,
    size: tuple[int, int],
    margin: float,
    halves: HalfBodies | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Training crops -> the network's input of (height, width) `size`, and targets.

    crops: (P, h, w, 3) uint8 BGR, of `margin` times the region that the network will see in evaluation. keypoints:
    (P, K, 3) float32: x, y in crop pixels (negative: not labeled) and visibility. mirror: the keypoint that each
    becomes in a mirror image. halves: parts of people that are seen instead of the whole. Returns images
    (P, *size, 3) float32, normalized; keypoints (P, K, 2) in their pixels, those not labeled negative; visibility
    (P, K), 0 for keypoints that are not in the view.
    """
    middle = np.array([crops.shape[2], crops.shape[1]], np.float32) / 2
    half = np.array([size[1], size[0]], np.float32) / 2
    # Crop pixels for one of the view's.
    step = tf.constant(middle / margin / half) * tf.minimum(draws.rescale, TRAINING_MARGIN)[:, None]
    region, seen_about = tf.constant(2 * middle / margin), tf.constant(middle)[None]
    if halves is not None:
        smaller, seen_about = halves.within(region, middle)
        step *= smaller[:, None]
    radians = draws.angle * (np.pi / 180)
    cos, sin = tf.cos(radians), tf.sin(radians)
    side = tf.where(draws.mirrored, -1.0, 1.0)
    # From the view, about its middle, to the crop: mirrored, enlarged, turned.
    across, down = step[:, 0] * side, step[:, 1]
    linear = [[cos * across, -sin * down], [sin * across, cos * down]]
    center = seen_about + draws.shift * region
    # The warp counts from the center of the first pixel, keypoints from its corner.
    start = [
        center[:, i] - 0.5 + linear[i][0] * (0.5 - half[0]) + linear[i][1] * (0.5 - half[1])
        for i in range(2)
    ]
    zero = tf.zeros_like(cos)
    rows = [linear[0][0], linear[0][1], start[0], linear[1][0], linear[1][1], start[1], zero, zero]
    fill = "nearest" if preprocessing.pad_color is None else "constant"
    # Where the color outside is the mean one, that is 0 after normalization.
    images = transform(
        normalize(crops, preprocessing),
        tf.stack(rows, axis=1),
        "bilinear",
        output_shape=size,
        fill_mode=fill,
        fill_value=0.0,
    )
    way = keypoints[..., :2] - center[:, None]
    turned_x = cos[:, None] * way[..., 0] + sin[:, None] * way[..., 1]
    turned_y = cos[:, None] * way[..., 1] - sin[:, None] * way[..., 0]
    moved = tf.stack(
        [turned_x / across[:, None] + half[0], turned_y / down[:, None] + half[1]], axis=-1
    )
    labeled = keypoints[..., 2:] > 0
    moved = tf.where(labeled, moved, -1.0)
    visibility = zero_outside(moved, keypoints[..., 2], *size)
    swapped = [tf.gather(value, mirror, axis=1) for value in (moved, visibility)]
    moved = tf.where(draws.mirrored[:, None, None], swapped[0], moved)
    return images, moved, tf.where(draws.mirrored[:, None], swapped[1], visibility)
