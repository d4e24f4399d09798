"""What every codec can do. One joins by having these three methods; nothing is inherited."""

from __future__ import annotations

from typing import Any, Protocol

import tensorflow as tf


class Codec(Protocol):
    """The way between keypoints in a crop and what a network puts out. (N, K) stands for N crops of K keypoints.

    empty_score: what `decode` gives a keypoint for which nothing in the outputs speaks. absent: numbers of the keypoints
    that the network does not have at all; what `decode` says of them means nothing.
    """

    empty_score: float
    missing_keypoints: tuple[int, ...]

    def encode(self, keypoints, visibility) -> Any:
        """Keypoints (N, K, 2) as (x, y) in crop pixels and their visibility (N, K) -> what the losses compare with."""

    def flip(self, outputs) -> Any:
        """Outputs for mirror images -> outputs for the crops, so that the two can be averaged."""

    def decode(self, outputs) -> tuple[tf.Tensor, tf.Tensor]:
        """Outputs -> keypoints (N, K, 2) as (x, y) in crop pixels, and scores (N, K)."""
