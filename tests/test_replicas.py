"""Several replicas: gradients are summed, the decay counts once, batch statistics stay local, as in tf-cpn."""

import numpy as np
import pytest
import recipe
import tensorflow as tf

from tfcpn import augment
from tfcpn.codec import HeatmapCodec
from tfcpn.cpn import build_cpn, conv_kernels, variables_by_name
from tfcpn.training_step import TrainingStep, losses_and_gradients, make_optimizer

SIZE = (64, 64)
DECAY = 0.3  # so large that a decay counted twice, or not at all, would show in every kernel


def load_recipe(model):
    for name, variable in variables_by_name(model).items():
        variable.assign(recipe.weight(name, variable.shape))


def people(count):
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (count, *SIZE, 3)).astype(np.uint8)
    joints = np.concatenate([rng.uniform(0, 64, (count, 17, 2)), np.full((count, 17, 1), 2)], axis=-1)
    return crops, joints.astype(np.float32)


@pytest.fixture(scope="module")
def strategy():
    devices = tf.config.list_logical_devices("CPU")
    assert len(devices) == 2, "conftest.py makes two"
    return tf.distribute.MirroredStrategy([d.name for d in devices])


def test_two_replicas_step_by_the_sum_of_the_halves_gradients_and_one_decay(strategy):
    codec = HeatmapCodec(SIZE, (16, 16), (15, 11, 9, 7), 255)
    crops, joints = people(4)
    with strategy.scope():
        model = build_cpn(SIZE, "resnet50", 17)
        load_recipe(model)
        optimizer = make_optimizer(5e-4, "float32", model.trainable_variables)
    step = TrainingStep(model, optimizer, codec, strategy, ranges=augment.Ranges(), weight_decay=DECAY, seed=5)
    halves = [
        strategy.experimental_distribute_values_from_function(lambda c, t=t: t[2 * c.replica_id_in_sync_group :][:2])
        for t in (tf.constant(crops), tf.constant(joints))
    ]
    losses = step(*halves, tf.constant(7, tf.int64))

    # The same by hand: each half alone on one device without decay, then the decay's gradient once.
    single = build_cpn(SIZE, "resnet50", 17)
    load_recipe(single)
    expected, totals, statistics = None, [], []
    for replica in range(2):
        load_recipe(single)
        part = slice(2 * replica, 2 * replica + 2)
        draws = augment.draw((5, 7 * 2 + replica), 2, augment.Ranges())
        images, moved, visibility = augment.four_views(crops[part], joints[part], draws)
        values, gradients = losses_and_gradients(single, images, codec.encode(moved), visibility, 0.0)
        expected = gradients if expected is None else [a + b for a, b in zip(expected, gradients)]
        totals.append(float(values.total))
        statistics.append([v.numpy() for v in single.non_trainable_variables])
    load_recipe(single)
    kernels = {k.ref() for k in conv_kernels(single)}
    for i, variable in enumerate(single.trainable_variables):
        if variable.ref() in kernels:
            expected[i] = expected[i] + DECAY * variable

    # After Adam's first step its first moment is a tenth of the gradient.
    for variable, gradient in zip(model.trainable_variables, expected):
        moment = optimizer.get_slot(variable, "m").numpy() * 10
        assert np.linalg.norm(moment - gradient) <= 2e-4 * np.linalg.norm(gradient) + 1e-5, variable.name
    decay = DECAY * sum(float(tf.nn.l2_loss(k)) for k in conv_kernels(single))
    assert float(losses[3]) == pytest.approx(np.mean(totals) + decay, rel=1e-4)
    # Moving statistics are averaged over the replicas when they are read.
    for variable, a, b in zip(model.non_trainable_variables, *statistics):
        np.testing.assert_allclose(variable.numpy(), (a + b) / 2, rtol=1e-4, atol=1e-5)
