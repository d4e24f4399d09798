"""Crops -> joints: a network with its flip test and decoder, compiled as one function."""

from __future__ import annotations

import tensorflow as tf

from tfcpn.codecs.codec import Codec
from tfcpn.networks.network import Network
from tfcpn.picture.cut import CropFormat
from tfcpn.picture.look import normalize
from tfcpn.picture.mirror import mirror_pixels


class Predictor:
    """Joints of crops. `codec` must be the one whose targets the model was trained on.

    strategy: the one that the model was built under; with several replicas crops and joints are per replica.
    """

    def __init__(
        self, model, network: Network, codec: Codec, crop_format: CropFormat, flip_test: bool = True, strategy=None
    ):
        self.model, self.network, self.codec = model, network, codec
        self.crop_format, self.flip_test = crop_format, flip_test
        self.strategy = strategy or tf.distribute.get_strategy()
        if self.strategy.num_replicas_in_sync == 1:
            size = (None, *crop_format.size, 3)
            self.predict = tf.function(self._predict, input_signature=[tf.TensorSpec(size, tf.uint8)])
        else:
            self.predict = tf.function(lambda crops: self.strategy.run(self._predict, args=(crops,)))

    def _outputs(self, crops):
        return self.network.prediction(self.model(normalize(crops, self.network.look), training=False))

    def outputs(self, crops):
        """crops: (N, H, W, 3) uint8 BGR -> what the codec decodes, averaged with the mirror image's if asked."""
        if not self.flip_test:
            return self._outputs(crops)
        # Bytes are mirrored and joined faster than what they become.
        both = self._outputs(tf.concat([crops, mirror_pixels(crops)], axis=0))
        halves = [tf.nest.map_structure(lambda t, i=i: tf.split(t, 2, axis=0)[i], both) for i in range(2)]
        return tf.nest.map_structure(lambda a, b: (a + b) / 2, halves[0], self.codec.flip(halves[1]))

    def _predict(self, crops):
        return self.codec.decode(self.outputs(crops))

    def __call__(self, crops) -> tuple[tf.Tensor, tf.Tensor]:
        """crops: (N, H, W, 3) uint8 BGR -> joints (N, K, 2), x, y in crop pixels, and scores (N, K)."""
        return self.predict(crops)
