"""Heatmap codec: label maps for training, peaks of predicted maps for results."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.codecs.decoders import build_peak_finder
from tfcpn.codecs.gaussian import blur_matrix
from tfcpn.transforms.normalize import flip_horizontal


class HeatmapTargets(NamedTuple):
    """Targets of the heatmap losses.

    Attributes:
        maps: One (N, h, w, K) float32 label map for each kernel.
        visibility: (N, K) as given to `Codec.encode`.
    """

    maps: tuple
    visibility: tf.Tensor


class HeatmapCodec:
    """Label maps at several widths, and decoding of predicted maps."""

    # As in tf-cpn, an empty map scores one half.
    empty_score = 0.5
    missing_keypoints = ()

    def __init__(
        self, input_size, heatmap_size, kernels, scale: float, flip_indices, decoder: str = "tf_cpn"
    ):
        """Create the codec.

        Args:
            input_size: (height, width) of the crops.
            heatmap_size: (height, width) of the maps.
            kernels: Gaussian sizes of the label maps in heatmap pixels, one for each labeled
            output.
            scale: Peak of a label.
            flip_indices: The keypoint that each of the K keypoints becomes in a mirror image.
            decoder: One of `decoders.DECODERS`.
        """
        self.input_size = tuple(input_size)
        self.heatmap_size = tuple(heatmap_size)
        self.kernels = tuple(kernels)
        self.scale = float(scale)
        self.flip_indices = list(flip_indices)
        height, width = self.heatmap_size
        # The blur of a single 1 is separable: a label map is the outer product of two such columns.
        self._label_columns = []
        for size in self.kernels:
            columns = []
            for length in (height, width):
                matrix = blur_matrix(length, size)
                columns.append((matrix / matrix.max(axis=0)).T.astype(np.float32))
            self._label_columns.append(columns)
        self._peaks = build_peak_finder(decoder, self.heatmap_size, min(self.kernels))

    def encode(self, keypoints, visibility) -> HeatmapTargets:
        """Encode keypoints as label maps.

        The peak is `scale` at the pixel that contains the keypoint (truncated, not rounded),
        visible or not. A keypoint with a negative coordinate gets an all-zero map; others are
        clamped into the crop.

        Args:
            keypoints: (N, K, 2) x, y in crop pixels.
            visibility: (N, K), passed on to the losses.

        Returns:
            One (N, h, w, K) float32 map for each kernel.
        """
        height, width = self.input_size
        x, y = keypoints[..., 0], keypoints[..., 1]
        labeled = tf.cast((x >= 0) & (y >= 0), tf.float32)[..., None]
        x = tf.clip_by_value(x, 0, width - 1) * (self.heatmap_size[1] / width)
        y = tf.clip_by_value(y, 0, height - 1) * (self.heatmap_size[0] / height)
        maps = []
        for number in range(len(self.kernels)):
            vertical, horizontal = self._columns(number, 0, y), self._columns(number, 1, x)
            maps.append(tf.einsum("nkh,nkw->nhwk", vertical * (labeled * self.scale), horizontal))
        return HeatmapTargets(tuple(maps), visibility)

    def _columns(self, number: int, axis: int, place) -> tf.Tensor:
        """Return one axis of the label maps of a kernel.

        Args:
            number: Index of the kernel.
            axis: 0 for rows, 1 for columns.
            place: (N, K) positions of the keypoints in heatmap pixels.

        Returns:
            (N, K, length) with 1 at the keypoint.
        """
        return tf.gather(self._label_columns[number][axis], tf.cast(place, tf.int32))

    def flip(self, heatmaps) -> tf.Tensor:
        """Convert heatmaps of mirrored crops: flipped, left and right keypoints swapped.

        Args:
            heatmaps: (N, h, w, K).
        """
        # Swapping whole maps is faster than swapping single numbers.
        maps = tf.transpose(flip_horizontal(heatmaps), (0, 3, 1, 2))
        return tf.transpose(tf.gather(maps, self.flip_indices, axis=1), (0, 2, 3, 1))

    def decode(self, heatmaps) -> tuple[tf.Tensor, tf.Tensor]:
        """Decode heatmaps.

        The score is the unblurred map at the peak, over the scale, plus one half, as in tf-cpn. It
        is never NaN for finite maps.

        Args:
            heatmaps: (N, h, w, K).

        Returns:
            Keypoints (N, K, 2) as x, y in crop pixels, and scores (N, K), both float32.
        """
        height, width = self.heatmap_size
        maps = tf.transpose(tf.cast(heatmaps, tf.float32), (0, 3, 1, 2))
        x, y = self._peaks(maps)
        x = tf.clip_by_value(x, 0, width - 1)
        y = tf.clip_by_value(y, 0, height - 1)

        # tf.round rounds halves to even, as numpy's round does.
        nearest = tf.cast(tf.round(y), tf.int32) * width + tf.cast(tf.round(x), tf.int32)
        values = tf.gather(
            tf.reshape(maps, (-1, maps.shape[1], height * width)), nearest, axis=2, batch_dims=2
        )
        stride_x, stride_y = self.input_size[1] / width, self.input_size[0] / height
        keypoints = tf.stack([x * stride_x + stride_x / 2, y * stride_y + stride_y / 2], axis=-1)
        return keypoints, values / self.scale + self.empty_score
