"""Exponential moving average of the weights."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

# The average forgets faster at first: after n steps as if it were over n / 10 of them.
_WARMUP = 10


class EMA(NamedTuple):
    """Exponential moving average: mean += (1 - d) (weight - mean), d = min(decay, n / (n + 10)).

    n is the number of the step, from 0, so that the average starts as the weights after step 0.

    Attributes:
        decay: Weight of the previous average.
        model: Model of the same architecture; its variables are the averages, also those of
            batch-norm statistics.
    """

    decay: float
    model: tf.keras.Model

    def _decay_at(self, step) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        return tf.minimum(self.decay, step / (step + _WARMUP))

    def update_statistics(self, trained: tf.keras.Model, step) -> None:
        """Update the averages of per-replica variables. Call inside `strategy.run`."""
        for mean, variable in _variable_pairs(self.model, trained, per_replica=True):
            mean.assign_add((1 - self._decay_at(step)) * (variable - mean))

    def update(self, trained: tf.keras.Model, step, strategy: tf.distribute.Strategy) -> None:
        """Update all other averages. Call outside `strategy.run`.

        Args:
            trained: The trained model.
            step: Scalar number of the step, from 0.
            strategy: The strategy of both models.
        """
        rate = 1 - self._decay_at(step)
        for mean, variable in _variable_pairs(self.model, trained, per_replica=False):
            strategy.extended.update(mean, _move_towards, args=(variable, rate))


def _move_towards(mean, variable, rate):
    mean.assign_add(rate * (variable - mean))


def _variable_pairs(means: tf.keras.Model, trained: tf.keras.Model, *, per_replica: bool):
    """Return pairs of an average and its variable, per-replica ones or the others."""
    on_read = tf.VariableSynchronization.ON_READ
    pairs = zip(means.weights, trained.weights)
    return [(m, v) for m, v in pairs if (v.synchronization == on_read) == per_replica]
