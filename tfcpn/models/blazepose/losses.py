"""Losses of BlazePose: labels where there are some, the original model's outputs elsewhere."""

from __future__ import annotations

import tensorflow as tf

from tfcpn.codecs.landmarks import LANDMARK_NAMES, UNLABELED_XY, LandmarkTargets
from tfcpn.models.blazepose.model import BlazePoseOutputs
from tfcpn.models.specs import BLAZEPOSE_HEATMAP_SIZE, BLAZEPOSE_INPUT_SIZE
from tfcpn.skeleton import ALIGN_POINTS

# In heatmap cells, as the original model's peaks: they have .85, .45 and .15 of their height at
# distances of 1, 2 and 3 cells (measured on LSP Extended).
LABEL_SIGMA = 1.7
# COCO's visibility. Keypoints that the augmentation has covered are between the two.
OCCLUDED, VISIBLE = 1.0, 2.0
# Scale of the pseudo-Huber loss of z (in crop sides) and of world landmarks (in meters).
HUBER_SCALE = 0.05
# So that no gradient exceeds that of the labeled keypoints' distance. Unweighted, those of z,
# visibility and presence are up to ten times as large (docs/notes/mediapipe.md).
DISTILLATION_WEIGHTS = {
    "xy": 1.0,
    "z": 0.3,
    "visibility": 0.1,
    "presence": 0.1,
    "person": 0.03,
    "mask": 2.0,
    "heatmaps": 20.0,
    "world": 0.3,
}
# Alignment points are invisible by nature, so labels define no visibility for them.
_NUM_VISIBLE_LANDMARKS = len(LANDMARK_NAMES) - len(ALIGN_POINTS)


def _weighted_mean(values, weights) -> tf.Tensor:
    """Return the weighted mean; 0 if all weights are 0."""
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), tf.reduce_sum(weights))


def _cross_entropy(logits, probabilities) -> tf.Tensor:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=probabilities, logits=logits)


def mean_distance(landmarks, xy, weights) -> tf.Tensor:
    """Return the mean L1 distance of landmarks as a fraction of the crop's side.

    Args:
        landmarks: (N, L, 2 or more) x, y in crop pixels.
        xy: (N, L, 2).
        weights: (N, L).
    """
    distance = tf.reduce_sum(tf.abs(landmarks[..., :2] - xy), axis=-1)
    return _weighted_mean(distance / (2 * BLAZEPOSE_INPUT_SIZE[0]), weights)


def label_heatmaps(targets: LandmarkTargets) -> tf.Tensor:
    """Return Gaussians of height 1, (N, 64, 64, L), at a quarter of the crop coordinates."""
    cells = targets.xy * (BLAZEPOSE_HEATMAP_SIZE[0] / BLAZEPOSE_INPUT_SIZE[0])
    height, width = BLAZEPOSE_HEATMAP_SIZE
    columns, rows = (
        tf.exp(
            -((tf.range(float(size))[None, None] - cells[..., axis, None]) ** 2)
            / (2 * LABEL_SIGMA**2)
        )
        for axis, size in ((0, width), (1, height))
    )
    return tf.einsum("nlh,nlw->nhwl", rows, columns)


def _visibility_mask(visibility) -> tf.Tensor:
    """Return which labels (N, L) define visibility, float32.

    None do in a batch without keypoints labeled as occluded: such datasets leave out what is
    occluded, and a network would learn that everything is visible.
    """
    labeled = tf.cast(visibility > 0, tf.float32)
    has_occluded = tf.reduce_any((visibility > 0) & (visibility <= OCCLUDED))
    can_be_visible = tf.range(visibility.shape[1]) < _NUM_VISIBLE_LANDMARKS
    return labeled * tf.cast(can_be_visible, tf.float32) * tf.cast(has_occluded, tf.float32)


