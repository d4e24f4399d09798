"""What BlazePose learns: labeled keypoints from the labels, everything else from what the shipped network says."""

from __future__ import annotations

import tensorflow as tf

from tfcpn.codecs.landmarks import NAMES, LandmarkTargets
from tfcpn.networks.blazepose_model import BlazePoseOutputs
from tfcpn.networks.blazepose_table import HEATMAP_SIZE, INPUT_SIZE
from tfcpn.skeleton import ALIGN_POINTS

# In heatmap cells, as the shipped network's own peaks are: at 1, 2 and 3 cells from the middle they have .85, .45 and
# .15 of their height (measured on LSP Extended).
LABEL_SIGMA = 1.7
VISIBLE = 2.0
# Differences of z (in parts of the crop) and of world landmarks (in meters) that count less than in proportion.
HUBER_SCALE = 0.05
# So that the gradient of none of them is greater than that of the labeled keypoints' distance: the raw ones of z, of
# visibility and of a person's being there are up to ten times as large (docs/blazepose.md).
DISTILLATION_WEIGHTS = {
    "xy": 1.0,
    "z": 0.3,
    "visibility": 0.1,
    "presence": 0.1,
    "person": 0.03,
    "mask": 2.0,
}
DISTILLATION_WEIGHTS |= {"heatmaps": 20.0, "world": 0.3}
# Alignment points are nowhere to be seen, so labels say nothing about their visibility.
_SEEN = len(NAMES) - len(ALIGN_POINTS)


def _mean(values, weights) -> tf.Tensor:
    """The mean of values by weights of the same shape; 0 if all weights are."""
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), tf.reduce_sum(weights))


def _cross_entropy(logits, probabilities) -> tf.Tensor:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=probabilities, logits=logits)


def distance(landmarks, xy, weights) -> tf.Tensor:
    """The mean L1 distance of x and y, in parts of the crop's side, over landmarks by their weights (N, L)."""
    return _mean(
        tf.reduce_sum(tf.abs(landmarks[..., :2] - xy), axis=-1) / (2 * INPUT_SIZE[0]), weights
    )


def label_heatmaps(targets: LandmarkTargets) -> tf.Tensor:
    """Gaussians of height 1 about the keypoints: (N, 64, 64, L). A keypoint lies at a quarter of its crop pixel, as the
    shipped network has it.
    """
    cells = targets.xy * (HEATMAP_SIZE[0] / INPUT_SIZE[0])
    lines = [
        tf.exp(
            -((tf.range(float(size))[None, None] - cells[..., axis, None]) ** 2)
            / (2 * LABEL_SIGMA**2)
        )
        for axis, size in ((0, HEATMAP_SIZE[1]), (1, HEATMAP_SIZE[0]))
    ]
    return tf.einsum("nlh,nlw->nhwl", lines[1], lines[0])


def _visibility_mask(visibility) -> tf.Tensor:
    """Which labels (N, L) say whether a keypoint is seen: float32. Without one occluded keypoint in the batch none does,
    since such sets leave out what is not seen, and a network learns from them that everything is.
    """
    labeled = tf.cast(visibility > 0, tf.float32)
    occluded = tf.reduce_any((visibility > 0) & (visibility < VISIBLE))
    seen = tf.cast(tf.range(visibility.shape[1]) < _SEEN, tf.float32)
    return labeled * seen * tf.cast(occluded, tf.float32)


def labeled_losses(outputs: BlazePoseOutputs, targets: LandmarkTargets) -> dict[str, tf.Tensor]:
    """Means over labeled keypoints: "landmarks", the L1 distance in parts of the crop; "visibility", where labels tell
    it, and "heatmaps", cross entropies.
    """
    labeled = tf.cast(targets.visibility > 0, tf.float32)
    visible = tf.cast(targets.visibility >= VISIBLE, tf.float32)
    maps = tf.reduce_mean(_cross_entropy(outputs.heatmaps, label_heatmaps(targets)), axis=(1, 2))
    return {
        "landmarks": distance(outputs.landmarks, targets.xy, labeled),
        "visibility": _mean(
            _cross_entropy(outputs.landmarks[..., 3], visible), _visibility_mask(targets.visibility)
        ),
        "heatmaps": _mean(maps, labeled),
    }


def _divergence(logits, their_logits) -> tf.Tensor:
    """Kullback-Leibler divergence of Bernoulli distributions: 0 where they agree, and flat there."""
    theirs = tf.sigmoid(their_logits)
    return _cross_entropy(logits, theirs) - _cross_entropy(their_logits, theirs)


def _near(difference, scale: float) -> tf.Tensor:
    """The pseudo-Huber distance: |difference| where it is greater than scale, its square where it is less."""
    return scale * (tf.sqrt(1 + (difference / scale) ** 2) - 1)


def distillation_terms(
    outputs: BlazePoseOutputs, teacher: BlazePoseOutputs, targets: LandmarkTargets
) -> dict[str, tf.Tensor]:
    """How far the network is from the shipped one's word on the same crops where labels say nothing, by its subject.

    Landmarks that are not labeled ("xy") and every "z", in parts of the crop; "visibility" where labels do not tell
    it, "presence", "person", "mask" and the "heatmaps" that are not labeled, divergences; "world" in meters.
    """
    free = tf.cast(targets.visibility <= 0, tf.float32)
    ours, theirs = outputs.landmarks, teacher.landmarks
    maps = tf.reduce_mean(_divergence(outputs.heatmaps, teacher.heatmaps), axis=(1, 2))
    return {
        "xy": distance(ours, theirs[..., :2], free),
        "z": tf.reduce_mean(_near((ours[..., 2] - theirs[..., 2]) / INPUT_SIZE[0], HUBER_SCALE)),
        "visibility": _mean(
            _divergence(ours[..., 3], theirs[..., 3]), 1 - _visibility_mask(targets.visibility)
        ),
        "presence": tf.reduce_mean(_divergence(ours[..., 4], theirs[..., 4])),
        "person": tf.reduce_mean(_divergence(outputs.person, teacher.person)),
        "mask": tf.reduce_mean(_divergence(outputs.mask, teacher.mask)),
        "heatmaps": _mean(maps, free),
        "world": tf.reduce_mean(_near(outputs.world - teacher.world, HUBER_SCALE)),
    }


def distillation_loss(
    outputs: BlazePoseOutputs, teacher: BlazePoseOutputs, targets: LandmarkTargets
) -> tf.Tensor:
    """The sum of `held_parts` by HELD_WEIGHTS."""
    parts = distillation_terms(outputs, teacher, targets)
    return tf.add_n([DISTILLATION_WEIGHTS[name] * part for name, part in parts.items()])
