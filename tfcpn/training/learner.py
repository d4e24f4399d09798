"""A network that is being trained: made or restored, and what its steps are."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfcpn.base import device
from tfcpn.base.errors import InputError
from tfcpn.base.progress import status
from tfcpn.parts import Parts
from tfcpn.run.snapshots import CheckpointManager, TrainingPosition
from tfcpn.settings.config import Config
from tfcpn.training.mean_weights import EMA
from tfcpn.training.step import TrainingStep, make_optimizer
from tfcpn.training.views import augmentation_for


class TrainState(NamedTuple):
    """variables: those of the model, as checkpoints keep them. teacher: see `Network`. mean: weights that follow the
    model's, with mean_variables, and are evaluated in its place.
    """

    model: tf.keras.Model
    optimizer: tf.keras.optimizers.legacy.Optimizer
    variables: dict[str, tf.Variable]
    teacher: Callable | None = None
    mean: EMA | None = None
    mean_variables: dict[str, tf.Variable] | None = None

    @property
    def evaluated(self) -> tf.keras.Model:
        return self.mean.model if self.mean else self.model

    def weights(self) -> dict[str, tf.Variable]:
        """The variables, and their means if there are any."""
        return self.variables | {
            f"mean/{name}": v for name, v in (self.mean_variables or {}).items()
        }

    def everything(self) -> dict[str, tf.Variable]:
        """What a checkpoint holds: those, and the optimizer's."""
        return self.weights() | {
            f"optimizer/{i}": v for i, v in enumerate(self.optimizer.variables())
        }

    def kept(self) -> dict:
        """The same as `Checkpoints.save` and `restore` want it."""
        if self.mean:
            return {
                "variables": self.mean_variables,
                "optimizer": self.optimizer,
                "trained": self.variables,
            }
        return {"variables": self.variables, "optimizer": self.optimizer}

    def check_finite(self, step: str, whom: str, last_good: str) -> None:
        """Raise InputError if a variable has a value that is no number: such weights are never saved. The words are
        for the message: the last step, who was in its batches, the newest checkpoint.
        """
        for name, variable in self.everything().items():
            if variable.dtype.is_floating and not bool(tf.reduce_all(tf.math.is_finite(variable))):
                raise InputError(
                    f"{step} made {name} something else than numbers, so it is not saved; {whom}; {last_good}; "
                    "lower --learning_rate, or use --mixed_precision=float32"
                )


def new_learner(cfg: Config, parts: Parts, strategy: tf.distribute.Strategy) -> TrainState:
    """One of random weights, in the precision that is set; its teacher knows what it will."""
    with strategy.scope():
        model = parts.network.build()
        optimizer = make_optimizer(
            cfg.learning_rate, cfg.mixed_precision, model.trainable_variables
        )
        teacher = parts.network.teacher(cfg.init_weights)
        mean = EMA(cfg.ema, parts.network.build()) if cfg.ema else None
    means = parts.network.variables(mean.model) if mean else None
    return TrainState(model, optimizer, parts.network.variables(model), teacher, mean, means)


def make_learner(
    cfg: Config,
    parts: Parts,
    strategy: tf.distribute.Strategy,
    checkpoints: CheckpointManager,
    done: TrainingPosition,
) -> TrainState:
    """The model and its optimizer as they were then: from that checkpoint, or from the first weights."""
    device.set_precision(cfg.mixed_precision)
    with status("building the network"):
        state = new_learner(cfg, parts, strategy)
    with status("reading its weights"):
        if any(done):
            checkpoints.restore(done.epoch, steps=done.steps, **state.kept())
        else:
            parts.network.load_weights(state.model, cfg.init_weights)
    return state


def make_step(
    cfg: Config, parts: Parts, state: TrainState, strategy: tf.distribute.Strategy
) -> TrainingStep:
    """Build the training step of a run."""
    return TrainingStep(
        state.model,
        state.optimizer,
        parts.network,
        parts.codec,
        strategy,
        views=augmentation_for(cfg, parts),
        weight_decay=cfg.weight_decay,
        seed=cfg.seed,
        data_loss_weight=cfg.data_loss_weight,
        teacher=state.teacher,
        mean=state.mean,
        xla=cfg.xla,
    )