def labeled_losses(outputs: BlazePoseOutputs, targets: LandmarkTargets) -> dict[str, tf.Tensor]:
    """Return means over labeled keypoints.

    Returns:
        "landmarks": L1 distance as a fraction of the crop's side; "visibility", where labels define
        it, and "heatmaps": cross entropies.
    """
    labeled = tf.cast(targets.visibility > 0, tf.float32)
    visible = tf.cast(targets.visibility >= VISIBLE, tf.float32)
    mask = _visibility_mask(targets.visibility)
    maps = _cross_entropy(outputs.heatmaps, label_heatmaps(targets))
    return {
        "landmarks": mean_distance(outputs.landmarks, targets.xy, labeled),
        "visibility": _weighted_mean(_cross_entropy(outputs.landmarks[..., 3], visible), mask),
        "heatmaps": _weighted_mean(tf.reduce_mean(maps, axis=(1, 2)), labeled),
    }


def person_loss(
    outputs: BlazePoseOutputs, targets: LandmarkTargets, has_background: bool
) -> tf.Tensor:
    """Return the mean cross entropy of whether views show a person.

    Args:
        outputs: The outputs.
        targets: The labels.
        has_background: Whether views without keypoints show background. A keypoint that has left
            the view is not missing.
    """
    is_person = tf.ones_like(outputs.person)
    if has_background:
        is_person = tf.reduce_any(targets.xy != UNLABELED_XY, axis=(1, 2))[:, None]
    return tf.reduce_mean(_cross_entropy(outputs.person, tf.cast(is_person, tf.float32)))


def _divergence(logits, teacher_logits) -> tf.Tensor:
    """Return the Kullback-Leibler divergence of Bernoulli distributions: 0 where equal."""
    teacher = tf.sigmoid(teacher_logits)
    return _cross_entropy(logits, teacher) - _cross_entropy(teacher_logits, teacher)


def _pseudo_huber(difference, scale: float) -> tf.Tensor:
    """Return |difference| where it is larger than scale, and its square where it is smaller."""
    return scale * (tf.sqrt(1 + (difference / scale) ** 2) - 1)


def distillation_terms(
    outputs: BlazePoseOutputs, teacher: BlazePoseOutputs, targets: LandmarkTargets
) -> dict[str, tf.Tensor]:
    """Return the distances to the original model's outputs where there are no labels.

    Returns:
        "xy" of unlabeled landmarks and "z" of all, as fractions of the crop's side; "visibility"
        where labels do not define it, "presence", "person", "mask" and "heatmaps" of unlabeled
        landmarks, divergences; "world" in meters.
    """
    unlabeled = tf.cast(targets.visibility <= 0, tf.float32)
    ours, theirs = outputs.landmarks, teacher.landmarks
    maps = tf.reduce_mean(_divergence(outputs.heatmaps, teacher.heatmaps), axis=(1, 2))
    mask = 1 - _visibility_mask(targets.visibility)
    z_error = (ours[..., 2] - theirs[..., 2]) / BLAZEPOSE_INPUT_SIZE[0]
    return {
        "xy": mean_distance(ours, theirs[..., :2], unlabeled),
        "z": tf.reduce_mean(_pseudo_huber(z_error, HUBER_SCALE)),
        "visibility": _weighted_mean(_divergence(ours[..., 3], theirs[..., 3]), mask),
        "presence": tf.reduce_mean(_divergence(ours[..., 4], theirs[..., 4])),
        "person": tf.reduce_mean(_divergence(outputs.person, teacher.person)),
        "mask": tf.reduce_mean(_divergence(outputs.mask, teacher.mask)),
        "heatmaps": _weighted_mean(maps, unlabeled),
        "world": tf.reduce_mean(_pseudo_huber(outputs.world - teacher.world, HUBER_SCALE)),
    }


def distillation_loss(
    outputs: BlazePoseOutputs, teacher: BlazePoseOutputs, targets: LandmarkTargets
) -> tf.Tensor:
    """Return the sum of `distillation_terms` by `DISTILLATION_WEIGHTS`."""
    terms = distillation_terms(outputs, teacher, targets)
    return tf.add_n([DISTILLATION_WEIGHTS[name] * term for name, term in terms.items()])
