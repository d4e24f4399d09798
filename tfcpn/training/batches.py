"""What a run's steps get: the batches from where it goes on, and images of its first people."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from tfcpn.data.order import Source
from tfcpn.data.pipeline import build_crop_fn, training_batches
from tfcpn.data.service import from_data_service
from tfcpn.parts import Parts
from tfcpn.run.snapshots import TrainingPosition
from tfcpn.settings.config import Config
from tfcpn.training.epoch import Pace
from tfcpn.training.views import augmentation_for

# Batches of images that a network is prepared on, if it asks for some.
PREPARING_BATCHES = 32


def people_of_a_step(cfg: Config, pace: Pace) -> int:
    """On all replicas together."""
    return pace.crops // cfg.views


def make_batches(
    cfg: Config,
    parts: Parts,
    source: Source,
    strategy: tf.distribute.Strategy,
    run: str,
    done: TrainingPosition,
    pace: Pace,
) -> Iterator:
    """The stream of batches that training goes on with. run: a name that only this start of this run has."""
    work = build_crop_fn(
        parts.alignment, parts.skeleton, parts.training_format, parts.training_margin
    )
    share = cfg.batch_size // cfg.views
    seen = (done.epoch * pace.steps + done.steps) * people_of_a_step(cfg, pace)

    def pipeline(context):
        if not cfg.data_service:
            return training_batches(source, seen, work, share, context)
        people = from_data_service(cfg.data_service, run, source, work, seen, context)
        return people.batch(share, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    return iter(strategy.distribute_datasets_from_function(pipeline))


def first_images(cfg: Config, parts: Parts, source: Source) -> Iterator[tf.Tensor]:
    """Images of the first people of the training order, the same in every process: batches of a step's size."""
    work = build_crop_fn(
        parts.alignment, parts.skeleton, parts.training_format, parts.training_margin
    )
    views = augmentation_for(cfg, parts)
    people = training_batches(source, 0, work, cfg.batch_size // cfg.views)
    for number, (crops, keypoints) in enumerate(people.take(PREPARING_BATCHES)):
        yield views(crops, keypoints, (cfg.seed, number))[0]
