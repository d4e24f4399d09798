"""Losses of the detector: annotated people, and elsewhere the original network's predictions."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfcpn.codecs.people import MAX_PEOPLE, PeopleTargets
from tfcpn.models.blazepose.detector import SIZE, anchors

# Anchors that become positive for a person: those that predict best, of those near the face.
POSITIVES = 6
NEAR_FACE, NEAR_PIXELS = 0.75, 14.0  # sides of the face, and at least so many pixels
# Anchors of the finest layer see a small part of the image. They do not learn larger faces, or they
# take parts of a person for people.
FINE_ANCHORS, MAX_FINE_FACE = 2 * (SIZE // 8) ** 2, 56.0
# Mean error of the points, in parts of the body's radius, up to which an anchor near the face may
# find the person, too.
GOOD_POINTS = 0.25
# The original network finds a person, annotated or not, from this score on.
TEACHER_THRESHOLD = 0.5
# Weights of the losses: points, box, what the original says of other people, and its other points.
POINTS_WEIGHT, BOX_WEIGHT, DISTILLATION_WEIGHT, OTHER_POINTS_WEIGHT = 1.0, 0.3, 0.5, 0.1
LOSSES = ("points", "box", "score", "distillation", "other_points")
# Exponents of the focal loss (arXiv 1708.02002) of people and of background.
_FOCUS, _BACKGROUND_FOCUS = 2.0, 1.0
_FAR = 1e9


def detector_losses(
    outputs: Sequence[tf.Tensor],
    targets: PeopleTargets,
    teacher_outputs: Sequence[tf.Tensor],
    *,
    positive_weight: float = 1.0,
) -> dict[str, tf.Tensor]:
    """Return the losses of a batch of N images.

    For each person the anchors near the face that predict the points best are positive. Other
    anchors are negative, unless they are near the face and predict the points well, are within a
    person whose points are unknown, or the original network sees another person there. All anchors
    near the face learn points and box by their scores: those that find the person as well must say
    the same, or non-maximum suppression keeps several detections of one person.

    Args:
        outputs: Boxes and points from the A anchors (N, A, 12), in pixels of the input, and logits
            (N, A, 1).
        targets: The people.
        teacher_outputs: Those of the original network.
        positive_weight: Weight of people over background in the loss of scores.
    """
    (raw, logits), (raw_before, logits_before) = outputs, teacher_outputs
    centers = tf.constant(anchors() * SIZE, tf.float32)  # (A, 2)
    exists = targets.radius > 0  # (N, P)
    radius = tf.where(exists, targets.radius, 1.0)[:, :, None]
    predicted = raw[:, :, 4:8] + tf.tile(centers, (1, 2))  # (N, A, 4)
    distance = tf.abs(predicted[:, None] - targets.points[:, :, None])  # (N, P, A, 4)
    cost = tf.reduce_mean(distance, axis=-1) / radius  # (N, P, A)
    face, side = targets.face[..., :2], tf.maximum(targets.face[..., 2], 1.0)
    from_face = tf.norm(centers[None, None] - face[:, :, None], axis=-1)
    near = from_face <= tf.maximum(NEAR_FACE * side, NEAR_PIXELS)[:, :, None]
    near &= exists[:, :, None]
    is_fine = tf.range(len(anchors())) < FINE_ANCHORS
    near &= ~(is_fine & (side > MAX_FINE_FACE)[:, :, None])
    # An anchor belongs to the person whose face is nearest.
    nearest = tf.argmin(tf.where(near, from_face, _FAR), axis=1)  # (N, A)
    near &= tf.one_hot(nearest, MAX_PEOPLE, True, False, axis=1, dtype=tf.bool)
    ranked = tf.stop_gradient(tf.where(near, cost, _FAR))
    # The few best of many: sorting all takes longer than the rest of the losses.
    worst = -tf.math.top_k(-ranked, POSITIVES).values[..., -1:]
    positive = near & (ranked <= worst)  # (N, P, A)
    mask = tf.cast(positive, tf.float32)
    count = tf.maximum(tf.reduce_sum(mask), 1.0)
    logit = tf.clip_by_value(logits[..., 0], -30.0, 30.0)
    score = tf.sigmoid(logit)
    weight = tf.where(near & ~positive, tf.stop_gradient(score)[:, None], mask)  # (N, P, A)
    total_weight = tf.maximum(tf.reduce_sum(weight), 1.0)

    box = raw[:, :, :2] + centers
    box_error = tf.reduce_mean(tf.abs(box[:, None] - face[:, :, None]), axis=-1)
    box_error += tf.reduce_mean(tf.abs(raw[:, None, :, 2:4] - side[:, :, None, None]), axis=-1)

    low, high = targets.ignored[..., :2], targets.ignored[..., 2:]
    within = tf.reduce_all(
        (centers[None, None] >= low[:, :, None]) & (centers[None, None] <= high[:, :, None]), -1
    )
    before = tf.sigmoid(logits_before[..., 0])
    found_before = (before >= TEACHER_THRESHOLD) & ~tf.reduce_any(near, axis=1)
    finds = tf.reduce_any(positive | (near & (cost <= GOOD_POINTS)), axis=1)
    negative = ~(finds | tf.reduce_any(within, axis=1) | found_before)
    hit = positive_weight * tf.math.softplus(-logit) * (1 - score) ** _FOCUS
    miss = tf.math.softplus(logit) * score**_BACKGROUND_FOCUS
    is_positive = tf.reduce_any(positive, axis=1)
    scores = tf.where(is_positive, hit, 0.0) + tf.where(negative, miss, 0.0)

    # What the original network says of other people, and of the points without labels.
    weight_before = tf.cast(found_before, tf.float32)
    length = tf.norm(raw_before[..., 6:8] - raw_before[..., 4:6], axis=-1)
    output_distance = tf.reduce_mean(tf.abs(raw - raw_before), axis=-1) / tf.maximum(length, 1.0)
    score_divergence = tf.nn.sigmoid_cross_entropy_with_logits(before, logit)
    of_person = tf.reduce_sum(mask / radius, axis=1)  # (N, A)
    other = tf.reduce_mean(tf.abs(raw[..., 8:] - raw_before[..., 8:]), axis=-1)
    return {
        "points": POINTS_WEIGHT * tf.reduce_sum(weight * cost) / total_weight,
        "box": BOX_WEIGHT * tf.reduce_sum(weight * box_error / side[:, :, None]) / total_weight,
        "score": tf.reduce_sum(scores) / count,
        "distillation": DISTILLATION_WEIGHT
        * tf.reduce_sum(weight_before * (output_distance + score_divergence))
        / tf.maximum(tf.reduce_sum(weight_before), 1.0),
        "other_points": OTHER_POINTS_WEIGHT * tf.reduce_sum(of_person * other) / count,
    }
