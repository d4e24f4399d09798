"""Losses of BlazePose: labels and distillation."""

import numpy as np
import pytest
import tensorflow as tf

from tfcpn.codecs.landmarks import LandmarkTargets
from tfcpn.models.blazepose import blazepose as network
from tfcpn.models.blazepose.losses import (
    DISTILLATION_WEIGHTS,
    distillation_loss,
    distillation_terms,
    label_heatmaps,
    labeled_losses,
    person_loss,
)
from tfcpn.models.blazepose.model import BlazePoseOutputs
from tfcpn.training.augmentation import ERASED


def outputs(seed=0, count=4):
    rng = np.random.default_rng(seed)
    shapes = ((39, 5), (1,), (256, 256, 1), (64, 64, 39), (39, 3))
    made = [tf.constant(rng.normal(size=(count, *shape)), tf.float32) for shape in shapes]
    landmarks = np.concatenate(
        [rng.uniform(0, 256, (count, 39, 3)), rng.normal(size=(count, 39, 2))], axis=-1
    )
    return BlazePoseOutputs(*made)._replace(landmarks=tf.constant(landmarks, tf.float32))


def targets(seed=5, count=4):
    rng = np.random.default_rng(seed)
    xy, visibility = rng.uniform(0, 256, (count, 39, 2)), rng.choice([0.0, 1.0, 2.0], (count, 39))
    visibility[:, 33:] = 0
    return LandmarkTargets(tf.constant(xy, tf.float32), tf.constant(visibility, tf.float32))


def test_landmarks_are_the_l1_distance_of_labeled_keypoints_in_parts_of_the_crop():
    found, goal = outputs(), targets()
    away = np.abs(found.landmarks.numpy()[..., :2] - goal.xy.numpy()).mean(axis=-1) / 256
    expected = away[goal.visibility.numpy() > 0].mean()
    assert float(labeled_losses(found, goal)["landmarks"]) == pytest.approx(expected, rel=1e-5)


def test_without_labels_the_loss_is_0_and_not_nan():
    found, goal = outputs(), targets()
    unlabeled = goal._replace(visibility=tf.zeros_like(goal.visibility))
    assert [float(v) for v in labeled_losses(found, unlabeled).values()] == [0, 0, 0]


def test_views_of_people_show_a_person_and_those_of_background_do_not():
    """A person, a person outside of the view, and background."""
    xy = np.full((3, 39, 2), -1, np.float32)
    xy[0, 5], xy[1, 5] = 100, 300
    visibility = np.zeros((3, 39), np.float32)
    visibility[0, 5] = 2
    goal = LandmarkTargets(tf.constant(xy), tf.constant(visibility))

    def loss(logits, has_background):
        found = outputs(count=3)._replace(person=tf.constant(logits, tf.float32)[:, None])
        return float(person_loss(found, goal, has_background))

    assert loss([5, 5, -5], True) == pytest.approx(np.log1p(np.exp(-5)), rel=1e-4)
    assert loss([5, 5, 5], False) == pytest.approx(np.log1p(np.exp(-5)), rel=1e-4)
    for wrong in ([-5, 5, -5], [5, -5, -5], [5, 5, 5]):
        assert loss(wrong, True) > 1


def with_visibility_logits(found, logits):
    return found._replace(
        landmarks=tf.concat([found.landmarks[..., :3], logits, found.landmarks[..., 4:]], axis=-1)
    )


def test_an_occluded_keypoint_is_learned_as_not_visible():
    found, goal = outputs(), targets()
    right = tf.where(goal.visibility > 1, 5.0, -5.0)[..., None]
    losses = [
        float(labeled_losses(with_visibility_logits(found, w * right), goal)["visibility"])
        for w in (1, -1)
    ]
    assert losses[0] < 0.1 < 4 < losses[1]


def test_without_occluded_keypoints_visibility_is_distilled_and_not_learned():
    """All labeled keypoints are visible: the visibility is distilled from the teacher instead."""
    found, goal = outputs(), targets()
    seen = goal._replace(visibility=tf.where(goal.visibility > 0, 2.0, 0.0))
    assert float(labeled_losses(found, seen)["visibility"]) == 0
    moved = with_visibility_logits(
        found, found.landmarks[..., 3:4] + 3 * tf.cast(seen.visibility > 0, tf.float32)[..., None]
    )
    assert float(distillation_terms(moved, found, seen)["visibility"]) > 0.01


