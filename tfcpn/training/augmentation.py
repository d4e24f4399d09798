"""Augmented views of training crops, made on the device.

Random numbers are drawn separately from applying them: `draw` and `draw_single_view` depend on the
seed alone, the other functions are deterministic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.builders import Components
from tfcpn.config import TRAINING_MARGIN, VIEWS, Config
from tfcpn.skeleton import Skeleton, body_part
from tfcpn.transforms.normalize import Preprocessing, flip_horizontal, normalize, transform
from tfcpn.utils.errors import InputError

# Parts of the lower body in keypoint names.
_LOWER_BODY = ("hip", "knee", "ankle", "heel", "foot", "toe", "leg", "thigh", "shin", "calf")
# Fewer keypoints do not define a half body.
MIN_HALF_BODY_KEYPOINTS = 3
# Side of a half body's view over the extent of its keypoints, and its minimum over the region's.
_HALF_BODY_MARGIN, _MIN_HALF_BODY_SCALE = 1.5, 0.4
# Range of the sides of an erasing rectangle, as fractions of the view's.
_MIN_ERASED, _MAX_ERASED = 0.1, 0.4


class Ranges(NamedTuple):
    """Ranges of the random augmentations; the defaults are tf-cpn's.

    Attributes:
        rescale_min, rescale_max: Scale of the region that is shown; below 1.25 it is enlarged.
        rotation: Maximum rotation in degrees.
        shift: Maximum shift as a fraction of the region's side. Single views only.
        shift_exponent: Exponent that concentrates shifts near zero.
        random_half_body: Probability of a half body. Single views only.
        random_erasing: Probability of an erasing rectangle.
        color_jitter: Maximum relative change of contrast and saturation.
    """

    rescale_min: float = 0.7
    rescale_max: float = 1.35
    rotation: float = 45.0
    shift: float = 0.0
    shift_exponent: float = 1.0
    random_half_body: float = 0.0
    random_erasing: float = 0.0
    color_jitter: float = 0.0


def stateless_seed(seed, fold: int | None = None) -> tf.Tensor:
    """Make the seed of a stateless random operation, on the host.

    A GPU's random operation reads the seed from host memory; one computed on the GPU would have to
    wait for the previous step.

    Args:
        seed: Two integers, or scalar integer tensors.
        fold: Number to derive another, independent seed.

    Returns:
        (2,) int64.
    """
    with tf.device("CPU:0"):
        seed = tf.stack([tf.cast(s, tf.int64) for s in seed])
        return seed if fold is None else tf.random.experimental.stateless_fold_in(seed, fold)


def augmentation_for(cfg: Config, components: Components) -> Callable:
    """Return the augmentation of a run, see `build_augmentation`.

    Raises:
        InputError: For --random_half_body with keypoints that do not define halves.
    """
    ranges = Ranges(*(getattr(cfg, name) for name in Ranges._fields))
    lower_body = lower_body_mask(components.skeleton) if cfg.random_half_body else ()
    return build_augmentation(
        cfg.views,
        ranges=ranges,
        flip_indices=components.skeleton.flip_indices,
        preprocessing=components.network.preprocessing,
        size=cfg.input_size,
        margin=cfg.training_margin,
        lower_body=lower_body,
    )


def build_augmentation(
    views: int,
    *,
    ranges: Ranges,
    flip_indices: list[int],
    preprocessing: Preprocessing,
    size: tuple[int, int],
    margin: float = TRAINING_MARGIN,
    lower_body: tuple[bool, ...] = (),
) -> Callable:
    """Return the function (crops, keypoints, seed) -> images, keypoints, visibility.

    Its draws depend on the seed, a pair of integers, alone. Shapes are those of `four_views` and
    `single_view`.

    Args:
        views: Views of each crop, 4 or 1.
        ranges: Ranges of the random augmentations.
        flip_indices: The keypoint that each keypoint becomes in a mirror image.
        preprocessing: How pixels become inputs.
        size: (height, width) of a view.
        margin: Side of a crop over that of the region.
        lower_body: Whether each keypoint belongs to the lower body, for half bodies.
    """

    def make_four(crops, keypoints, seed):
        draws = draw(seed, tf.shape(crops)[0], ranges)
        return four_views(crops, keypoints, draws, flip_indices, preprocessing)

    def make_one(crops, keypoints, seed):
        draws = draw_single_view(seed, tf.shape(crops)[0], ranges)
        half_bodies = None
        if ranges.random_half_body:
            probability = ranges.random_half_body
            half_bodies = select_half_bodies(keypoints, draws.half_body, probability, lower_body)
        return single_view(
            crops,
            keypoints,
            draws,
            flip_indices=flip_indices,
            preprocessing=preprocessing,
            size=size,
            margin=margin,
            half_bodies=half_bodies,
        )

    make_views = make_four if views == VIEWS else make_one

    def augment(crops, keypoints, seed):
        images, keypoints, visibility = make_views(crops, keypoints, seed)
        if ranges.color_jitter:
            images = color_jitter(images, seed, ranges.color_jitter)
        if ranges.random_erasing:
            images, visibility = random_erasing(
                images,
                keypoints,
                visibility,
                seed=seed,
                probability=ranges.random_erasing,
                preprocessing=preprocessing,
            )
        return images, keypoints, visibility

    return augment


# tf-cpn's four views


class Draws(NamedTuple):
    """Random numbers of `four_views` for P people.

    Attributes:
        rescale: (P,) float32.
        angle: (P, 2) float32 degrees, positive counterclockwise.
    """

    rescale: tf.Tensor
    angle: tf.Tensor


def draw(seed, people, ranges: Ranges) -> Draws:
    """Draw the random numbers of `four_views`.

    Args:
        seed: Pair of integers.
        people: Number of people.
        ranges: Ranges to draw from.
    """
    u = tf.random.stateless_uniform((people, 5), stateless_seed(seed))
    rescale = ranges.rescale_min + (ranges.rescale_max - ranges.rescale_min) * u[:, 0]
    angle = u[:, 1::2] * ranges.rotation
    return Draws(rescale, tf.where(u[:, 2::2] < 0.5, -angle, angle))


def _resize_weights(low, high, size: int) -> tf.Tensor:
    """Return matrices that stretch the pixels [low, high) of a line over the whole line.

    OpenCV's bilinear resize: half-pixel centers, edge pixels of the range repeated.

    Args:
        low, high: (P,) int.
        size: Length of the line.

    Returns:
        (P, size, size) float32.
    """
    low, high = tf.cast(low, tf.float32)[:, None], tf.cast(high, tf.float32)[:, None]
    centers = tf.range(size, dtype=tf.float32)[None] + 0.5
    source = tf.clip_by_value(low + centers * (high - low) / size - 0.5, low, high - 1)
    return tf.nn.relu(1 - tf.abs(source[..., None] - tf.range(size, dtype=tf.float32)))


def _zero_outside(keypoints, visibility, height: int, width: int) -> tf.Tensor:
    """Return the visibility, 0 for keypoints outside the image."""
    x, y = keypoints[..., 0], keypoints[..., 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return tf.where(inside, visibility, 0.0)


def _rescale(images, keypoints, visibility, rescale):
    """Make view 0: the center of the crop, enlarged to the whole."""
    height, width = images.shape[1:3]
    moved, weights = [], []
    for axis, size in ((0, width), (1, height)):
        center = size / 2
        half = tf.minimum(center, center / TRAINING_MARGIN * rescale)
        low = tf.cast(center - half, tf.int32)
        high = tf.minimum(tf.cast(center + half + 1, tf.int32), size)
        weights.append(_resize_weights(low, high, size))
        # As in tf-cpn, keypoints use the half width as drawn, pixels the truncated one.
        moved.append((keypoints[..., axis] - center) / half[:, None] * (size - center) + center)
    # Bilinear resizing is separable: two small matrix products are cheap on any device.
    images = tf.einsum("pyh,phwc->pywc", weights[1], images)
    images = tf.einsum("pxw,pywc->pyxc", weights[0], images)
    keypoints = tf.stack(moved, axis=-1)
    return images, keypoints, _zero_outside(keypoints, visibility, height, width)


def _mirror(images, keypoints, visibility, flip_indices: list[int]):
    """Make view 1: the mirror image, left and right keypoints swapped."""
    x = keypoints[..., 0]
    x = tf.where(x >= 0, images.shape[2] - 1 - x, x)
    keypoints = tf.gather(tf.stack([x, keypoints[..., 1]], axis=-1), flip_indices, axis=1)
    return flip_horizontal(images), keypoints, tf.gather(visibility, flip_indices, axis=1)


def _rotate(images, keypoints, visibility, angle, fill: str = "constant"):
    """Make views 2 and 3: rotated about the center (W/2, H/2).

    Args:
        images: (P, H, W, 3) normalized.
        keypoints: (P, K, 2).
        visibility: (P, K).
        angle: (P,) degrees, positive counterclockwise.
        fill: "constant" fills with 0, the mean color; "nearest" repeats the border.
    """
    height, width = images.shape[1:3]
    center_x, center_y = width / 2, height / 2
    radians = angle * (np.pi / 180)
    cos, sin = tf.cos(radians), tf.sin(radians)
    zero = tf.zeros_like(cos)
    # The warp maps pixels of the result to the source: the inverse rotation.
    rows = [
        cos,
        -sin,
        center_x - cos * center_x + sin * center_y,
        sin,
        cos,
        center_y - sin * center_x - cos * center_y,
        zero,
        zero,
    ]
    images = transform(
        images,
        tf.stack(rows, axis=1),
        interpolation="bilinear",
        fill_mode=fill,
        fill_value=0.0,
    )
    x, y = keypoints[..., 0], keypoints[..., 1]
    cos, sin = cos[:, None], sin[:, None]
    rotated_x = cos * (x - center_x) + sin * (y - center_y) + center_x
    rotated_y = -sin * (x - center_x) + cos * (y - center_y) + center_y
    rotated = tf.stack([rotated_x, rotated_y], axis=-1)
    keypoints = tf.where(((x >= 0) & (y >= 0))[..., None], rotated, keypoints)
    return images, keypoints, _zero_outside(keypoints, visibility, height, width)


def four_views(
    crops, keypoints, draws: Draws, flip_indices: list[int], preprocessing: Preprocessing
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Make tf-cpn's four views of each training crop: rescaled, mirrored and twice rotated.

    Args:
        crops: (P, H, W, 3) uint8 BGR.
        keypoints: (P, K, 3) float32 x, y in crop pixels (negative: not labeled) and visibility.
        draws: Random numbers.
        flip_indices: The keypoint that each keypoint becomes in a mirror image.
        preprocessing: How pixels become inputs.

    Returns:
        Images (4P, H, W, 3) float32, normalized, the views of a person next to each other;
        keypoints (4P, K, 2); visibility (4P, K).
    """
    images = normalize(crops, preprocessing)
    rescaled = _rescale(images, keypoints[..., :2], keypoints[..., 2], draws.rescale)
    mirrored = _mirror(*rescaled, flip_indices)
    fill = "nearest" if preprocessing.pad_color is None else "constant"
    rotated = [_rotate(*rescaled, draws.angle[:, i], fill) for i in range(2)]
    views = [rescaled, mirrored, *rotated]

    def interleave(tensors):
        stacked = tf.stack(tensors, axis=1)
        return tf.reshape(stacked, (-1, *stacked.shape[2:]))

    images, keypoints, visibility = (interleave(t) for t in zip(*views))
    return images, keypoints, visibility


