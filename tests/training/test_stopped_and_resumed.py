"""A run interrupted within an epoch resumes exactly; values that are not finite are not saved."""

import os
import re
import signal

import numpy as np
import pytest
import tensorflow as tf

from support.commands import run_process
from support.small_run import flags, logged, weights
from support.tiny import losses as tiny_losses
from support.tiny import tiny
from tfcpn import builders
from tfcpn.data.coco import read_annotations
from tfcpn.training.preemption import CheckpointSchedule
from tfcpn.training.step import TrainingStep
from tfcpn.training.trainer import Trainer
from tfcpn.utils.errors import EXIT_RESUMABLE

# Not --deterministic, which applies to the whole process: test_killed_at_random.py compares
# exactly.
COSINE = (
    "--lr_halving=60",
    "--lr_cosine",
)  # the first is the default, which the flagfile changes
ARGUMENTS = ("--epoch_size=96", "--epochs=2", "--eval_every=2")


@pytest.fixture(autouse=True)
def with_the_tiny_network(tiny_network):
    pass


@pytest.fixture
def at_step(monkeypatch):
    """at_step(n, what): call something before the nth step of the next command."""
    usual = CheckpointSchedule.requests

    def set_up(number, what):
        count = iter(range(1, 1000))
        monkeypatch.setattr(
            CheckpointSchedule,
            "requests",
            lambda self: (what() if next(count) == number else None, usual(self))[1],
        )

    return set_up


def assert_same(whole, folder, epoch=2, exact=False):
    """Compare the last checkpoint and the log of two runs, without times.

    Unless exact, differences due to the order of threads are accepted; an extra step or a reset
    optimizer would differ a hundred times as much.
    """
    a, b = weights(whole, epoch), weights(folder, epoch)
    assert set(a) == set(b) and len(a) > 10
    for name in a:
        if exact:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
        else:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=2e-5, err_msg=name)
    rows, others = logged(whole), logged(folder)
    assert len(rows) == len(others)
    for row, other in zip(rows, others):
        for name in set(row) - {"seconds", "crops_per_second"}:
            if exact or name in ("device", "precision") or not row[name]:
                assert row[name] == other[name], name
            else:
                assert float(row[name]) == pytest.approx(float(other[name]), rel=1e-3, abs=1e-4), (
                    name
                )


