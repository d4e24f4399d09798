"""Crops -> keypoints: a network with its flip test and decoder, compiled as one function."""

from __future__ import annotations

import tensorflow as tf

from tfcpn.codecs.codec import Codec
from tfcpn.networks.folding import FoldedModel
from tfcpn.networks.network import Network
from tfcpn.picture.cut import CropSpec
from tfcpn.picture.look import normalize
from tfcpn.picture.mirror import flip_horizontal


class Predictor:
    """Keypoints of crops. `codec` must be the one whose targets the model was trained on.

    strategy: the one that the model was built under; with several replicas crops and keypoints are per replica. fold:
    predict with the model's batch norms folded into its convolutions, which is the same to rounding and faster; when
    the model has learnt, it is to be made `fresh`. joined: the mirror images go through the network in one batch with
    the crops, so that it stands in the graph once, as an exported file wants it; in two, many crops are faster.
    """

    def __init__(
        self,
        model,
        network: Network,
        codec: Codec,
        crop_spec: CropSpec,
        flip_test: bool = True,
        strategy=None,
        fold: bool = False,
        joined: bool = False,
    ):
        self.model, self.network, self.codec = model, network, codec
        self.crop_spec, self.flip_test, self.joined = crop_spec, flip_test, joined
        self.strategy = strategy or tf.distribute.get_strategy()
        self._folded = None
        if fold:
            with self.strategy.scope():
                self._folded = FoldedModel(model, network.build_for_inference)
        if self.strategy.num_replicas_in_sync == 1:
            size = (None, *crop_spec.size, 3)
            self.predict = tf.function(
                self._predict, input_signature=[tf.TensorSpec(size, tf.uint8)]
            )
        else:
            self.predict = tf.function(
                lambda crops: self.strategy.run(self._predict, args=(crops,))
            )

    def _raw(self, crops) -> list:
        """What the network makes of the crops and, with flip test, of their mirror images."""
        model = self._folded.model if self._folded else self.model
        if self.flip_test and self.joined:
            # Bytes are mirrored and joined faster than what they become.
            seen = normalize(
                tf.concat([crops, flip_horizontal(crops)], axis=0), self.network.preprocessing
            )
            both = model(seen, training=False)
            return [
                tf.nest.map_structure(lambda t, i=i: tf.split(t, 2, axis=0)[i], both)
                for i in range(2)
            ]
        images = normalize(crops, self.network.preprocessing)
        seen = [images, flip_horizontal(images)] if self.flip_test else [images]
        return [model(batch, training=False) for batch in seen]

    def fresh(self) -> Predictor:
        """Itself, predicting with the weights that the model has now."""
        if self._folded:
            self._folded.sync_weights()
        return self

    def _averaged(self, raw):
        seen, *mirrored = map(self.network.prediction, raw)
        for outputs in mirrored:
            seen = tf.nest.map_structure(lambda a, b: (a + b) / 2, seen, self.codec.flip(outputs))
        return seen

    def outputs(self, crops):
        """crops: (N, H, W, 3) uint8 BGR -> what the codec decodes, averaged with the mirror image's if asked."""
        return self._averaged(self._raw(crops))

    def _predict(self, crops):
        return self.codec.decode(self.outputs(crops))

    def read(self, crops) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """crops: (N, H, W, 3) uint8 BGR -> keypoints (N, K, 2) in crop pixels, scores (N, K) and, from 0 to 1, how sure
        the network is that each crop shows a person (N,): what it says itself, or its mean peak.
        """
        raw = self._raw(crops)
        keypoints, scores = self.codec.decode(self._averaged(raw))
        if self.network.person is not None:
            return keypoints, scores, self.network.person(raw[0])
        return (
            keypoints,
            scores,
            tf.clip_by_value(tf.reduce_mean(scores, axis=1) - self.codec.empty_score, 0.0, 1.0),
        )

    def __call__(self, crops) -> tuple[tf.Tensor, tf.Tensor]:
        """crops: (N, H, W, 3) uint8 BGR -> keypoints (N, K, 2), x, y in crop pixels, and scores (N, K)."""
        return self.predict(crops)
