"""The interface of codecs. A codec only needs these methods; nothing is inherited."""

from __future__ import annotations

from typing import Any, Protocol

import tensorflow as tf


class Codec(Protocol):
    """Conversion between keypoints in a crop and network outputs, for N crops of K keypoints.

    Attributes:
        empty_score: Score that `decode` returns for an all-zero output.
        missing_keypoints: Indices of keypoints that the network does not predict; what `decode`
            returns for them is meaningless.
    """

    empty_score: float
    missing_keypoints: tuple[int, ...]

    def encode(self, keypoints, visibility) -> Any:
        """Encode training targets for the losses.

        Args:
            keypoints: (N, K, 2) x, y in crop pixels.
            visibility: (N, K) 0 unlabeled, 2 visible, between them occluded.
        """

    def flip(self, outputs) -> Any:
        """Convert outputs for mirrored crops to outputs for the crops, for averaging."""

    def decode(self, outputs) -> tuple[tf.Tensor, tf.Tensor]:
        """Decode outputs.

        Returns:
            Keypoints (N, K, 2) as x, y in crop pixels, and scores (N, K).
        """
