"""A running mean of the weights, which is what a run with --ema evaluates, exports and keeps."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

# The mean forgets faster at first: after n steps as if it were over n / 10 of them.
_SOONER = 10


class EMA(NamedTuple):
    """decay: of what the mean was a step ago. model: one of the same build as that which is trained; its variables
    are the means, those of batch norms' statistics too.
    """

    decay: float
    model: tf.keras.Model

    def _kept(self, step) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        return tf.minimum(self.decay, step / (step + _SOONER))

    def follow_statistics(self, trained: tf.keras.Model, step) -> None:
        """For each replica: those variables of which every replica has a value of its own. Call in `strategy.run`."""
        for mean, variable in _pairs(self.model, trained, of_replicas=True):
            mean.assign_add((1 - self._kept(step)) * (variable - mean))

    def follow(self, trained: tf.keras.Model, step, strategy: tf.distribute.Strategy) -> None:
        """All others. Call outside of `strategy.run`. step: scalar, 0 for the first, after which the mean is what
        was learnt in it: mean += (1 - d)(weight - mean), d = min(decay, step / (step + 10)).
        """
        share = 1 - self._kept(step)
        for mean, variable in _pairs(self.model, trained, of_replicas=False):
            strategy.extended.update(mean, _towards, args=(variable, share))


def _towards(mean, variable, share):
    mean.assign_add(share * (variable - mean))


def _pairs(means: tf.keras.Model, trained: tf.keras.Model, of_replicas: bool):
    own = tf.VariableSynchronization.ON_READ
    pairs = zip(means.weights, trained.weights)
    return [(m, v) for m, v in pairs if (v.synchronization == own) == of_replicas]
