"""What a step sees of its crops, as --views says: tf-cpn's four views of each person, or one."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfcpn.parts import Parts
from tfcpn.picture.look import Look
from tfcpn.settings.config import Config
from tfcpn.settings.recipe import VIEWS, training_margin
from tfcpn.training.augmentation import Ranges, draw, four_views
from tfcpn.training.single_view import draw_single, single_view


def views_for(cfg: Config, parts: Parts) -> Callable:
    """The views of a run's training crops."""
    ranges = Ranges(cfg.rescale_min, cfg.rescale_max, cfg.rotation, cfg.shift, cfg.shift_peak)
    return views_of(cfg.views, ranges, parts.skeleton.mirror, parts.network.look, cfg.input_size)


def views_of(count: int, ranges: Ranges, mirror: list[int], look: Look, size: tuple[int, int]) -> Callable:
    """The function (crops, joints, seed) -> images, joints and visibility of `count` views, 4 or 1, of each crop.

    seed: a pair of integers, on which alone the draws depend. The rest is as in `four_views` and `single_view`.
    """

    def four(crops, joints, seed):
        return four_views(crops, joints, draw(seed, tf.shape(crops)[0], ranges), mirror, look)

    def single(crops, joints, seed):
        return single_view(crops, joints, draw_single(seed, tf.shape(crops)[0], ranges), mirror, look, size, margin)

    margin = training_margin(ranges.shift)
    return four if count == VIEWS else single
