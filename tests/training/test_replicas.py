"""Several replicas: summed gradients, weight decay once, local batch statistics, as in tf-cpn."""

import numpy as np
import pytest
import tensorflow as tf

from support import recipe, tiny, tiny_steps
from tfcpn.codecs.heatmap import HeatmapCodec, HeatmapTargets
from tfcpn.config_rules import VIEWS
from tfcpn.models.cpn import build_cpn, cpn_network
from tfcpn.models.model import conv_kernels, variables_by_name
from tfcpn.skeleton import COCO
from tfcpn.training import augmentation
from tfcpn.training.augmentation import build_augmentation
from tfcpn.training.step import TrainingStep, losses_and_gradients, make_optimizer
from tfcpn.transforms.normalize import TF_CPN_PREPROCESSING

SIZE = (64, 64)
CODEC = HeatmapCodec(SIZE, (16, 16), (15, 11, 9, 7), 255, COCO.flip_indices)
# The build function of each model, and the network as a value.
NETWORKS = {
    "tiny": (lambda: tiny.build(SIZE, 17), tiny_steps.NETWORK),
    "cpn": (lambda: build_cpn(SIZE, "resnet50", 17), cpn_network(SIZE, "resnet50", 17)),
}
DECAY = 30.0  # so large that a decay applied twice, or not at all, shows in every kernel


def load_recipe(model):
    for name, variable in variables_by_name(model).items():
        variable.assign(
            np.asarray(recipe.weight(name, variable.shape), variable.dtype.as_numpy_dtype)
        )


def views(count):
    """Images, label maps and visibilities, in float64."""
    rng = np.random.default_rng(0)
    images = rng.uniform(-0.5, 0.5, (count, *SIZE, 3))
    keypoints = rng.uniform(0, 64, (count, 17, 2)).astype(np.float32)
    labels = CODEC.encode(keypoints, None).maps
    return images, [np.float64(label) for label in labels], rng.choice([0.0, 1.0, 2.0], (count, 17))


@pytest.fixture(params=["tiny", pytest.param("cpn", marks=pytest.mark.slow)])
def network(request):
    return NETWORKS[request.param]


def step_of(model, value, optimizer, strategy, decay):
    augment = build_augmentation(
        VIEWS,
        ranges=augmentation.Ranges(),
        flip_indices=COCO.flip_indices,
        preprocessing=TF_CPN_PREPROCESSING,
        size=SIZE,
    )
    settings = {"augment": augment, "weight_decay": decay, "seed": 5}
    return TrainingStep(model, optimizer, value, CODEC, strategy, **settings)


@pytest.fixture(scope="module")
def strategy(two_replicas):
    return two_replicas


def test_two_replicas_apply_the_sum_of_gradients_and_one_weight_decay(strategy, network, float64):
    build, value = network
    images, labels, visibility = views(8)
    with strategy.scope():
        model = build()
        load_recipe(model)
        optimizer = make_optimizer(5e-4, "float32", model.trainable_variables)
    step = step_of(model, value, optimizer, strategy, DECAY)

    def dealt(array):
        half = len(array) // 2
        of_replica = [tf.constant(array[:half]), tf.constant(array[half:])]
        return strategy.experimental_distribute_values_from_function(
            lambda c: of_replica[c.replica_id_in_sync_group]
        )

    arguments = dealt(images), HeatmapTargets([dealt(label) for label in labels], dealt(visibility))
    per_replica = tf.function(lambda *args: strategy.run(step.learn, args=args))(*arguments)
    losses = strategy.reduce("mean", per_replica, axis=None)

    # The same by hand: each half on one device without decay, then the gradient of the decay once.
    single = build()
    expected, totals, statistics = None, [], []
    for part in (slice(0, 4), slice(4, 8)):
        load_recipe(single)
        targets = HeatmapTargets([label[part] for label in labels], visibility[part])
        values, gradients = losses_and_gradients(
            single, value, images[part], targets, weight_decay=0.0
        )
        expected = gradients if expected is None else [a + b for a, b in zip(expected, gradients)]
        totals.append(float(values["total"]))
        statistics.append([v.numpy() for v in single.non_trainable_variables])
    load_recipe(single)
    kernels = {k.ref() for k in conv_kernels(single)}
    for i, variable in enumerate(single.trainable_variables):
        if variable.ref() in kernels:
            expected[i] = expected[i] + DECAY * variable

    # After the first step of Adam the first moment is a tenth of the gradient.
    for variable, gradient in zip(model.trainable_variables, expected):
        moment = optimizer.get_slot(variable, "m").numpy() * 10
        assert np.linalg.norm(moment - gradient) <= 1e-6 * np.linalg.norm(gradient) + 1e-9, (
            variable.name
        )
    decay = DECAY * sum(float(tf.nn.l2_loss(k)) for k in conv_kernels(single))
    assert float(losses[3]) == pytest.approx(np.mean(totals) + decay, rel=1e-4)
    # Moving statistics are averaged over the replicas when they are read.
    for variable, a, b in zip(model.non_trainable_variables, *statistics):
        np.testing.assert_allclose(variable.numpy(), (a + b) / 2, rtol=1e-4, atol=1e-5)


def test_every_replica_and_step_has_a_different_augmentation(strategy, network):
    """The compiled step on two replicas has the losses of each half with the augmentation of that
    replica.
    """
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (4, *SIZE, 3)).astype(np.uint8)
    keypoints = np.concatenate(
        [rng.uniform(0, 64, (4, 17, 2)), np.full((4, 17, 1), 2)], axis=-1
    ).astype(np.float32)
    build, value = network
    with strategy.scope():
        model = build()
        optimizer = make_optimizer(0.0, "float32", model.trainable_variables)
    step = step_of(model, value, optimizer, strategy, 0.0)
    dealt = [
        strategy.experimental_distribute_values_from_function(
            lambda c, t=t: t[2 * c.replica_id_in_sync_group :][:2]
        )
        for t in (tf.constant(crops), tf.constant(keypoints))
    ]
    single = build()
    for number in (7, 8):
        totals = []
        for replica in range(2):
            part = slice(2 * replica, 2 * replica + 2)
            draws = augmentation.draw((5, number * 2 + replica), 2, augmentation.Ranges())
            views = augmentation.four_views(
                crops[part], keypoints[part], draws, COCO.flip_indices, TF_CPN_PREPROCESSING
            )
            images, moved, visibility = views
            losses, _ = losses_and_gradients(
                single, value, images, CODEC.encode(moved, visibility), weight_decay=0.0
            )
            totals.append(losses["total"])
        assert float(step(*dealt, tf.constant(number, tf.int64)).losses[3]) == pytest.approx(
            np.mean(totals), rel=1e-4
        )
