"""Every setting has an effect in training: one step is enough to see it."""

import json

import numpy as np
import pytest
import tensorflow as tf

from support.parsing import parse
from support.small_run import flags, logged, weights
from support.tiny import tiny
from tfcpn import builders
from tfcpn.builders import build_components
from tfcpn.config import TRAINING_MARGIN
from tfcpn.data.pipeline import build_crop_fn, training_batches
from tfcpn.data.record_sets import read_records
from tfcpn.data.sampling import open_training_set
from tfcpn.skeleton import COCO
from tfcpn.training.augmentation import Ranges, draw, four_views
from tfcpn.training.step import losses_and_gradients, make_optimizer

ONE_STEP = ("--epochs=1", "--epoch_size=16", "--learning_rate=0", "--eval_every=0")


def row_of(people, command, folder, *arguments):
    """The row of the log for one step without weight updates."""
    command("-m", "tfcpn.train", *flags(people, folder, *ONE_STEP, *arguments))
    row = logged(folder)[0]
    return {name: float(row[name]) for name in ("global", "refine", "decay", "total")}


@pytest.fixture(autouse=True)
def with_the_tiny_network(tiny_network):
    pass


def expected_losses(people, cfg, ranges):
    """The losses of the first batch, computed by hand."""
    made, source = build_components(cfg, COCO), open_training_set(read_records(people.records))
    work = build_crop_fn(
        alignment=made.alignment, skeleton=COCO, crop_spec=made.crop_spec, margin=TRAINING_MARGIN
    )
    crops, keypoints = next(iter(training_batches(source, 0, work, 4)))
    views = four_views(
        crops,
        keypoints,
        draw((cfg.seed, 0), 4, ranges),
        COCO.flip_indices,
        made.network.preprocessing,
    )
    images, keypoints, visibility = views
    targets = made.codec.encode(keypoints, visibility)
    model = made.network.build()
    return losses_and_gradients(
        model, made.network, images, targets, weight_decay=cfg.weight_decay
    )[0], model


def test_a_step_has_the_ranges_and_the_decay_of_its_flags(people, command, tmp_path):
    arguments = ["--rescale_min=1.1", "--rescale_max=1.2", "--rotation=5", "--weight_decay=0.25"]
    cfg, _ = parse(*flags(people, tmp_path / "run", *ONE_STEP, *arguments))
    expected, model = expected_losses(people, cfg, Ranges(1.1, 1.2, 5.0))
    row = row_of(people, command, tmp_path / "run", *arguments)
    for name, value in expected.items():
        assert row[name] == pytest.approx(float(value), rel=1e-4), name
    assert row["decay"] == pytest.approx(
        0.25 * float(tf.nn.l2_loss(model.get_layer("only").kernel)), rel=1e-4
    )
    usual, _ = expected_losses(people, cfg, Ranges())
    assert row["refine"] != pytest.approx(float(usual["refine"]), rel=1e-3)


def rate_kept(run, epoch: int) -> float:
    """The learning rate of the optimizer in a checkpoint."""
    state = str(run / "checkpoints" / f"epoch_{epoch:04d}" / "variables")
    return float(
        tf.train.load_variable(state, "optimizer/learning_rate/.ATTRIBUTES/VARIABLE_VALUE")
    )


def test_the_learning_rate_halves_and_equals_the_logged_one(people, command, tmp_path):
    arguments = [
        "--epochs=3",
        "--epoch_size=16",
        "--learning_rate=0.01",
        "--lr_halving=2",
        "--eval_every=0",
    ]
    command("-m", "tfcpn.train", *flags(people, tmp_path / "run", *arguments))
    rates = [float(row["learning_rate"]) for row in logged(tmp_path / "run")]
    assert rates == pytest.approx([0.01, 0.01, 0.005])
    # The state of the optimizer has the same rates.
    assert [rate_kept(tmp_path / "run", epoch) for epoch in (2, 3)] == pytest.approx(rates[1:])


