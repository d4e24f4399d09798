"""Crops -> joints: the network with its flip test and decoder, compiled as one function."""

from __future__ import annotations

import tensorflow as tf

from tfcpn.augment import mirror_pixels, normalize
from tfcpn.codec import HeatmapCodec, flip_back


class Predictor:
    """Joints of crops. `codec` must be the one whose labels the model was trained on.

    strategy: the one that the model was built under; with several replicas crops and joints are per replica.
    """

    def __init__(self, model: tf.keras.Model, codec: HeatmapCodec, flip_test: bool = True, strategy=None):
        self.model, self.codec, self.flip_test = model, codec, flip_test
        if strategy is None or strategy.num_replicas_in_sync == 1:
            size = (None, *codec.input_size, 3)
            self.predict = tf.function(self._predict, input_signature=[tf.TensorSpec(size, tf.uint8)])
        else:
            self.predict = tf.function(lambda crops: strategy.run(self._predict, args=(crops,)))

    def heatmaps(self, crops) -> tf.Tensor:
        """crops: (N, H, W, 3) uint8 BGR -> (N, h, w, K) float32, averaged with the mirror image's if asked."""
        if not self.flip_test:
            return self.model(normalize(crops), training=False).refine
        # Bytes are mirrored and joined faster than what they become.
        both = normalize(tf.concat([crops, mirror_pixels(crops)], axis=0))
        both = self.model(both, training=False).refine
        straight, mirrored = tf.split(both, 2, axis=0)
        return (straight + flip_back(mirrored)) / 2

    def _predict(self, crops):
        return self.codec.decode(self.heatmaps(crops))

    def __call__(self, crops) -> tuple[tf.Tensor, tf.Tensor]:
        """crops: (N, H, W, 3) uint8 BGR -> joints (N, K, 2), x, y in crop pixels, and scores (N, K)."""
        return self.predict(crops)
