"""Some steps of the tiny network on random people, in the form of `TrainingStep`."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from support.tiny import build, losses
from tfcpn.codecs.heatmap import HeatmapCodec
from tfcpn.config_rules import VIEWS
from tfcpn.models.cpn import cpn_network
from tfcpn.models.model import conv_kernels
from tfcpn.skeleton import COCO
from tfcpn.training import augmentation
from tfcpn.training.augmentation import build_augmentation
from tfcpn.training.ema import EMA
from tfcpn.training.step import TrainingStep, make_optimizer
from tfcpn.transforms.normalize import TF_CPN_PREPROCESSING

SIZE = (64, 64)
CODEC = HeatmapCodec(SIZE, (16, 16), (15, 11, 9, 7), 255, COCO.flip_indices)
NETWORK = cpn_network(SIZE, "resnet50", 17)._replace(losses=losses, kernels=conv_kernels)
RATE, FACTOR = 1e-3, 20.0


def trained(steps, strategy=None, mean_decay=0.0, model=None, **settings):
    """The tiny network after some steps, the weights after each step, and the EMA."""
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        model = model or build(SIZE, 17)
        mean = EMA(mean_decay, build(SIZE, 17)) if mean_decay else None
        optimizer = make_optimizer(RATE, "float32", model.trainable_variables)
    augment = build_augmentation(
        VIEWS,
        ranges=augmentation.Ranges(),
        flip_indices=COCO.flip_indices,
        preprocessing=TF_CPN_PREPROCESSING,
        size=SIZE,
    )
    settings = {"augment": augment, "seed": 5, "weight_decay": FACTOR, "ema": mean, **settings}
    step = TrainingStep(model, optimizer, NETWORK, CODEC, strategy, **settings)
    rng = np.random.default_rng(0)
    crops = tf.constant(rng.integers(0, 256, (2, *SIZE, 3)), tf.uint8)
    keypoints = np.concatenate([rng.uniform(0, 64, (2, 17, 2)), np.full((2, 17, 1), 2)], axis=-1)
    dealt = [
        strategy.experimental_distribute_values_from_function(lambda c, t=t: t)
        for t in (crops, tf.constant(keypoints, tf.float32))
    ]
    history, step_losses = [], []
    for number in range(steps):
        step_losses.append(step(*dealt, tf.constant(number, tf.int64)).losses.numpy())
        history.append([v.numpy() for v in model.weights])
    return history, mean, step_losses