# A single view


class SingleViewDraws(NamedTuple):
    """Random numbers of `single_view` for P people.

    Attributes:
        rescale: (P,) side of what is shown over that of the region; below 1 it is enlarged.
        angle: (P,) degrees, positive counterclockwise.
        mirrored: (P,) bool.
        shift: (P, 2) x, y from the center of the region to that of the view, in sides of the
        region.
        half_body: (P,) from 0 to 1, which half of the body is shown, if any.
    """

    rescale: tf.Tensor
    angle: tf.Tensor
    mirrored: tf.Tensor
    shift: tf.Tensor
    half_body: tf.Tensor


def draw_single_view(seed, people, ranges: Ranges) -> SingleViewDraws:
    """Draw the random numbers of `single_view`.

    A shift is the maximum times u |u| ** (shift_exponent - 1), with u uniform in [-1, 1].

    Args:
        seed: Pair of integers.
        people: Number of people.
        ranges: Ranges to draw from.
    """
    u = tf.random.stateless_uniform((people, 3), stateless_seed(seed))
    rescale = ranges.rescale_min + (ranges.rescale_max - ranges.rescale_min) * u[:, 0]
    shift = tf.random.stateless_uniform((people, 2), stateless_seed(seed, 1), -1.0, 1.0)
    if ranges.shift_exponent != 1:
        shift *= tf.abs(shift) ** (ranges.shift_exponent - 1)
    half_body = tf.random.stateless_uniform((people,), stateless_seed(seed, 2))
    return SingleViewDraws(
        rescale=rescale,
        angle=(2 * u[:, 1] - 1) * ranges.rotation,
        mirrored=u[:, 2] < 0.5,
        shift=shift * ranges.shift,
        half_body=half_body,
    )


