"""One step of training: crops and joints in, four views and labels made on the device, Adam applied."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfcpn import augment
from tfcpn.cpn import conv_kernels
from tfcpn.losses import global_loss, refine_loss, weight_decay_loss


class Losses(NamedTuple):
    """Scalars, float32. The data losses are means over a replica's crops; decay is the whole of it."""

    global_loss: tf.Tensor
    refine: tf.Tensor
    decay: tf.Tensor
    total: tf.Tensor


def make_optimizer(learning_rate: float, mixed_precision: str, variables):
    """tf-cpn's Adam for these variables. With float16, losses are scaled dynamically so that small gradients survive.

    The legacy class is the one that runs TensorFlow 1's fused Adam kernel: one pass over a variable instead of
    a dozen, and epsilon outside the bias correction, as in the original.
    """
    optimizer = tf.keras.optimizers.legacy.Adam(learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8)
    if mixed_precision == "float16":
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    # Make its slots now: a snapshot is restored into them, and what it lacks shows at once.
    optimizer._create_all_weights(variables)
    return optimizer


def losses_and_gradients(
    model,
    images,
    labels,
    visibility,
    weight_decay: float,
    replicas: int = 1,
    scale_loss=None,
    data_loss_weight: float = 1.0,
):
    """Losses of one replica's batch and the gradient of each trainable variable.

    images: (N, H, W, 3) float32. labels: four (N, h, w, K). visibility: (N, K).
    Gradients are meant to be summed over `replicas`, as in tf-cpn, so each carries its share of the decay.
    scale_loss: a LossScaleOptimizer, under float16. data_loss_weight: factor of the global and the refine loss.
    """
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)
        g = data_loss_weight * global_loss(outputs.global_maps, labels, visibility)
        r = data_loss_weight * refine_loss(outputs.refine, labels[-1], visibility)
        decay = weight_decay_loss(conv_kernels(model), weight_decay)
        objective = g + r + decay / replicas
        if scale_loss is not None:
            objective = scale_loss.get_scaled_loss(objective)
    gradients = tape.gradient(objective, model.trainable_variables)
    if scale_loss is not None:
        gradients = scale_loss.get_unscaled_gradients(gradients)
    return Losses(g, r, decay, g + r + decay), gradients


class TrainingStep:
    """The step as a compiled function of (crops, joints, step number), run on every replica of a strategy."""

    def __init__(
        self,
        model,
        optimizer,
        codec,
        strategy,
        *,
        ranges: augment.Ranges,
        weight_decay: float,
        seed: int,
        data_loss_weight: float = 1.0,
    ):
        self.model, self.optimizer, self.codec, self.strategy = model, optimizer, codec, strategy
        self.ranges, self.weight_decay, self.seed = ranges, weight_decay, seed
        self.data_loss_weight = data_loss_weight
        self.loss_scaler = optimizer if hasattr(optimizer, "get_scaled_loss") else None

    def _replica_step(self, crops, joints, step):
        replicas = self.strategy.num_replicas_in_sync
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64)
        draws = augment.draw((self.seed, step * replicas + replica), tf.shape(crops)[0], self.ranges)
        images, joints, visibility = augment.four_views(crops, joints, draws)
        return self.learn(images, self.codec.encode(joints), visibility)

    def learn(self, images, labels, visibility) -> tf.Tensor:
        """One replica's update from its views and labels; its losses as a (4,) tensor. Call within `strategy.run`."""
        losses, gradients = losses_and_gradients(
            self.model,
            images,
            labels,
            visibility,
            self.weight_decay,
            self.strategy.num_replicas_in_sync,
            self.loss_scaler,
            self.data_loss_weight,
        )
        # In a replica this sums the gradients over all of them.
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables))
        return tf.stack(losses)

    @tf.function
    def __call__(self, crops, joints, step) -> tf.Tensor:
        """crops: (P, H, W, 3) uint8 BGR. joints: (P, K, 3) float32, x, y in crop pixels and visibility.

        step: scalar int64, counted from the start of training: with the seed it decides the augmentation.
        Returns the four `Losses` as one (4,) tensor, the mean over the replicas.
        """
        per_replica = self.strategy.run(self._replica_step, args=(crops, joints, step))
        return self.strategy.reduce("mean", per_replica, axis=None)