@pytest.fixture(scope="module")
def whole(people, command, tmp_path_factory):
    """The same run without interruption."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(builders.NETWORK_BUILDERS, "cpn", tiny)
        command("-m", "tfcpn.train", *flags(people, folder, *ARGUMENTS))
    return folder


@pytest.mark.parametrize(
    "number, step",
    [(signal.SIGINT, 3), pytest.param(signal.SIGTERM, 8, marks=pytest.mark.slow)],
)
def test_a_signal_saves_after_the_step_and_the_same_command_resumes(
    people, command, tmp_path, at_step, whole, number, step
):
    arguments = flags(people, tmp_path, *ARGUMENTS)
    at_step(step, lambda: os.kill(os.getpid(), number))
    stopped = command("-m", "tfcpn.train", *arguments, check=False)
    assert stopped.status == EXIT_RESUMABLE == 75
    assert "progress saved, rerun the same command to resume" in stopped.err
    epoch, within = divmod(step, 6)
    assert (tmp_path / "checkpoints" / f"epoch_{epoch:04d}_step_{within}").exists()
    at_step(0, None)
    resumed = command("-m", "tfcpn.train", *arguments)
    assert f"from epoch {epoch + 1}, step {within + 1}" in resumed.err
    assert_same(whole, tmp_path)


@pytest.mark.parametrize(
    "schedule",
    [COSINE, pytest.param(("--lr_halving=1",), marks=pytest.mark.slow)],
    ids=lambda arguments: arguments[-1],
)
def test_every_step_has_exactly_the_learning_rate_of_an_uninterrupted_run(
    people, command, tmp_path, at_step, monkeypatch, schedule
):
    """Also in the last epoch of the warm-up: the rate depends only on the step."""
    arguments = [
        *ARGUMENTS,
        "--eval_every=0",
        "--warmup_steps=8",
        "--learning_rate=0.0123457",
        *schedule,
    ]
    rates, usual = [], TrainingStep.__call__

    def step(self, crops, keypoints, number, requests):
        rates.append((int(number), float(self.optimizer.learning_rate)))
        return usual(self, crops, keypoints, number, requests)

    monkeypatch.setattr(TrainingStep, "__call__", step)
    command("-m", "tfcpn.train", *flags(people, tmp_path / "whole", *arguments))
    whole, rates[:] = rates[:], []
    for stop in (7, 3):  # before the end of the warm-up, and after it
        at_step(stop, lambda: os.kill(os.getpid(), signal.SIGTERM))
        command("-m", "tfcpn.train", *flags(people, tmp_path / "run", *arguments), check=False)
    at_step(0, None)
    command("-m", "tfcpn.train", *flags(people, tmp_path / "run", *arguments))
    assert rates == whole and [number for number, _ in whole] == list(range(12))
    assert len({rate for _, rate in whole[7:]}) <= 2 < len({rate for _, rate in whole})


@pytest.mark.slow
def test_a_signal_at_an_epochs_last_step_saves_the_epoch(people, command, tmp_path, at_step, whole):
    arguments = flags(people, tmp_path, *ARGUMENTS)
    at_step(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert command("-m", "tfcpn.train", *arguments, check=False).status == EXIT_RESUMABLE
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["epoch_0001"]
    at_step(0, None)
    command("-m", "tfcpn.train", *arguments)
    assert_same(whole, tmp_path)


def test_an_interrupted_validation_is_run_after_resuming(
    people, command, tmp_path, monkeypatch, whole
):
    from tfcpn.evaluation import evaluator as evaluation

    arguments, usual = flags(people, tmp_path, *ARGUMENTS), evaluation.coco_metrics
    monkeypatch.setattr(
        evaluation, "coco_metrics", lambda *a, **k: os.kill(os.getpid(), signal.SIGTERM)
    )
    assert command("-m", "tfcpn.train", *arguments, check=False).status == EXIT_RESUMABLE
    assert logged(tmp_path)[1]["AP"] == ""
    monkeypatch.setattr(evaluation, "coco_metrics", usual)
    command("-m", "tfcpn.train", *arguments)
    assert_same(whole, tmp_path)


def test_checkpoints_are_saved_at_the_given_interval(people, command, tmp_path, monkeypatch):
    from tfcpn.checkpoints.manager import CheckpointManager

    saved, usual = [], CheckpointManager.save

    def save(self, position, *rest, **more):
        saved.append(tuple(position))
        usual(self, position, *rest, **more)

    monkeypatch.setattr(CheckpointManager, "save", save)
    arguments = [*ARGUMENTS, "--eval_every=0", "--epochs=1"]
    command(
        "-m",
        "tfcpn.train",
        *flags(people, tmp_path / "often", *arguments, "--checkpoint_minutes=1e-9"),
    )
    assert saved == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 0)]
    assert [p.name for p in (tmp_path / "often/checkpoints").iterdir()] == ["epoch_0001"]
    for minutes in ("0",):
        saved.clear()
        command(
            "-m",
            "tfcpn.train",
            *flags(people, tmp_path / minutes, *arguments, f"--checkpoint_minutes={minutes}"),
        )
        assert saved == [(1, 0)]


@pytest.mark.slow
def test_the_loss_scale_is_restored(people, command, tmp_path, at_step):
    arguments = [*ARGUMENTS, "--mixed_precision=float16", "--eval_every=0"]
    command("-m", "tfcpn.train", *flags(people, tmp_path / "whole", *arguments))
    at_step(8, lambda: os.kill(os.getpid(), signal.SIGTERM))
    command("-m", "tfcpn.train", *flags(people, tmp_path / "run", *arguments), check=False)
    at_step(0, None)
    command("-m", "tfcpn.train", *flags(people, tmp_path / "run", *arguments))
    assert_same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
def test_a_second_trainer_is_refused_by_name_of_the_first(people, command, tmp_path, at_step):
    arguments, printed = flags(people, tmp_path, *ARGUMENTS), []

    def another():
        printed.append(run_process("-m", "tfcpn.train", *arguments, check=False))

    at_step(2, another)
    command("-m", "tfcpn.train", *arguments)
    assert printed[0].status == 1
    *phases, line = printed[0].err.splitlines()
    assert all(status.endswith(" ...") for status in phases)
    assert re.fullmatch(
        rf"error: .*: process {os.getpid()} on \S+ is training there; wait .*", line
    )


def spoilt(after: int, name="global"):
    """The tiny network; one loss is not finite after this many steps."""

    def losses(outputs, targets, teacher=None):
        printed = tiny_losses(outputs, targets)
        steps.assign_add(1)
        return printed | {name: printed[name] * tf.where(steps > after, float("nan"), 1.0)}

    steps = tf.Variable(0)
    return lambda cfg, skeleton: (
        tiny(cfg, skeleton)[0]._replace(losses=losses),
        tiny(cfg, skeleton)[1],
    )


def test_a_loss_that_is_not_finite_is_reported_with_step_people_and_gradients(
    people, command, tmp_path, monkeypatch
):
    monkeypatch.setitem(builders.NETWORK_BUILDERS, "cpn", spoilt(8))
    failed = command(
        "-m", "tfcpn.train", *flags(people, tmp_path, *ARGUMENTS, "--eval_every=0"), check=False
    )
    printed = failed.err.strip().splitlines()[-1]
    assert failed.status == 1
    assert re.search(
        r"step 9 \(epoch 2\): a loss is not a number \(global nan, refine \d.*\)", printed
    )
    assert re.search(r"largest gradients: \S+ nan, ", printed)
    assert "the last good checkpoint is" in printed and "epoch_0001, from which" in printed
    # The people of the ninth step of four, by the order of an uninterrupted stream.
    from support.parsing import parse
    from tfcpn.data.record_sets import read_records
    from tfcpn.data.sampling import open_training_set, training_stream

    cfg, _ = parse(*flags(people, tmp_path, *ARGUMENTS))
    source = open_training_set(
        read_records(people.records), seed=cfg.seed, shuffle_buffer=cfg.shuffle_buffer
    )
    stream = training_stream(source, 0, lambda group: group["id"]).take(36)
    expected = [int(i) for i in stream][32:]
    assert f"; people {', '.join(map(str, expected))}; " in printed
    assert set(expected) <= {p.id for p in read_annotations(people.train_annotations)[1]}


def test_weights_that_are_not_finite_are_never_saved(people, command, tmp_path, monkeypatch):
    """The last step of an epoch may corrupt the weights although the loss, computed before, is
    finite.
    """
    usual = Trainer._check_finite

    def spoil(trainer, results, step_function, last_step, epoch):
        usual(trainer, results, step_function, last_step, epoch)
        if epoch == 2:
            kernel = step_function.model.get_layer("only").kernel
            kernel.assign(kernel * float("inf"))

    monkeypatch.setattr(Trainer, "_check_finite", spoil)
    failed = command(
        "-m", "tfcpn.train", *flags(people, tmp_path, *ARGUMENTS, "--eval_every=0"), check=False
    )
    printed = failed.err.strip().splitlines()[-1]
    assert failed.status == 1 and re.search(
        r"step \d+ left values in only/weights that are not numbers.*; people \d+", printed
    )
    assert "the last good checkpoint is" in printed and "epoch_0001" in printed
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["epoch_0001"]
