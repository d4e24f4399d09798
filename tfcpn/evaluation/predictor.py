"""Crops to keypoints: a network with its flip test and decoder, compiled as one function."""

from __future__ import annotations

import tensorflow as tf

from tfcpn.codecs.codec import Codec
from tfcpn.models.batchnorm_folding import FoldedModel
from tfcpn.models.model import Network
from tfcpn.transforms.cropping import CropSpec
from tfcpn.transforms.normalize import flip_horizontal, normalize


class Predictor:
    """Predicts the keypoints of crops.

    With several replicas, crops and keypoints are per replica.
    """

    def __init__(
        self,
        model: tf.keras.Model,
        network: Network,
        codec: Codec,
        crop_spec: CropSpec,
        *,
        flip_test: bool = True,
        strategy: tf.distribute.Strategy | None = None,
        fold: bool = False,
        single_batch_flip: bool = False,
    ):
        """Create the predictor.

        Args:
            model: The model.
            network: Its preprocessing and outputs.
            codec: The codec of its training targets.
            crop_spec: What crops look like.
            flip_test: Average the outputs with those of mirrored crops.
            strategy: The strategy of the model.
            fold: Predict with batch norms folded into convolutions: equal up to rounding, and
                faster. Call `refresh_weights` after training the model.
            single_batch_flip: Put mirrored crops into one batch with the crops, so that the network
                is in the graph once, as in an exported file. Two batches are faster for many crops.
        """
        self.model, self.network, self.codec, self.crop_spec = model, network, codec, crop_spec
        self.flip_test, self.single_batch_flip = flip_test, single_batch_flip
        self.strategy = strategy or tf.distribute.get_strategy()
        self._folded = None
        if fold:
            with self.strategy.scope():
                self._folded = FoldedModel(model, network.build_for_inference)
        if self.strategy.num_replicas_in_sync == 1:
            spec = tf.TensorSpec((None, *crop_spec.size, 3), tf.uint8)
            self.predict = tf.function(self._predict, input_signature=[spec])
        else:
            self.predict = tf.function(
                lambda crops: self.strategy.run(self._predict, args=(crops,))
            )

    def __call__(self, crops) -> tuple[tf.Tensor, tf.Tensor]:
        """Predict keypoints.

        Args:
            crops: (N, H, W, 3) uint8 BGR.

        Returns:
            Keypoints (N, K, 2) x, y in crop pixels, and scores (N, K).
        """
        return self.predict(crops)

    def predict_with_presence(self, crops) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Predict keypoints and whether there is a person.

        Args:
            crops: (N, H, W, 3) uint8 BGR.

        Returns:
            Keypoints (N, K, 2) x, y in crop pixels, scores (N, K) and presence scores (N,)
            from 0 to 1: the network's own, or its mean peak.
        """
        return self._decode_with_presence(self._forward(crops))

    def predict_spatial(self, crops) -> tuple[tf.Tensor, ...]:
        """Predict what `predict_with_presence` does, and landmarks with depth.

        Args:
            crops: (N, H, W, 3) uint8 BGR.

        Returns:
            Those three, and those of `Network.spatial_landmarks`, not averaged with mirrored crops.
        """
        outputs = self._forward(crops)
        spatial = self.network.spatial_landmarks(outputs[0])
        return (*self._decode_with_presence(outputs), *spatial)

    def _decode_with_presence(self, outputs: list) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        keypoints, scores = self.codec.decode(self._average(outputs))
        if self.network.presence_score is not None:
            return keypoints, scores, self.network.presence_score(outputs[0])
        mean_peak = tf.reduce_mean(scores, axis=1) - self.codec.empty_score
        return keypoints, scores, tf.clip_by_value(mean_peak, 0.0, 1.0)

    def outputs(self, crops):
        """Return what the codec decodes, averaged with that of mirrored crops if asked.

        Args:
            crops: (N, H, W, 3) uint8 BGR.
        """
        return self._average(self._forward(crops))

    def refresh_weights(self) -> Predictor:
        """Predict with the model's current weights from now on; returns itself."""
        if self._folded:
            self._folded.sync_weights()
        return self

    def _forward(self, crops) -> list:
        """Return the network's outputs for crops and, with flip test, for mirrored crops."""
        model = self._folded.model if self._folded else self.model
        if self.flip_test and self.single_batch_flip:
            # Flipping and joining bytes is faster than doing so after normalization.
            both = tf.concat([crops, flip_horizontal(crops)], axis=0)
            outputs = model(normalize(both, self.network.preprocessing), training=False)
            return [
                tf.nest.map_structure(lambda t, i=i: tf.split(t, 2, axis=0)[i], outputs)
                for i in range(2)
            ]
        images = normalize(crops, self.network.preprocessing)
        batches = [images, flip_horizontal(images)] if self.flip_test else [images]
        return [model(batch, training=False) for batch in batches]

    def _average(self, outputs: list):
        result, *mirrored = map(self.network.prediction, outputs)
        for other in mirrored:
            other = self.codec.flip(other)
            result = tf.nest.map_structure(lambda a, b: (a + b) / 2, result, other)
        return result

    def _predict(self, crops):
        return self.codec.decode(self.outputs(crops))
