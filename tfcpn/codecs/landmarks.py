"""Landmark codec: keypoints of any skeleton as BlazePose's landmarks, by name."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfcpn.skeleton import ALIGN_POINTS, MEDIAPIPE, Skeleton
from tfcpn.utils.errors import InputError

# The network's named landmarks; four unnamed ones follow.
LANDMARK_NAMES = (*MEDIAPIPE.keypoints, *ALIGN_POINTS)
UNLABELED_XY = -1.0  # as in views, see `augmentation.single_view`
# MediaPipe's heatmap refinement: radius of the window in cells, and the minimum peak in it.
REFINE_RADIUS = 3
MIN_REFINE_PEAK = 0.5


class LandmarkTargets(NamedTuple):
    """Targets by landmark.

    Attributes:
        xy: (N, L, 2) float32 x, y in crop pixels; `UNLABELED_XY` for unlabeled landmarks, except
            those that are labeled outside the crop.
        visibility: (N, L) 0 for unlabeled, 1 for occluded, 2 for visible landmarks.
    """

    xy: tf.Tensor
    visibility: tf.Tensor


class Landmarks(NamedTuple):
    """The outputs that keypoints are decoded from.

    Attributes:
        landmarks: (N, L, 5).
        heatmaps: (N, h, w, L) logits.
    """

    landmarks: tf.Tensor
    heatmaps: tf.Tensor


class LandmarkCodec:
    """Keypoints of a skeleton in the order of the network's landmarks, and back."""

    empty_score = 0.0

    def __init__(
        self,
        skeleton: Skeleton,
        count: int,
        width: int,
        refine: bool = False,
        corner_to_corner: bool = False,
    ):
        """Create the codec.

        Args:
            skeleton: Its K keypoints.
            count: Number of landmarks L.
            width: Width of the crop in pixels.
            refine: Move keypoints to the mean of their heatmap's window, as MediaPipe's graph does.
            corner_to_corner: See `CropSpec`: a coordinate is the index of a pixel.

        Raises:
            InputError: If no keypoint is a landmark.
        """
        self.count, self.width, self.refine = count, width, refine
        self.last = width - 1 if corner_to_corner else width
        self.landmark_indices = [
            LANDMARK_NAMES.index(keypoint) if keypoint in LANDMARK_NAMES else -1
            for keypoint in skeleton.keypoints
        ]
        if max(self.landmark_indices[: skeleton.num_annotated]) < 0:
            raise InputError(
                f"the keypoints {skeleton.name!r} ({', '.join(skeleton.keypoints)}) are none of "
                f"BlazePose's: expected some of {', '.join(MEDIAPIPE.keypoints)}"
            )
        self.missing_keypoints = tuple(
            number for number, index in enumerate(self.landmark_indices) if index < 0
        )
        # The keypoint of each landmark; K for none.
        self._keypoints = [
            self.landmark_indices.index(n) if n in self.landmark_indices else skeleton.num_keypoints
            for n in range(count)
        ]
        self.flip_indices = MEDIAPIPE.flip_indices + list(range(MEDIAPIPE.num_keypoints, count))

    def encode(self, keypoints, visibility) -> LandmarkTargets:
        """Sort keypoints by landmark.

        Args:
            keypoints: (N, K, 2) x, y in crop pixels.
            visibility: (N, K).
        """
        missing = tf.fill(tf.shape(keypoints[:, :1]), tf.constant(UNLABELED_XY, keypoints.dtype))
        keypoints = tf.concat([keypoints, missing], axis=1)
        visibility = tf.concat([visibility, tf.zeros_like(visibility[:, :1])], axis=1)
        return LandmarkTargets(
            tf.gather(keypoints, self._keypoints, axis=1),
            tf.gather(visibility, self._keypoints, axis=1),
        )

    def flip(self, outputs: Landmarks) -> Landmarks:
        """Convert outputs for mirrored crops: left and right swapped, x counted from the right."""
        landmarks = tf.gather(outputs.landmarks, self.flip_indices, axis=1)
        landmarks = tf.concat([self.last - landmarks[..., :1], landmarks[..., 1:]], axis=-1)
        heatmaps = tf.reverse(tf.gather(outputs.heatmaps, self.flip_indices, axis=3), axis=[2])
        # The peak of x is in column x / 4, so column i becomes 64 - i; the first one is repeated.
        heatmaps = tf.concat([heatmaps[:, :, :1], heatmaps[:, :, :-1]], axis=2)
        return Landmarks(landmarks, heatmaps)

    def decode(self, outputs: Landmarks) -> tuple[tf.Tensor, tf.Tensor]:
        """Decode landmarks.

        Returns:
            Keypoints (N, K, 2) as x, y in crop pixels, and scores (N, K): the predicted visibility
            from 0 to 1. Keypoints that the network does not have lie at 0, 0 and score 0.
        """
        landmarks = tf.cast(outputs.landmarks, tf.float32)
        xy, scores = landmarks[..., :2], tf.sigmoid(landmarks[..., 3])
        if self.refine:
            xy = refine_by_heatmap(xy, tf.cast(outputs.heatmaps, tf.float32), self.width)
        zero = tf.zeros_like(scores[:, :1])
        xy = tf.concat([xy, tf.zeros_like(xy[:, :1])], axis=1)
        landmark_indices = [index if index >= 0 else self.count for index in self.landmark_indices]
        return tf.gather(xy, landmark_indices, axis=1), tf.gather(
            tf.concat([scores, zero], axis=1), landmark_indices, axis=1
        )


def refine_by_heatmap(xy, heatmaps, width: int) -> tf.Tensor:
    """Move landmarks to the mean of their heatmap in a window of 7 x 7 cells.

    MediaPipe's rule: a landmark outside the crop, or without a cell of at least .5 in its window,
    stays. A cell counts by its column and row, not by its center.

    Args:
        xy: (N, L, 2) in crop pixels.
        heatmaps: (N, h, w, L) logits.
        width: Width of the crop in pixels.

    Returns:
        (N, L, 2) in crop pixels.
    """
    cells = tf.constant([heatmaps.shape[2], heatmaps.shape[1]], tf.float32)
    middle = tf.floor(xy / width * cells)
    inside = tf.reduce_all((middle >= 0) & (middle < cells), axis=-1)
    confidence = tf.transpose(tf.sigmoid(heatmaps), (0, 3, 1, 2))
    within = [
        tf.abs(tf.range(cells[axis])[None, None] - middle[..., axis, None]) <= REFINE_RADIUS
        for axis in (0, 1)
    ]
    window = tf.where(within[1][..., :, None] & within[0][..., None, :], confidence, 0.0)
    total = tf.reduce_sum(window, axis=(2, 3))
    column = tf.reduce_sum(window * tf.range(cells[0]), axis=(2, 3))
    row = tf.reduce_sum(window * tf.range(cells[1])[:, None], axis=(2, 3))
    mean = tf.math.divide_no_nan(tf.stack([column, row], axis=-1), total[..., None]) * (
        width / cells
    )
    confident = inside & (tf.reduce_max(window, axis=(2, 3)) >= MIN_REFINE_PEAK)
    return tf.where(confident[..., None], mean, xy)
