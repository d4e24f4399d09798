"""What BlazePose learns: labelled joints from the labels, everything else from what the shipped network says."""

from __future__ import annotations

import tensorflow as tf

from tfcpn.codecs.landmarks import NAMES, LandmarkTargets
from tfcpn.networks.blazepose_model import BlazePoseOutputs
from tfcpn.networks.blazepose_table import HEATMAP_SIZE, INPUT_SIZE
from tfcpn.skeleton import ALIGN_POINTS

# In heatmap cells, as the shipped network's own peaks are: at 1, 2 and 3 cells from the middle they have .85, .45 and
# .15 of their height (measured on LSP Extended).
LABEL_SIGMA = 1.7
OCCLUDED, VISIBLE = 1.0, 2.0
# Alignment points are nowhere to be seen, so labels say nothing about their visibility.
_SEEN = len(NAMES) - len(ALIGN_POINTS)


def _mean(values, weights) -> tf.Tensor:
    """The mean of values by weights of the same shape; 0 if all weights are."""
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), tf.reduce_sum(weights))


def _cross_entropy(logits, probabilities) -> tf.Tensor:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=probabilities, logits=logits)


def distance(landmarks, xy, weights) -> tf.Tensor:
    """The mean L1 distance of x and y, in parts of the crop's side, over landmarks by their weights (N, L)."""
    return _mean(tf.reduce_sum(tf.abs(landmarks[..., :2] - xy), axis=-1) / (2 * INPUT_SIZE[0]), weights)


def label_heatmaps(targets: LandmarkTargets) -> tf.Tensor:
    """Gaussians of height 1 about the joints: (N, 64, 64, L). A joint lies at a quarter of its crop pixel, as the
    shipped network has it.
    """
    cells = targets.xy * (HEATMAP_SIZE[0] / INPUT_SIZE[0])
    lines = [
        tf.exp(-((tf.range(float(size))[None, None] - cells[..., axis, None]) ** 2) / (2 * LABEL_SIGMA**2))
        for axis, size in ((0, HEATMAP_SIZE[1]), (1, HEATMAP_SIZE[0]))
    ]
    return tf.einsum("nlh,nlw->nhwl", lines[1], lines[0])


def labelled_losses(outputs: BlazePoseOutputs, targets: LandmarkTargets) -> dict[str, tf.Tensor]:
    """Means over labelled joints: "landmarks", the L1 distance in parts of the crop; "visibility" and "heatmaps",
    cross entropies.
    """
    labelled = tf.cast(targets.visibility > 0, tf.float32)
    visible = tf.cast(targets.visibility >= VISIBLE, tf.float32)[:, :_SEEN]
    maps = tf.reduce_mean(_cross_entropy(outputs.heatmaps, label_heatmaps(targets)), axis=(1, 2))
    return {
        "landmarks": distance(outputs.landmarks, targets.xy, labelled),
        "visibility": _mean(_cross_entropy(outputs.landmarks[:, :_SEEN, 3], visible), labelled[:, :_SEEN]),
        "heatmaps": _mean(maps, labelled),
    }


def held_loss(outputs: BlazePoseOutputs, shipped: BlazePoseOutputs, targets: LandmarkTargets) -> tf.Tensor:
    """How far the network is from the shipped one's word on the same crops where labels say nothing.

    The sum of: the distance of landmarks that are not labelled, and of every z, in parts of the crop; differences of
    the probabilities of visibility (where not labelled), of presence, of a person and of the mask; cross entropy, less
    what cannot be avoided, of heatmaps that are not labelled; the distance of world landmarks in metres.
    """
    free = tf.cast(targets.visibility <= 0, tf.float32)
    ours, theirs = outputs.landmarks, shipped.landmarks
    seen = tf.abs(tf.sigmoid(ours[..., 3]) - tf.sigmoid(theirs[..., 3]))
    certain = tf.sigmoid(shipped.heatmaps)
    maps = _cross_entropy(outputs.heatmaps, certain) - _cross_entropy(shipped.heatmaps, certain)
    parts = [
        distance(ours, theirs[..., :2], free),
        tf.reduce_mean(tf.abs(ours[..., 2] - theirs[..., 2])) / INPUT_SIZE[0],
        _mean(seen, free),
        tf.reduce_mean(tf.abs(tf.sigmoid(ours[..., 4]) - tf.sigmoid(theirs[..., 4]))),
        tf.reduce_mean(tf.abs(tf.sigmoid(outputs.person) - tf.sigmoid(shipped.person))),
        tf.reduce_mean(tf.abs(tf.sigmoid(outputs.mask) - tf.sigmoid(shipped.mask))),
        _mean(tf.reduce_mean(maps, axis=(1, 2)), free),
        tf.reduce_mean(tf.abs(outputs.world - shipped.world)),
    ]
    return tf.add_n(parts)
