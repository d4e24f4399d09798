"""One training step: crops and keypoints in, views and targets made on the device, Adam applied."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfcpn.codecs.codec import Codec
from tfcpn.models.model import Network
from tfcpn.training.ema import EMA


def make_optimizer(learning_rate: float, mixed_precision: str, variables):
    """Create tf-cpn's Adam, with dynamic loss scaling under float16.

    The legacy class runs TensorFlow 1's fused Adam kernel: one pass over a variable instead of a
    dozen, and epsilon outside the bias correction, as in the original.

    Args:
        learning_rate: Initial learning rate.
        mixed_precision: Precision of the layers.
        variables: Variables to optimize.
    """
    optimizer = tf.keras.optimizers.legacy.Adam(
        learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8
    )
    if mixed_precision == "float16":
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    # Create the slots now, so that a checkpoint is restored into them and gaps show at once.
    optimizer._create_all_weights(variables)
    return optimizer


def weight_decay_loss(kernels, factor: float) -> tf.Tensor:
    """Return factor * sum(w^2) / 2 over the kernels, a part of the loss as in tf-cpn."""
    if not factor:
        return tf.zeros((), kernels[0].dtype)
    return factor * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])


def losses_and_gradients(
    model: tf.keras.Model,
    network: Network,
    images,
    targets,
    *,
    weight_decay: float,
    replicas: int = 1,
    loss_scaler=None,
    data_loss_weight: float = 1.0,
    teacher_outputs=None,
) -> tuple[dict[str, tf.Tensor], list]:
    """Compute the losses of one replica's batch and the gradients of the trainable variables.

    Args:
        model: The model.
        network: Its losses and kernels.
        images: (N, H, W, 3) float32.
        targets: Targets of the codec.
        weight_decay: Factor of the decay loss.
        replicas: Number of replicas. Gradients are summed over them, as in tf-cpn, so each carries
            its share of the decay.
        loss_scaler: The LossScaleOptimizer under float16.
        data_loss_weight: Factor of the network's losses.
        teacher_outputs: Outputs of the teacher for the same images, if there is one.

    Returns:
        Losses by name: the network's, means over the crops; "decay", the whole of it; "total". And
        the gradients.
    """
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)
        losses = network.losses(outputs, targets, teacher_outputs)
        losses = {name: data_loss_weight * loss for name, loss in losses.items()}
        optimized = [v for name, v in losses.items() if name not in network.logged_losses]
        data = functools.reduce(operator.add, optimized)
        decay = weight_decay_loss(network.kernels(model), weight_decay)
        objective = data + decay / replicas
        if loss_scaler is not None:
            objective = loss_scaler.get_scaled_loss(objective)
    # Without a teacher, some outputs of BlazePose have no loss.
    zero = tf.UnconnectedGradients.ZERO
    gradients = tape.gradient(objective, model.trainable_variables, unconnected_gradients=zero)
    if loss_scaler is not None:
        gradients = loss_scaler.get_unscaled_gradients(gradients)
    return {**losses, "decay": decay, "total": data + decay}, gradients


class StepResult(NamedTuple):
    """Results of a step, means over the replicas.

    Attributes:
        losses: Values of `TrainingStep.loss_names`.
        norms: Gradient norm of each trainable variable.
        requests: (2,) mean of the requests of all processes, see `CheckpointSchedule`.
    """

    losses: tf.Tensor
    norms: tf.Tensor
    requests: tf.Tensor


class TrainingStep:
    """The training step as a compiled function, run on every replica of a strategy.

    Attributes:
        loss_names: Names of the losses that it returns.
        variable_names: Names of the variables of the gradient norms.
        compiled: Whether the first step was taken; set by the caller.
    """

    def __init__(
        self,
        model: tf.keras.Model,
        optimizer,
        network: Network,
        codec: Codec,
        strategy: tf.distribute.Strategy,
        *,
        augment: Callable,
        weight_decay: float,
        seed: int,
        data_loss_weight: float = 1.0,
        teacher: Callable | None = None,
        ema: EMA | None = None,
        xla: bool = False,
    ):
        """Create the step.

        Args:
            model: The model.
            optimizer: Its optimizer.
            network: Its losses and preprocessing.
            codec: Encodes the targets.
            strategy: The strategy of the model.
            augment: See `augmentation.build_augmentation`.
            weight_decay: Factor of the decay loss.
            seed: Seed of the augmentation.
            data_loss_weight: Factor of the network's losses.
            teacher: See `Network.teacher`.
            ema: Average of the weights to update.
            xla: Compile model, losses and gradients with XLA; not the augmentation, nor Adam.
        """
        self.model, self.optimizer, self.network, self.codec = model, optimizer, network, codec
        self.strategy, self.augment, self.teacher, self.ema = strategy, augment, teacher, ema
        self.seed, self.weight_decay, self.data_loss_weight = seed, weight_decay, data_loss_weight
        self.compiled = False
        self.loss_names = (*network.loss_names, "decay", "total")
        self.variable_names = [v.name.split(":")[0] for v in model.trainable_variables]
        self.loss_scaler = optimizer if hasattr(optimizer, "get_scaled_loss") else None
        compute = self._losses_and_gradients
        self._compute = tf.function(compute, jit_compile=True) if xla else compute

    def set_rate(self, rate: float) -> None:
        """Set the learning rate from the next step on."""
        self.optimizer.learning_rate = rate

    @tf.function
    def __call__(self, crops, keypoints, step, requests=(0.0, 0.0)) -> StepResult:
        """Take a step.

        Args:
            crops: (P, H, W, 3) uint8 BGR per replica.
            keypoints: (P, K, 3) float32 x, y in crop pixels and visibility.
            step: Scalar int64, counted from the start of training; with the seed it decides the
                augmentation.
            requests: (2,) float32 requests of this process, see `CheckpointSchedule`.
        """
        args = (crops, keypoints, step, tf.convert_to_tensor(requests))
        per_replica = self.strategy.run(self._replica_step, args=args)
        if self.ema:
            self.ema.update(self.model, step, self.strategy)
        values = self.strategy.reduce("mean", per_replica, axis=None)
        return StepResult(*tf.split(values, [len(self.loss_names), len(self.variable_names), 2]))

    def _replica_step(self, crops, keypoints, step, requests):
        replicas = self.strategy.num_replicas_in_sync
        with tf.device("CPU:0"):  # see `augmentation.stateless_seed`
            context = tf.distribute.get_replica_context()
            replica = tf.cast(context.replica_id_in_sync_group, tf.int64)
            number = tf.identity(step) * replicas + replica
        images, keypoints, visibility = self.augment(crops, keypoints, (self.seed, number))
        values = self.learn(images, self.codec.encode(keypoints, visibility))
        if self.ema:
            self.ema.update_statistics(self.model, step)
        return tf.concat([values, requests], axis=0)

    def learn(self, images, targets) -> tf.Tensor:
        """Update one replica from its images and targets. Call inside `strategy.run`.

        Returns:
            The losses followed by the gradient norms, one tensor.
        """
        teacher_outputs = self.teacher(images) if self.teacher else None
        losses, gradients = self._compute(images, targets, teacher_outputs)
        # Inside a replica this sums the gradients over all of them.
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables))
        # One square root of all: on a GPU, launching hundreds of small operations takes longer.
        norms = tf.sqrt(2 * tf.stack([tf.nn.l2_loss(gradient) for gradient in gradients]))
        return tf.concat([tf.stack([losses[name] for name in self.loss_names]), norms], axis=0)

    def _losses_and_gradients(self, images, targets, teacher_outputs):
        return losses_and_gradients(
            self.model,
            self.network,
            images,
            targets,
            weight_decay=self.weight_decay,
            replicas=self.strategy.num_replicas_in_sync,
            loss_scaler=self.loss_scaler,
            data_loss_weight=self.data_loss_weight,
            teacher_outputs=teacher_outputs,
        )
