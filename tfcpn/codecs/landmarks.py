"""Keypoints <-> BlazePose's landmarks: keypoints of any set by their names, coordinates as the network puts them out."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.skeleton import ALIGN_POINTS, MEDIAPIPE, Skeleton

# What the network calls its landmarks; behind these come four that nobody names.
NAMES = (*MEDIAPIPE.keypoints, *ALIGN_POINTS)
# MediaPipe's heatmap refinement: cells that the window reaches from its middle, and the least peak in it.
REFINE_RADIUS = 3
MIN_REFINE_PEAK = 0.5


class LandmarkTargets(NamedTuple):
    """xy: (N, L, 2) float32, x and y in crop pixels, of keypoints that are not labeled without meaning. visibility:
    (N, L), 0 for those, else 1 (occluded) or 2.
    """

    xy: tf.Tensor
    visibility: tf.Tensor


class Landmarks(NamedTuple):
    """Of a network's outputs what keypoints are made of. landmarks: (N, L, 5). heatmaps: (N, h, w, L) logits."""

    landmarks: tf.Tensor
    heatmaps: tf.Tensor


class LandmarkCodec:
    """Keypoints of a skeleton in the places of the network's landmarks, and back.

    skeleton: its keypoints, K. count: of landmarks, L. width: of the crop in pixels. refine: whether a keypoint moves to
    the mean of its heatmap's window, as in MediaPipe's graph. Raises InputError if no keypoint is a landmark.
    """

    empty_score = 0.0

    def __init__(self, skeleton: Skeleton, count: int, width: int, refine: bool = False):
        self.count, self.width, self.refine = count, width, refine
        self.places = [
            NAMES.index(keypoint) if keypoint in NAMES else -1 for keypoint in skeleton.keypoints
        ]
        if max(self.places[: skeleton.num_annotated]) < 0:
            raise InputError(
                f"the keypoints {skeleton.name!r} ({', '.join(skeleton.keypoints)}) are none of BlazePose's: want some of "
                f"{', '.join(MEDIAPIPE.keypoints)}"
            )
        self.missing_keypoints = tuple(
            number for number, place in enumerate(self.places) if place < 0
        )
        # The keypoint that stands for each landmark; K for none.
        self._keypoints = [
            self.places.index(n) if n in self.places else skeleton.count for n in range(count)
        ]
        self.mirror = MEDIAPIPE.mirror + list(range(MEDIAPIPE.count, count))

    def encode(self, keypoints, visibility) -> LandmarkTargets:
        """Keypoints (N, K, 2) as (x, y) in crop pixels and their visibility (N, K) -> by landmark."""
        keypoints = tf.concat([keypoints, tf.zeros_like(keypoints[:, :1])], axis=1)
        visibility = tf.concat([visibility, tf.zeros_like(visibility[:, :1])], axis=1)
        return LandmarkTargets(
            tf.gather(keypoints, self._keypoints, axis=1),
            tf.gather(visibility, self._keypoints, axis=1),
        )

    def flip(self, outputs: Landmarks) -> Landmarks:
        """Outputs for mirror images -> those for the crops: left and right trade places, x counts from the right."""
        landmarks = tf.gather(outputs.landmarks, self.mirror, axis=1)
        landmarks = tf.concat([self.width - landmarks[..., :1], landmarks[..., 1:]], axis=-1)
        heatmaps = tf.reverse(tf.gather(outputs.heatmaps, self.mirror, axis=3), axis=[2])
        # A keypoint at x has its peak at column x / 4, so column i becomes column 64 - i; the first one is repeated.
        heatmaps = tf.concat([heatmaps[:, :, :1], heatmaps[:, :, :-1]], axis=2)
        return Landmarks(landmarks, heatmaps)

    def decode(self, outputs: Landmarks) -> tuple[tf.Tensor, tf.Tensor]:
        """Keypoints (N, K, 2) as (x, y) in crop pixels, and scores (N, K): how visible the network thinks they are, 0 to
        1. A keypoint that the network does not have lies at 0, 0 and scores 0.
        """
        landmarks = tf.cast(outputs.landmarks, tf.float32)
        xy, scores = landmarks[..., :2], tf.sigmoid(landmarks[..., 3])
        if self.refine:
            xy = refine_by_heatmap(xy, tf.cast(outputs.heatmaps, tf.float32), self.width)
        nothing = tf.zeros_like(scores[:, :1])
        xy = tf.concat([xy, tf.zeros_like(xy[:, :1])], axis=1)
        places = [place if place >= 0 else self.count for place in self.places]
        return tf.gather(xy, places, axis=1), tf.gather(
            tf.concat([scores, nothing], axis=1), places, axis=1
        )


def refine_by_heatmap(xy, heatmaps, width: int) -> tf.Tensor:
    """Landmarks moved to the mean of their heatmap in a window of 7 x 7 cells about them.

    MediaPipe's rule: a landmark outside the crop, or with no cell of at least .5 in its window, stays; a cell counts
    by its column and row, not by its middle. xy: (N, L, 2) in crop pixels. heatmaps: (N, h, w, L) logits.
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
    sure = inside & (tf.reduce_max(window, axis=(2, 3)) >= MIN_REFINE_PEAK)
    return tf.where(sure[..., None], mean, xy)