def lower_body_mask(skeleton: Skeleton) -> tuple[bool, ...]:
    """Return whether each keypoint belongs to the lower body, by its name: hips and below.

    Raises:
        InputError: If one of the halves has too few keypoints.
    """
    components = [body_part(name) for name in skeleton.keypoints]
    lower = tuple(any(word in part for word in _LOWER_BODY) for part in components)
    minimum = MIN_HALF_BODY_KEYPOINTS
    if not minimum <= sum(lower) <= len(lower) - minimum:
        raise InputError(
            f"--random_half_body: the keypoint names ({', '.join(skeleton.keypoints)}) do not "
            "define "
            f"halves: expected {minimum} or more with {', '.join(_LOWER_BODY[:-1])} or "
            f"{_LOWER_BODY[-1]} "
            "in them, and as many without"
        )
    return lower


class HalfBodies(NamedTuple):
    """Which people are shown in part, for P people.

    Attributes:
        shown: (P,) bool, who is shown in part.
        low, high: (P, 2) x, y in crop pixels, the corners of that part.
    """

    shown: tf.Tensor
    low: tf.Tensor
    high: tf.Tensor

    def scale_and_center(self, region, center) -> tuple[tf.Tensor, tf.Tensor]:
        """Return what the views show.

        Args:
            region: (2,) width and height of the region in crop pixels.
            center: (2,) its center.

        Returns:
            Scale (P,) relative to the region, and center (P, 2) in crop pixels.
        """
        part = tf.reduce_max((self.high - self.low) / region, axis=1) * _HALF_BODY_MARGIN
        scale = tf.where(self.shown, tf.clip_by_value(part, _MIN_HALF_BODY_SCALE, 1.0), 1.0)
        return scale, tf.where(self.shown[:, None], (self.low + self.high) / 2, center)


