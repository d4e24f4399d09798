"""The state of a training run: model, optimizer, teacher and averaged weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfcpn.builders import Components
from tfcpn.checkpoints.manager import CheckpointManager, TrainingPosition
from tfcpn.config import Config
from tfcpn.training.augmentation import augmentation_for
from tfcpn.training.ema import EMA
from tfcpn.training.step import TrainingStep, make_optimizer
from tfcpn.utils import device
from tfcpn.utils.console import status
from tfcpn.utils.errors import InputError


class TrainState(NamedTuple):
    """The state of a training run.

    Attributes:
        model: The trained model.
        optimizer: Its optimizer.
        variables: Variables of the model by their names in checkpoints.
        teacher: See `Network.teacher`.
        ema: Average of the weights, which is evaluated in place of the model.
        ema_variables: Variables of the average by name.
    """

    model: tf.keras.Model
    optimizer: tf.keras.optimizers.legacy.Optimizer
    variables: dict[str, tf.Variable]
    teacher: Callable | None = None
    ema: EMA | None = None
    ema_variables: dict[str, tf.Variable] | None = None

    @property
    def evaluated_model(self) -> tf.keras.Model:
        """The model to evaluate: the average if there is one."""
        return self.ema.model if self.ema else self.model

    def weights(self) -> dict[str, tf.Variable]:
        """Return the variables of the model and of the average."""
        return self.variables | {f"mean/{n}": v for n, v in (self.ema_variables or {}).items()}

    def all_variables(self) -> dict[str, tf.Variable]:
        """Return all variables of a checkpoint, those of the optimizer included."""
        optimizer = {f"optimizer/{i}": v for i, v in enumerate(self.optimizer.variables())}
        return self.weights() | optimizer

    def checkpoint_kwargs(self) -> dict:
        """Return the state as arguments of `CheckpointManager.save` and `restore`."""
        if self.ema:
            return {
                "variables": self.ema_variables,
                "optimizer": self.optimizer,
                "trained": self.variables,
            }
        return {"variables": self.variables, "optimizer": self.optimizer}

    def check_finite(self, step: str, batch: str, latest: str) -> None:
        """Check that all variables are finite; others are never saved.

        Args:
            step: Name of the last step.
            batch: Description of its batches.
            latest: Description of the latest checkpoint.

        Raises:
            InputError: For a value that is not a number.
        """
        for name, variable in self.all_variables().items():
            if not variable.dtype.is_floating:
                continue
            if not bool(tf.reduce_all(tf.math.is_finite(variable))):
                raise InputError(
                    f"{step} left values in {name} that are not numbers, so it is not saved; "
                    f"{batch}; {latest}; lower --learning_rate, or use --mixed_precision=float32"
                )


def new_state(cfg: Config, components: Components, strategy: tf.distribute.Strategy) -> TrainState:
    """Return a state with random weights, in the current precision."""
    network = components.network
    with strategy.scope():
        model = network.build()
        optimizer = make_optimizer(
            cfg.learning_rate, cfg.mixed_precision, model.trainable_variables
        )
        teacher = network.teacher(cfg.init_weights)
        ema = EMA(cfg.ema, network.build()) if cfg.ema else None
    return TrainState(
        model=model,
        optimizer=optimizer,
        variables=network.variables(model),
        teacher=teacher,
        ema=ema,
        ema_variables=network.variables(ema.model) if ema else None,
    )


def restore_or_initialize(
    cfg: Config,
    components: Components,
    strategy: tf.distribute.Strategy,
    checkpoints: CheckpointManager,
    position: TrainingPosition,
) -> TrainState:
    """Return the state of a checkpoint, or of the initial weights at position 0."""
    device.set_precision(cfg.mixed_precision)
    with status("building the network"):
        state = new_state(cfg, components, strategy)
    with status("reading its weights"):
        if any(position):
            checkpoints.restore(position, **state.checkpoint_kwargs())
        else:
            components.network.load_weights(state.model, cfg.init_weights)
    return state


def build_step(
    cfg: Config, components: Components, state: TrainState, strategy: tf.distribute.Strategy
) -> TrainingStep:
    """Build the training step of a run."""
    return TrainingStep(
        state.model,
        state.optimizer,
        components.network,
        components.codec,
        strategy,
        augment=augmentation_for(cfg, components),
        weight_decay=cfg.weight_decay,
        seed=cfg.seed,
        data_loss_weight=cfg.data_loss_weight,
        teacher=state.teacher,
        ema=state.ema,
        xla=cfg.xla,
    )
