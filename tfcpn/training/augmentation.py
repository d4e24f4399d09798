"""Augmented views of training crops, made on the device.

Random numbers are drawn separately from applying them: `draw` and `draw_single_view` depend on the
seed alone, the other functions are deterministic.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.builders import Components
from tfcpn.codecs.people import NUM_POINTS, POINTS_OF_IMAGE, POINTS_OF_PERSON
from tfcpn.config import TRAINING_MARGIN, Config
from tfcpn.config_rules import BACKGROUND, VIEWS, other_regions
from tfcpn.skeleton import Skeleton, body_part
from tfcpn.transforms.normalize import Preprocessing, flip_horizontal, normalize, transform
from tfcpn.utils.errors import InputError

# Parts of the lower body in keypoint names.
_LOWER_BODY = ("hip", "knee", "ankle", "heel", "foot", "toe", "leg", "thigh", "shin", "calf")
# Fewer keypoints do not define a half body.
MIN_HALF_BODY_KEYPOINTS = 3
# Side of a half body's view over the extent of its keypoints, and its minimum over the region's.
_HALF_BODY_MARGIN, _MIN_HALF_BODY_SCALE = 1.5, 0.4
# A strip without people is at least so wide, and a view shows at least so much of its width, as
# fractions of the image's side and of the strip.
_MIN_STRIP, _MIN_BACKGROUND = 0.2, 0.6
# Range of the sides of an erasing rectangle, as fractions of the view's.
_MIN_ERASED, _MAX_ERASED = 0.1, 0.4
# Visibility of keypoints behind it: occluded for every loss, but other than the 1 of labels.
ERASED = 1.05


class Ranges(NamedTuple):
    """Ranges of the random augmentations; the defaults are tf-cpn's.

    Attributes:
        rescale_min, rescale_max: Scale of the region that is shown; below 1.25 it is enlarged.
        rotation: Maximum rotation in degrees.
        shift: Maximum shift as a fraction of the region's side. Single views only.
        any_rotation: Probability of a rotation by any angle instead. Single views only.
        random_half_body: Probability of a half body. Single views only.
        random_erasing: Probability of an erasing rectangle.
        color_jitter: Maximum relative change of contrast and saturation.
    """

    rescale_min: float = 0.7
    rescale_max: float = 1.35
    rotation: float = 45.0
    shift: float = 0.0
    any_rotation: float = 0.0
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
    flip_indices, select, num_extra = components.skeleton.flip_indices, None, 0
    if components.network.whole_images:
        flip_indices = list(range(NUM_POINTS))
        select = partial(select_background, probability=cfg.background_views)
    elif cfg.random_half_body:
        lower_body = lower_body_mask(components.skeleton)
        select = partial(
            select_half_bodies, probability=cfg.random_half_body, lower_body=lower_body
        )
    elif other_regions(cfg.regions):
        # Background has taken the place of some people before.
        sources = tuple(source for source in cfg.regions if source != BACKGROUND)
        select = partial(select_regions, sources=sources, align_margin=cfg.align_margin)
        num_extra = components.num_points - components.skeleton.num_keypoints
    return build_augmentation(
        cfg.views,
        ranges=ranges,
        flip_indices=flip_indices,
        preprocessing=components.network.preprocessing,
        size=cfg.input_size,
        margin=cfg.training_margin,
        max_rescale=np.inf if components.network.whole_images else TRAINING_MARGIN,
        select=select,
        num_extra=num_extra,
        corner_to_corner=components.training_spec.corner_to_corner,
    )


def build_augmentation(
    views: int,
    *,
    ranges: Ranges,
    flip_indices: list[int],
    preprocessing: Preprocessing,
    size: tuple[int, int],
    margin: float = TRAINING_MARGIN,
    max_rescale: float = TRAINING_MARGIN,
    select: Callable | None = None,
    num_extra: int = 0,
    corner_to_corner: bool = False,
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
        max_rescale: Maximum scale of a view.
        select: Function (keypoints, draws, region) that returns what single views show: see
            `select_half_bodies`. None: the region.
        num_extra: Number of keypoints at the end that only `select` uses.
        corner_to_corner: See `CropSpec`; for single views.
    """

    def make_four(crops, keypoints, seed):
        draws = draw(seed, tf.shape(crops)[0], ranges)
        return four_views(crops, keypoints, draws, flip_indices, preprocessing)

    def make_one(crops, keypoints, seed):
        draws = draw_single_view(seed, tf.shape(crops)[0], ranges)
        region = np.array([crops.shape[2], crops.shape[1]], np.float32) / margin
        shown = None
        if select:
            middle = tf.constant([crops.shape[2] / 2, crops.shape[1] / 2, 0.0])
            shown = select(keypoints - middle, draws, region)
        return single_view(
            crops,
            keypoints[:, : keypoints.shape[1] - num_extra],
            draws,
            flip_indices=flip_indices,
            preprocessing=preprocessing,
            size=size,
            margin=margin,
            max_rescale=max_rescale,
            shown=shown,
            corner_to_corner=corner_to_corner,
        )

    make_views = make_four if views == VIEWS else make_one

    def augment(crops, keypoints, seed):
        images, keypoints, visibility = make_views(crops, keypoints, seed)
        if ranges.color_jitter:
            images = color_jitter(images, seed, ranges.color_jitter, 255 / preprocessing.divisor)
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
        choice: (P,) from 0 to 1, which part or region is shown.
        part: (P, 2) from 0 to 1, which part of the background is shown.
    """

    rescale: tf.Tensor
    angle: tf.Tensor
    mirrored: tf.Tensor
    shift: tf.Tensor
    choice: tf.Tensor
    part: tf.Tensor | None = None


def draw_single_view(seed, people, ranges: Ranges) -> SingleViewDraws:
    """Draw the random numbers of `single_view`.

    Args:
        seed: Pair of integers.
        people: Number of people.
        ranges: Ranges to draw from.
    """
    u = tf.random.stateless_uniform((people, 3), stateless_seed(seed))
    rescale = ranges.rescale_min + (ranges.rescale_max - ranges.rescale_min) * u[:, 0]
    shift = tf.random.stateless_uniform((people, 2), stateless_seed(seed, 1), -1.0, 1.0)
    choice = tf.random.stateless_uniform((people,), stateless_seed(seed, 2))
    part = tf.random.stateless_uniform((people, 2), stateless_seed(seed, 3))
    limit = ranges.rotation
    if ranges.any_rotation:
        is_any = tf.random.stateless_uniform((people,), stateless_seed(seed, 4))
        limit = tf.where(is_any < ranges.any_rotation, 180.0, limit)
    return SingleViewDraws(
        rescale=rescale,
        angle=(2 * u[:, 1] - 1) * limit,
        mirrored=u[:, 2] < 0.5,
        shift=shift * ranges.shift,
        choice=choice,
        part=part,
    )


def lower_body_mask(skeleton: Skeleton) -> tuple[bool, ...]:
    """Return whether each annotated keypoint is of the lower body, by its name: hips and below.

    Raises:
        InputError: If one of the halves has too few keypoints.
    """
    body_parts = [body_part(name) for name in skeleton.keypoints[: skeleton.num_annotated]]
    lower = tuple(any(word in part for word in _LOWER_BODY) for part in body_parts)
    minimum = MIN_HALF_BODY_KEYPOINTS
    if not minimum <= sum(lower) <= len(lower) - minimum:
        raise InputError(
            f"--random_half_body: the keypoint names ({', '.join(skeleton.keypoints)}) do not "
            f"define halves: expected {minimum} or more with {', '.join(_LOWER_BODY[:-1])} or "
            f"{_LOWER_BODY[-1]} in them, and as many without"
        )
    return lower


class Shown(NamedTuple):
    """What single views of P people show, before it is varied.

    Attributes:
        scale: (P,) relative to the region.
        center: (P, 2) x, y in pixels relative to the middle of the crop.
        angle: (P,) radians, positive clockwise.
    """

    scale: tf.Tensor
    center: tf.Tensor
    angle: tf.Tensor

    def where(self, condition) -> Shown:
        """Return this where a condition (P,) holds, and the region elsewhere."""
        return Shown(
            tf.where(condition, self.scale, 1.0),
            tf.where(condition[:, None], self.center, 0.0),
            tf.where(condition, self.angle, 0.0),
        )


def _extent(xy, known) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the corners (P, 2) of the known ones of points (P, K, 2)."""
    far = tf.constant(1e6)
    low = tf.reduce_min(tf.where(known[..., None], xy, far), axis=1)
    return low, tf.reduce_max(tf.where(known[..., None], xy, -far), axis=1)