def select_half_bodies(
    keypoints, draws, probability: float, lower_body: tuple[bool, ...]
) -> HalfBodies:
    """Select the people who are shown in half, if enough keypoints of the half are labeled.

    Args:
        keypoints: (P, K, 3) x, y in crop pixels and visibility.
        draws: (P,) from 0 to 1; the upper body is shown below half the probability, the lower body
            below all of it.
        probability: Probability of a half body.
        lower_body: Whether each keypoint belongs to the lower body.
    """
    upper_body = [not lower for lower in lower_body]
    of_half = tf.where((draws < probability / 2)[:, None], upper_body, list(lower_body))
    known = of_half & (keypoints[..., 2] > 0)
    xy, far = keypoints[..., :2], tf.constant(1e6)
    low = tf.reduce_min(tf.where(known[..., None], xy, far), axis=1)
    high = tf.reduce_max(tf.where(known[..., None], xy, -far), axis=1)
    enough = tf.reduce_sum(tf.cast(known, tf.int32), axis=1) >= MIN_HALF_BODY_KEYPOINTS
    return HalfBodies((draws < probability) & enough, low, high)


def single_view(
    crops,
    keypoints,
    draws: SingleViewDraws,
    *,
    flip_indices: list[int],
    preprocessing: Preprocessing,
    size: tuple[int, int],
    margin: float,
    half_bodies: HalfBodies | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Make one view of each training crop: rescaled, rotated and possibly mirrored, in one warp.

    A rotated view shows the image around the person, as it is cut from the larger training crop.

    Args:
        crops: (P, h, w, 3) uint8 BGR, of `margin` times the region that evaluation shows.
        keypoints: (P, K, 3) float32 x, y in crop pixels (negative: not labeled) and visibility.
        draws: Random numbers.
        flip_indices: The keypoint that each keypoint becomes in a mirror image.
        preprocessing: How pixels become inputs.
        size: (height, width) of the view.
        margin: Side of a crop over that of the region.
        half_bodies: People who are shown in part.

    Returns:
        Images (P, *size, 3) float32, normalized; keypoints (P, K, 2) in their pixels,
        unlabeled ones negative; visibility (P, K), 0 for keypoints outside the view.
    """
    middle = np.array([crops.shape[2], crops.shape[1]], np.float32) / 2
    half_size = np.array([size[1], size[0]], np.float32) / 2
    region, center = tf.constant(2 * middle / margin), tf.constant(middle)[None]
    # Crop pixels per pixel of the view.
    rescale = tf.minimum(draws.rescale, TRAINING_MARGIN)
    pixel_step = tf.constant(middle / margin / half_size) * rescale[:, None]
    if half_bodies is not None:
        scale, center = half_bodies.scale_and_center(region, middle)
        pixel_step *= scale[:, None]
    center += draws.shift * region
    radians = draws.angle * (np.pi / 180)
    cos, sin = tf.cos(radians), tf.sin(radians)
    # From the view, about its center, to the crop: mirrored, scaled, rotated.
    step_x = pixel_step[:, 0] * tf.where(draws.mirrored, -1.0, 1.0)
    step_y = pixel_step[:, 1]
    linear = [[cos * step_x, -sin * step_y], [sin * step_x, cos * step_y]]
    # The warp counts from the center of the first pixel, keypoints from its corner.
    origin = [
        center[:, i]
        - 0.5
        + linear[i][0] * (0.5 - half_size[0])
        + linear[i][1] * (0.5 - half_size[1])
        for i in range(2)
    ]
    zero = tf.zeros_like(cos)
    rows = [linear[0][0], linear[0][1], origin[0], linear[1][0], linear[1][1], origin[1]]
    images = transform(
        normalize(crops, preprocessing),
        tf.stack([*rows, zero, zero], axis=1),
        interpolation="bilinear",
        # 0 is the pad color after normalization.
        fill_mode="nearest" if preprocessing.pad_color is None else "constant",
        output_shape=size,
        fill_value=0.0,
    )
    offset = keypoints[..., :2] - center[:, None]
    rotated_x = cos[:, None] * offset[..., 0] + sin[:, None] * offset[..., 1]
    rotated_y = cos[:, None] * offset[..., 1] - sin[:, None] * offset[..., 0]
    x = rotated_x / step_x[:, None] + half_size[0]
    y = rotated_y / step_y[:, None] + half_size[1]
    moved = tf.where(keypoints[..., 2:] > 0, tf.stack([x, y], axis=-1), -1.0)
    visibility = _zero_outside(moved, keypoints[..., 2], *size)
    swapped = [tf.gather(value, flip_indices, axis=1) for value in (moved, visibility)]
    moved = tf.where(draws.mirrored[:, None, None], swapped[0], moved)
    return images, moved, tf.where(draws.mirrored[:, None], swapped[1], visibility)


# Augmentations that move no keypoint


def color_jitter(images, seed, amount: float) -> tf.Tensor:
    """Change contrast, saturation and brightness of views.

    Args:
        images: (N, H, W, 3), normalized.
        seed: Pair of integers.
        amount: Contrast and saturation are multiplied by 1 - amount to 1 + amount; brightness
            changes by up to amount / 2, where 1 is from black to white.
    """
    shape = (3, tf.shape(images)[0], 1, 1, 1)
    draws = tf.random.stateless_uniform(shape, stateless_seed(seed, 11), -amount, amount)
    gray = tf.reduce_mean(images, axis=-1, keepdims=True)
    saturated = gray + (1 + draws[0]) * (images - gray)
    mean = tf.reduce_mean(saturated, axis=(1, 2), keepdims=True)
    return mean + (1 + draws[1]) * (saturated - mean) + draws[2] / 2


def random_erasing(
    images, keypoints, visibility, *, seed, probability: float, preprocessing: Preprocessing
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cover views by a rectangle of one color (random erasing, arXiv 1708.04896).

    Keypoints behind the rectangle remain labeled; visible ones (2) become occluded (1).

    Args:
        images: (N, H, W, 3), normalized.
        keypoints: (N, K, 2) x, y in pixels.
        visibility: (N, K).
        seed: Pair of integers.
        probability: Probability of a rectangle, whose sides are .1 to .4 of the view's.
        preprocessing: How pixels become inputs.

    Returns:
        The images and the visibility.
    """
    count, (height, width) = tf.shape(images)[0], images.shape[1:3]
    draws = tf.random.stateless_uniform((8, count), stateless_seed(seed, 12))
    size = tf.constant([[width], [height]], tf.float32)
    half = size * (_MIN_ERASED + (_MAX_ERASED - _MIN_ERASED) * draws[:2]) / 2
    center, shown = size * draws[2:4], draws[4] < probability
    x, y = tf.range(width, dtype=tf.float32) + 0.5, tf.range(height, dtype=tf.float32) + 0.5
    columns = tf.abs(x - center[0][:, None]) < half[0][:, None]
    rows = tf.abs(y - center[1][:, None]) < half[1][:, None]
    covered = rows[:, :, None] & columns[:, None, :] & shown[:, None, None]
    mean, divisor = tf.constant(preprocessing.mean), preprocessing.divisor
    color = (255 * tf.transpose(draws[5:]) - mean) / divisor
    images = tf.where(covered[..., None], color[:, None, None], images)
    offset = tf.abs(keypoints - tf.transpose(center)[:, None])
    behind = tf.reduce_all(offset < tf.transpose(half)[:, None], axis=-1)
    occluded = behind & shown[:, None]
    return images, tf.where(occluded, tf.minimum(visibility, 1.0), visibility)
