"""What a step sees of its crops, as --views says: tf-cpn's four views of each person, or one."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfcpn.parts import Parts
from tfcpn.picture.look import Look
from tfcpn.settings.config import Config
from tfcpn.settings.recipe import VIEWS, training_margin
from tfcpn.training.augmentation import Ranges, draw, four_views
from tfcpn.training.disturbances import other_colours, something_in_front
from tfcpn.training.half_body import below_the_hips, half_bodies
from tfcpn.training.single_view import draw_single, single_view


def views_for(cfg: Config, parts: Parts) -> Callable:
    """The views of a run's training crops. Raises InputError for --half_body on joints that tell no halves."""
    ranges = Ranges(*(getattr(cfg, name) for name in Ranges._fields))
    lower = below_the_hips(parts.skeleton) if cfg.half_body else ()
    return views_of(cfg.views, ranges, parts.skeleton.mirror, parts.network.look, cfg.input_size, lower)


def views_of(
    count: int, ranges: Ranges, mirror: list[int], look: Look, size: tuple[int, int], lower: tuple[bool, ...] = ()
) -> Callable:
    """The function (crops, joints, seed) -> images, joints and visibility of `count` views, 4 or 1, of each crop.

    seed: a pair of integers, on which alone the draws depend. lower: for a half body, which joints are of the lower
    half. The rest is as in `four_views` and `single_view`.
    """

    def four(crops, joints, seed):
        return four_views(crops, joints, draw(seed, tf.shape(crops)[0], ranges), mirror, look)

    def single(crops, joints, seed):
        draws = draw_single(seed, tf.shape(crops)[0], ranges)
        halves = half_bodies(joints, draws.half, ranges.half_body, lower) if ranges.half_body else None
        return single_view(crops, joints, draws, mirror, look, size, margin, halves)

    def disturbed(crops, joints, seed):
        images, joints, visibility = chosen(crops, joints, seed)
        if ranges.colour:
            images = other_colours(images, seed, ranges.colour)
        if ranges.occlusion:
            images, visibility = something_in_front(images, joints, visibility, seed, ranges.occlusion, look)
        return images, joints, visibility

    margin, chosen = training_margin(ranges.shift), four if count == VIEWS else single
    return disturbed
