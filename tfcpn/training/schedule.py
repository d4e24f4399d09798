"""The learning rate of a step: the only place that decides it."""

from __future__ import annotations

import math

from tfcpn.config import Config


def learning_rate(cfg: Config, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step.

    Step decay halves the rate after every `lr_halving` epochs. Cosine decay takes the cosine at the
    middle of each epoch. Over the first `warmup_steps` steps the rate is multiplied by a factor
    that grows linearly to 1.

    Args:
        cfg: The settings of the run.
        step: Number of the step over all epochs, from 0.
        steps_per_epoch: Steps of an epoch.
    """
    epoch = step // steps_per_epoch
    if cfg.lr_cosine:
        rate = cfg.learning_rate * (1 + math.cos(math.pi * (epoch + 0.5) / cfg.epochs)) / 2
    else:
        rate = cfg.learning_rate * 0.5 ** (epoch // cfg.lr_halving)
    return rate * min(1.0, (step + 1) / cfg.warmup_steps) if cfg.warmup_steps else rate