def test_the_learning_rate_warms_up_linearly(people, command, tmp_path):
    """One step per epoch, three of them for warm-up."""
    arguments = [
        "--epochs=4",
        "--epoch_size=16",
        "--learning_rate=0.012",
        "--warmup_steps=3",
        "--eval_every=0",
    ]
    command(
        "-m", "tfcpn.train", *flags(people, tmp_path / "run", *arguments, "--keep_checkpoints=4")
    )
    assert [int(row["step"]) for row in logged(tmp_path / "run")] == [1, 2, 3, 4]
    rates = [rate_kept(tmp_path / "run", epoch) for epoch in (1, 2, 3, 4)]
    assert rates == pytest.approx([0.004, 0.008, 0.012, 0.012])


def test_old_checkpoints_are_deleted(people, command, tmp_path):
    arguments = ["--epochs=4", "--epoch_size=16", "--keep_checkpoints=2", "--eval_every=0"]
    command("-m", "tfcpn.train", *flags(people, tmp_path / "run", *arguments))
    assert sorted(p.name for p in (tmp_path / "run/checkpoints").iterdir()) == [
        "epoch_0003",
        "epoch_0004",
    ]


SLOW = {"marks": pytest.mark.slow}


@pytest.mark.parametrize(
    "asked", ["auto", pytest.param("keras", **SLOW), pytest.param("some.ckpt", **SLOW)]
)
def test_a_new_run_starts_from_the_weights_found_by_the_network(
    people, command, monkeypatch, tmp_path, asked
):
    expected = "found" if asked == "auto" else asked

    def knowing(cfg, skeleton):
        network, codec = tiny(cfg, skeleton)

        def load(model, found):
            assert found == expected
            model.get_layer("only").kernel.assign(tf.fill((4, 4, 3, 17), 0.125))

        find = lambda value: "found" if value == "auto" else value  # noqa: E731
        return network._replace(find_weights=find, load_weights=load), codec

    monkeypatch.setitem(builders.NETWORK_BUILDERS, "cpn", knowing)
    arguments = flags(people, tmp_path / "run", *ONE_STEP, f"--init_weights={asked}")
    command("-m", "tfcpn.train", *arguments)
    kernel = weights(tmp_path / "run", 1)["model/only.Sweights/.ATTRIBUTES/VARIABLE_VALUE"]
    assert (kernel == 0.125).all()
    assert json.loads((tmp_path / "run/config.json").read_text())["init_weights"] == expected
    # A resumed run has weights, and does not look for initial ones.
    monkeypatch.setitem(builders.NETWORK_BUILDERS, "cpn", tiny)
    command("-m", "tfcpn.train", *[word.replace("--epochs=1", "--epochs=2") for word in arguments])


@pytest.mark.parametrize("replicas", [1, 2])
def test_gradients_are_those_of_the_unscaled_loss(people, replicas):
    """float16 scales the loss by 32,768 and must undo it."""
    cfg, _ = parse("--input_size=64x64", "--label_kernels=5,5,5,5")
    made = build_components(cfg, COCO)
    model, rng = made.network.build(), np.random.default_rng(0)
    images = tf.constant(rng.normal(0, 1, (2, 64, 64, 3)), tf.float32)
    targets = made.codec.encode(
        tf.constant(rng.uniform(0, 64, (2, 17, 2)), tf.float32), tf.ones((2, 17))
    )
    scaler = make_optimizer(1e-3, "float16", model.trainable_variables)
    assert float(scaler.loss_scale) > 1000
    plain = losses_and_gradients(
        model, made.network, images, targets, weight_decay=0.5, replicas=replicas
    )
    scaled = losses_and_gradients(
        model,
        made.network,
        images,
        targets,
        weight_decay=0.5,
        replicas=replicas,
        loss_scaler=scaler,
    )
    for a, b in zip(plain[1], scaled[1]):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert float(plain[0]["total"]) == pytest.approx(float(scaled[0]["total"]))


@pytest.mark.parametrize("precision", ["float16", pytest.param("bfloat16", **SLOW)])
def test_a_run_in_half_precision_learns(people, command, tmp_path, precision):
    arguments = ["--epochs=3", "--eval_every=3", f"--mixed_precision={precision}"]
    command("-m", "tfcpn.train", *flags(people, tmp_path / "run", *arguments))
    totals = [float(row["total"]) for row in logged(tmp_path / "run")]
    assert totals[2] < totals[0] and logged(tmp_path / "run")[2]["AP"] != ""
