import numpy as np
import pytest
import tensorflow as tf

from tfcpn.models.cpn import global_loss, refine_loss
from tfcpn.training.step import weight_decay_loss


def batch(seed=0, shape=(3, 8, 6, 17), keypoints=17):
    rng = np.random.default_rng(seed)
    outputs = [rng.normal(0, 5, shape).astype(np.float32) for _ in range(4)]
    labels = [rng.uniform(0, 9, shape).astype(np.float32) for _ in range(4)]
    return outputs, labels, rng.choice([0.0, 1.0, 2.0], (3, keypoints)).astype(np.float32)


def test_global_loss_is_half_the_mean_over_levels_and_trains_occluded_keypoints_to_zero():
    outputs, labels, visibility = batch()
    visible = (visibility == 2)[:, None, None, :]
    expected = 0.5 * np.mean(
        [np.mean((o - label * visible) ** 2) for o, label in zip(outputs, labels)]
    )
    assert float(global_loss(outputs, labels, visibility)) == pytest.approx(expected, rel=1e-5)


def test_refine_loss_takes_the_eight_hardest_labeled_keypoints():
    outputs, labels, visibility = batch()
    per_keypoint = np.mean((outputs[0] - labels[0]) ** 2, axis=(1, 2)) * (visibility >= 1)
    expected = np.mean(np.sort(per_keypoint, axis=1)[:, -8:].sum(axis=1) / 8)
    assert float(refine_loss(outputs[0], labels[0], visibility)) == pytest.approx(
        expected, rel=1e-5
    )


def test_only_the_hardest_keypoints_get_a_gradient():
    output = tf.constant(np.tile(np.arange(17, dtype=np.float32), (1, 4, 3, 1)))
    with tf.GradientTape() as tape:
        tape.watch(output)
        loss = refine_loss(output, tf.zeros_like(output), np.full((1, 17), 2, np.float32))
    moved = np.abs(tape.gradient(loss, output)).sum(axis=(0, 1, 2)) > 0
    np.testing.assert_array_equal(moved, np.arange(17) >= 9)


def test_weight_decay_is_half_the_sum_of_squares():
    kernels = [tf.constant([1.0, 2.0]), tf.constant([[3.0]])]
    assert float(weight_decay_loss(kernels, 0.1)) == pytest.approx(0.1 * 14 / 2)


def test_with_fewer_keypoints_than_eight_all_of_them_are_the_hardest():
    outputs, labels, visibility = batch(shape=(3, 8, 6, 5), keypoints=5)
    expected = (np.mean((outputs[0] - labels[0]) ** 2, axis=(1, 2)) * (visibility >= 1)).sum(
        axis=1
    ).mean() / 5
    assert float(refine_loss(outputs[0], labels[0], visibility)) == pytest.approx(
        expected, rel=1e-5
    )