def select_half_bodies(
    keypoints, draws: SingleViewDraws, region, *, probability: float, lower_body: tuple[bool, ...]
) -> Shown:
    """Show some people in half, if enough keypoints of the half are labeled.

    Args:
        keypoints: (P, K, 3) x, y in pixels relative to the middle of the crop, and visibility.
        draws: The upper body is shown for a choice below half the probability, the lower body below
            all of it.
        region: (2,) width and height of the region in crop pixels.
        probability: Probability of a half body.
        lower_body: Whether each annotated keypoint belongs to the lower body.
    """
    keypoints = keypoints[:, : len(lower_body)]
    upper_body = [not lower for lower in lower_body]
    is_upper = (draws.choice < probability / 2)[:, None]
    known = tf.where(is_upper, upper_body, list(lower_body)) & (keypoints[..., 2] > 0)
    low, high = _extent(keypoints[..., :2], known)
    enough = tf.reduce_sum(tf.cast(known, tf.int32), axis=1) >= MIN_HALF_BODY_KEYPOINTS
    part = tf.reduce_max((high - low) / region, axis=1) * _HALF_BODY_MARGIN
    scale = tf.clip_by_value(part, _MIN_HALF_BODY_SCALE, 1.0)
    shown = Shown(scale, (low + high) / 2, tf.zeros_like(scale))
    return shown.where((draws.choice < probability) & enough)


