"""What a step sees of its crops, as --views says: tf-cpn's four views of each person, or one."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfcpn.parts import Parts
from tfcpn.picture.look import Preprocessing
from tfcpn.settings.config import Config
from tfcpn.settings.recipe import VIEWS, training_margin
from tfcpn.training.augmentation import Ranges, draw, four_views
from tfcpn.training.disturbances import color_jitter, random_erasing
from tfcpn.training.half_body import lower_body_mask, select_half_bodies
from tfcpn.training.single_view import draw_single_view, single_view


def augmentation_for(cfg: Config, parts: Parts) -> Callable:
    """The views of a run's training crops. Raises InputError for --random_half_body on keypoints that tell no halves."""
    ranges = Ranges(*(getattr(cfg, name) for name in Ranges._fields))
    lower = lower_body_mask(parts.skeleton) if cfg.random_half_body else ()
    return build_augmentation(
        cfg.views, ranges, parts.skeleton.mirror, parts.network.preprocessing, cfg.input_size, lower
    )


def build_augmentation(
    count: int,
    ranges: Ranges,
    mirror: list[int],
    preprocessing: Preprocessing,
    size: tuple[int, int],
    lower: tuple[bool, ...] = (),
) -> Callable:
    """The function (crops, keypoints, seed) -> images, keypoints and visibility of `count` views, 4 or 1, of each crop.

    seed: a pair of integers, on which alone the draws depend. lower: for a half body, which keypoints are of the lower
    half. The rest is as in `four_views` and `single_view`.
    """

    def four(crops, keypoints, seed):
        return four_views(
            crops, keypoints, draw(seed, tf.shape(crops)[0], ranges), mirror, preprocessing
        )

    def single(crops, keypoints, seed):
        draws = draw_single_view(seed, tf.shape(crops)[0], ranges)
        halves = (
            select_half_bodies(keypoints, draws.half, ranges.random_half_body, lower)
            if ranges.random_half_body
            else None
        )
        return single_view(crops, keypoints, draws, mirror, preprocessing, size, margin, halves)

    def disturbed(crops, keypoints, seed):
        images, keypoints, visibility = chosen(crops, keypoints, seed)
        if ranges.color_jitter:
            images = color_jitter(images, seed, ranges.color_jitter)
        if ranges.random_erasing:
            images, visibility = random_erasing(
                images, keypoints, visibility, seed, ranges.random_erasing, preprocessing
            )
        return images, keypoints, visibility

    margin, chosen = training_margin(ranges.shift), four if count == VIEWS else single
    return disturbed
