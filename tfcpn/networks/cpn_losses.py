"""The data losses of the Cascaded Pyramid Network: global, and refine with hard keypoint mining."""

from __future__ import annotations

import tensorflow as tf

HARD_KEYPOINTS = 8
# Thresholds on COCO's visibility (0 not labeled, 1 occluded, 2 visible), as tf-cpn writes them.
VISIBLE = 1.1
LABELED = 0.1


def global_loss(outputs, labels, visibility) -> tf.Tensor:
    """Half the mean squared error, averaged over the pyramid's levels.

    outputs: four (N, h, w, K) maps, finest level first. labels: four (N, h, w, K) maps, widest Gaussian first:
    the finest output gets the widest label, a reversal that tf-cpn kept and that this port keeps.
    visibility: (N, K). The label of a keypoint that is not visible is zero, so an occluded keypoint is trained away.
    """
    mask = tf.cast(visibility > VISIBLE, outputs[0].dtype)[:, None, None, :]
    levels = [tf.reduce_mean(tf.square(o - label * mask)) for o, label in zip(outputs, labels)]
    return tf.add_n(levels) / len(levels) / 2


def refine_loss(output, label, visibility, hard_keypoints: int = HARD_KEYPOINTS) -> tf.Tensor:
    """Mean squared error over the hardest, tf-cpn's 8, of a crop's labeled keypoints (online hard keypoint mining).

    output, label: (N, h, w, K). visibility: (N, K); a keypoint that is not labeled counts as error 0. With fewer
    keypoints all of them count.
    """
    labeled = tf.cast(visibility > LABELED, output.dtype)
    per_keypoint = tf.reduce_mean(tf.square(output - label), axis=(1, 2)) * labeled
    count = min(hard_keypoints, per_keypoint.shape[1])
    hardest = tf.math.top_k(per_keypoint, count, sorted=False).values
    return tf.reduce_mean(tf.reduce_sum(hardest, axis=1) / count)