def select_regions(
    keypoints, draws: SingleViewDraws, region, *, sources: tuple[str, ...], align_margin: float
) -> Shown:
    """Show each person in one of several regions.

    Args:
        keypoints: (P, K + 2 S, 3) x, y in pixels relative to the middle of the crop, and
            visibility. At the end are the alignment points of the S sources other than the
            annotation; without them, the annotated region is shown.
        draws: The choice selects the source.
        region: (2,) width and height of the annotated region in crop pixels.
        sources: See --regions.
        align_margin: Side of a region over the diameter of the circle.
    """
    others = other_regions(sources)
    chosen = tf.cast(draws.choice * len(sources), tf.int32)
    result = Shown(
        tf.ones_like(draws.choice),
        tf.zeros_like(keypoints[:, 0, :2]),
        tf.zeros_like(draws.choice),
    )
    for number, source in enumerate(others):
        points = keypoints[:, keypoints.shape[1] - 2 * (len(others) - number) :][:, :2]
        known = (chosen == sources.index(source)) & (points[:, 0, 2] > 0)
        offset = points[:, 1, :2] - points[:, 0, :2]
        scale = 2 * align_margin * tf.norm(offset, axis=1) / region[0]
        angle = tf.atan2(offset[:, 0], -offset[:, 1])
        other = Shown(scale, points[:, 0, :2], angle)
        result = Shown(
            tf.where(known, other.scale, result.scale),
            tf.where(known[:, None], other.center, result.center),
            tf.where(known, other.angle, result.angle),
        )
    return result


def select_background(points, draws: SingleViewDraws, region, *, probability: float) -> Shown:
    """Show some images in part: a square of the widest strip without people.

    Zoomed out, shifted or rotated it may show a part of them; labels are moved as in any view.

    Args:
        points: (P, NUM_POINTS, 3) as in `codecs.people`, relative to the middle of the crop.
        draws: The choice decides whether, the part where along the strip, and how large.
        region: (2,) width and height of the image's square in crop pixels.
        probability: Probability of a part without people, where the strip is wide enough.
    """
    corners = tf.range(NUM_POINTS) % POINTS_OF_PERSON >= POINTS_OF_PERSON // 2
    corners &= tf.range(NUM_POINTS) < NUM_POINTS - POINTS_OF_IMAGE
    low, high = _extent(points[..., :2], (points[..., 2] > 0) & corners)
    first, last = points[:, -2, :2], points[:, -1, :2]
    size = last - first
    # Left, above, right and below: width across, start across, and start and length along.
    across = tf.concat([low - first, last - high], axis=1)
    start = tf.concat([first, high], axis=1)
    widest = tf.argmax(across, axis=1)[:, None]
    width, start = (tf.gather(v, widest, axis=1, batch_dims=1)[:, 0] for v in (across, start))
    axis = tf.cast(widest[:, 0] % 2, tf.int32)
    along = tf.gather(size, 1 - axis, axis=1, batch_dims=1)
    begin = tf.gather(first, 1 - axis, axis=1, batch_dims=1)
    side = tf.minimum(width, along) * (_MIN_BACKGROUND + (1 - _MIN_BACKGROUND) * draws.part[:, 0])
    middle = begin + side / 2 + draws.part[:, 1] * (along - side)
    is_x = (axis == 0)[:, None]
    place = tf.stack([start + width / 2, middle], axis=1)
    center = tf.where(is_x, place, place[:, ::-1])
    scale = side / tf.reduce_max(region)
    shown = Shown(scale, center, tf.zeros_like(scale))
    wide = width >= _MIN_STRIP * tf.reduce_max(size, axis=1)
    return shown.where((draws.choice < probability) & wide)


