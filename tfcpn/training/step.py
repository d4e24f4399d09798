"""One step of training: crops and keypoints in, views and targets made on the device, Adam applied."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfcpn.codecs.codec import Codec
from tfcpn.networks.network import Network
from tfcpn.training.mean_weights import EMA


def make_optimizer(learning_rate: float, mixed_precision: str, variables):
    """tf-cpn's Adam for these variables. With float16, losses are scaled dynamically so that small gradients survive.

    The legacy class is the one that runs TensorFlow 1's fused Adam kernel: one pass over a variable instead of
    a dozen, and epsilon outside the bias correction, as in the original.
    """
    optimizer = tf.keras.optimizers.legacy.Adam(
        learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8
    )
    if mixed_precision == "float16":
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    # Make its slots now: a checkpoint is restored into them, and what it lacks shows at once.
    optimizer._create_all_weights(variables)
    return optimizer


def weight_decay_loss(kernels, factor: float) -> tf.Tensor:
    """factor * sum(w^2) / 2 over the kernels: part of the loss that Adam sees, not decoupled from it."""
    if not factor:
        return tf.zeros((), kernels[0].dtype)
    return factor * tf.add_n([tf.nn.l2_loss(k) for k in kernels])


def losses_and_gradients(
    model,
    network: Network,
    images,
    targets,
    weight_decay: float,
    replicas: int = 1,
    scale_loss=None,
    data_loss_weight: float = 1.0,
    taught=None,
) -> tuple[dict[str, tf.Tensor], list]:
    """Losses of one replica's batch by name, and the gradient of each trainable variable.

    images: (N, H, W, 3) float32. targets: the codec's. The losses are the network's own, means over the replica's
    crops, times data_loss_weight; then "decay", the whole of it, and "total". Gradients are meant to be summed over
    `replicas`, as in tf-cpn, so each carries its share of the decay. scale_loss: a LossScaleOptimizer, under float16.
    taught: the teacher's outputs for the same images, if the network has a teacher.
    """
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)
        losses = {
            name: data_loss_weight * loss
            for name, loss in network.losses(outputs, targets, taught).items()
        }
        data = functools.reduce(
            operator.add, (loss for name, loss in losses.items() if name not in network.told)
        )
        decay = weight_decay_loss(network.kernels(model), weight_decay)
        objective = data + decay / replicas
        if scale_loss is not None:
            objective = scale_loss.get_scaled_loss(objective)
    # A network from random weights has outputs that nobody teaches.
    zero = tf.UnconnectedGradients.ZERO
    gradients = tape.gradient(objective, model.trainable_variables, unconnected_gradients=zero)
    if scale_loss is not None:
        gradients = scale_loss.get_unscaled_gradients(gradients)
    return {**losses, "decay": decay, "total": data + decay}, gradients


class StepResult(NamedTuple):
    """Means over the replicas. losses: of `loss_names`. norms: of the gradient of each trainable variable. wishes: as
    given, of all processes.
    """

    losses: tf.Tensor
    norms: tf.Tensor
    wishes: tf.Tensor


class TrainingStep:
    """The step as a compiled function of (crops, keypoints, step number), run on every replica of a strategy.

    views: what it sees of crops and keypoints, as from `views_of`. teacher: the network's, if it has one. loss_names:
    what the losses are that it returns. variable_names: whose gradients the norms are of. mean: weights that follow.
    xla: compile the network, its losses and gradients; views and labels are made, and Adam steps, as ever.
    """

    def __init__(
        self,
        model,
        optimizer,
        network: Network,
        codec: Codec,
        strategy,
        *,
        views: Callable,
        weight_decay: float,
        seed: int,
        data_loss_weight: float = 1.0,
        teacher: Callable | None = None,
        mean: EMA | None = None,
        xla: bool = False,
    ):
        self.model, self.optimizer, self.network, self.codec = model, optimizer, network, codec
        self.strategy, self.views, self.teacher = strategy, views, teacher
        self.seed, self.data_loss_weight, self.mean = seed, data_loss_weight, mean
        self.compiled = False  # set by the caller that took the first step
        self.weight_decay = weight_decay
        self.loss_names = (*network.loss_names, "decay", "total")
        self.variable_names = [
            variable.name.split(":")[0] for variable in model.trainable_variables
        ]
        self.loss_scaler = optimizer if hasattr(optimizer, "get_scaled_loss") else None
        self._learnt = (
            tf.function(self._losses_and_gradients, jit_compile=True)
            if xla
            else self._losses_and_gradients
        )

    def _replica_step(self, crops, keypoints, step, wish):
        replicas = self.strategy.num_replicas_in_sync
        with tf.device("CPU:0"):  # see `stateless_seed`
            replica = tf.cast(
                tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64
            )
            number = tf.identity(step) * replicas + replica
        images, keypoints, visibility = self.views(crops, keypoints, (self.seed, number))
        told = self.learn(images, self.codec.encode(keypoints, visibility))
        if self.mean:
            self.mean.follow_statistics(self.model, step)
        return tf.concat([told, wish], axis=0)

    def learn(self, images, targets) -> tf.Tensor:
        """One replica's update from its views and targets; its losses, and behind them its gradients' norms, as one
        tensor. Call within `strategy.run`.
        """
        taught = self.teacher(images) if self.teacher else None
        losses, gradients = self._learnt(images, targets, taught)
        # In a replica this sums the gradients over all of them.
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables))
        # One root of all of them: on a GPU hundreds of small operations would take longer than their arithmetic.
        norms = tf.sqrt(2 * tf.stack([tf.nn.l2_loss(g) for g in gradients]))
        return tf.concat([tf.stack([losses[name] for name in self.loss_names]), norms], axis=0)

    def _losses_and_gradients(self, images, targets, taught):
        return losses_and_gradients(
            self.model,
            self.network,
            images,
            targets,
            self.weight_decay,
            self.strategy.num_replicas_in_sync,
            self.loss_scaler,
            self.data_loss_weight,
            taught,
        )

    def set_rate(self, rate: float) -> None:
        """The optimizer's rate from the next step on."""
        self.optimizer.learning_rate = rate

    @tf.function
    def __call__(self, crops, keypoints, step, wish=(0.0, 0.0)) -> StepResult:
        """crops: (P, H, W, 3) uint8 BGR. keypoints: (P, K, 3) float32, x, y in crop pixels and visibility.

        step: scalar int64, counted from the start of training: with the seed it decides the augmentation. wish: (2,)
        float32 of this process, see `Pauses`.
        """
        per_replica = self.strategy.run(
            self._replica_step, args=(crops, keypoints, step, tf.convert_to_tensor(wish))
        )
        if self.mean:
            self.mean.follow(self.model, step, self.strategy)
        told = self.strategy.reduce("mean", per_replica, axis=None)
        return StepResult(*tf.split(told, [len(self.loss_names), len(self.variable_names), 2]))