def test_covering_keypoints_does_not_teach_that_all_others_are_visible():
    """--random_erasing covers keypoints of a dataset that leaves out what is occluded."""
    found, goal = outputs(), targets()
    visibility = np.where(goal.visibility > 0, 2.0, 0.0).astype(np.float32)
    visibility[:, 4] = ERASED
    covered = goal._replace(visibility=tf.constant(visibility))
    assert float(labeled_losses(found, covered)["visibility"]) == 0
    # With occluded keypoints in the labels, a covered one is learned as not visible, too.
    visibility[:, 5] = 1
    covered = goal._replace(visibility=tf.constant(visibility))
    right = tf.where(covered.visibility >= 2, 5.0, -5.0)[..., None]
    loss = labeled_losses(with_visibility_logits(found, right), covered)["visibility"]
    assert 0 < float(loss) < 0.1


def test_label_heatmaps_peak_at_a_quarter_of_the_keypoints_pixel():
    goal = targets()
    maps = label_heatmaps(
        goal._replace(xy=tf.fill((4, 39, 2), 4.0) * tf.constant([20.0, 31.0]))
    ).numpy()
    assert maps.shape == (4, 64, 64, 39) and maps[0, 31, 20, 0] == pytest.approx(1)
    assert maps[0, 31, 22, 0] == pytest.approx(np.exp(-4 / (2 * 1.7**2)), rel=1e-4)


def test_outputs_of_the_teacher_have_no_distillation_loss_or_gradient():
    found, goal = outputs(), targets()
    assert float(distillation_loss(found, found, goal)) == pytest.approx(0, abs=1e-5)
    variables = [tf.Variable(o) for o in found]
    with tf.GradientTape() as tape:
        smooth = distillation_terms(BlazePoseOutputs(*(v + 0.0 for v in variables)), found, goal)
        loss = tf.add_n([v for name, v in smooth.items() if name != "xy"])
    for gradient in tape.gradient(loss, variables):
        assert np.abs(gradient).max() < 1e-6


def test_each_distillation_term_depends_on_one_output():
    """A change of one output changes only the terms of that output."""
    found, goal = outputs(), targets()
    about = {"person": {"person"}, "mask": {"mask"}, "heatmaps": {"heatmaps"}, "world": {"world"}}
    for name, expected in about.items():
        moved = found._replace(**{name: getattr(found, name) + 1})
        terms = distillation_terms(moved, found, goal)
        assert {n for n, v in terms.items() if float(v) > 1e-4} == expected
    for axis, expected in enumerate(({"xy"}, {"xy"}, {"z"}, {"visibility"}, {"presence"})):
        moved = found._replace(landmarks=found.landmarks + tf.one_hot(axis, 5) * 3)
        assert {
            n for n, v in distillation_terms(moved, found, goal).items() if float(v) > 1e-4
        } == expected
    assert set(DISTILLATION_WEIGHTS) == set(distillation_terms(found, found, goal))


def test_labeled_keypoints_are_not_distilled():
    found, goal = outputs(), targets()
    labeled = goal.visibility > 0
    own = tf.cast(labeled[..., None], tf.float32) * tf.constant([9.0, 9, 0, 9, 0])
    landmarks = found.landmarks + own * tf.cast(tf.range(39) < 33, tf.float32)[:, None]
    terms = distillation_terms(found._replace(landmarks=landmarks), found, goal)
    assert float(terms["xy"]) == 0 and float(terms["visibility"]) == pytest.approx(0, abs=1e-6)


def test_a_diverged_network_is_reported():
    fine = {"student_distance": 0.05, "teacher_distance": 0.04}
    assert network.check_diverged(fine) == ""
    assert network.check_diverged({"student_distance": 0.0, "teacher_distance": 0.0}) == ""
    assert "8.9% of the crop off" in network.check_diverged(
        {"student_distance": 0.089, "teacher_distance": 0.036}
    )