def single_view(
    crops,
    keypoints,
    draws: SingleViewDraws,
    *,
    flip_indices: list[int],
    preprocessing: Preprocessing,
    size: tuple[int, int],
    margin: float,
    max_rescale: float = TRAINING_MARGIN,
    shown: Shown | None = None,
    corner_to_corner: bool = False,
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
        max_rescale: Maximum of the scale.
        shown: What the views show instead of the region.
        corner_to_corner: See `CropSpec`; of the crops and of the views.

    Returns:
        Images (P, *size, 3) float32, normalized; keypoints (P, K, 2) in their pixels,
        unlabeled ones negative; visibility (P, K), 0 for keypoints outside the view.
    """
    middle = np.array([crops.shape[2], crops.shape[1]], np.float32) / 2
    half_size = np.array([size[1], size[0]], np.float32) / 2
    region, center = tf.constant(2 * middle / margin), tf.constant(middle)[None]
    # Crop pixels per pixel of the view.
    rescale = tf.minimum(draws.rescale, max_rescale)
    pixel_step = tf.constant(middle / margin / half_size) * rescale[:, None]
    radians = draws.angle * (np.pi / 180)
    if shown is not None:
        pixel_step *= shown.scale[:, None]
        center = middle + shown.center
        radians += shown.angle
        region = region * shown.scale[:, None]
    center += draws.shift * region
    cos, sin = tf.cos(radians), tf.sin(radians)
    # From the view, about its center, to the crop: mirrored, scaled, rotated.
    step_x = pixel_step[:, 0] * tf.where(draws.mirrored, -1.0, 1.0)
    step_y = pixel_step[:, 1]
    linear = [[cos * step_x, -sin * step_y], [sin * step_x, cos * step_y]]
    # The warp counts from the center of the first pixel, keypoints from its corner or as the warp.
    first = 0.0 if corner_to_corner else 0.5
    origin = [
        center[:, i]
        - first
        + linear[i][0] * (first - half_size[0])
        + linear[i][1] * (first - half_size[1])
        for i in range(2)
    ]
    zero = tf.zeros_like(cos)
    rows = [linear[0][0], linear[0][1], origin[0], linear[1][0], linear[1][1], origin[1]]
    images = transform(
        normalize(crops, preprocessing),
        tf.stack([*rows, zero, zero], axis=1),
        interpolation="bilinear",
        fill_mode="nearest" if preprocessing.pad_color is None else "constant",
        output_shape=size,
        fill_value=preprocessing.pad_value,
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


def color_jitter(images, seed, amount: float, white: float = 1.0) -> tf.Tensor:
    """Change contrast, saturation and brightness of views.

    Args:
        images: (N, H, W, 3), normalized.
        seed: Pair of integers.
        amount: Contrast and saturation are multiplied by 1 - amount to 1 + amount; brightness
            changes by up to amount / 2 of the way from black to white.
        white: White minus black.
    """
    shape = (3, tf.shape(images)[0], 1, 1, 1)
    draws = tf.random.stateless_uniform(shape, stateless_seed(seed, 11), -amount, amount)
    gray = tf.reduce_mean(images, axis=-1, keepdims=True)
    saturated = gray + (1 + draws[0]) * (images - gray)
    mean = tf.reduce_mean(saturated, axis=(1, 2), keepdims=True)
    return mean + (1 + draws[1]) * (saturated - mean) + draws[2] * white / 2


def random_erasing(
    images, keypoints, visibility, *, seed, probability: float, preprocessing: Preprocessing
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cover views by a rectangle of one color (random erasing, arXiv 1708.04896).

    Keypoints behind the rectangle remain labeled; visible ones (2) become occluded (`ERASED`).

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
    return images, tf.where(occluded, tf.minimum(visibility, ERASED), visibility)
