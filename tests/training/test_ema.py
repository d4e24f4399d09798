"""--ema: the moving average of the weights, in an interrupted and resumed run as well."""

import json
import os
import signal

import numpy as np
import pytest

from support.small_run import flags, weights
from support.tiny import build
from support.tiny_steps import trained
from tfcpn.checkpoints.manager import CheckpointManager, TrainingPosition
from tfcpn.models.model import variables_by_name
from tfcpn.training.preemption import CheckpointSchedule
from tfcpn.utils.errors import EXIT_RESUMABLE


def test_the_average_decays_faster_at_first_and_ends_at_the_given_decay():
    history, mean, _ = trained(30, mean_decay=0.7)
    expected = None
    for number, values in enumerate(history):
        kept = min(0.7, number / (number + 10))
        expected = (
            values if number == 0 else [kept * m + (1 - kept) * v for m, v in zip(expected, values)]
        )
    for value, variable, last in zip(expected, mean.model.weights, history[-1]):
        np.testing.assert_allclose(
            variable.numpy(), value, rtol=1e-4, atol=1e-5, err_msg=variable.name
        )
        assert np.abs(last - variable.numpy()).max() > 1e-6, f"{variable.name} does not lag behind"


def test_the_average_on_two_replicas_equals_that_on_one(two_replicas):
    strategy = two_replicas
    history, mean, _ = trained(5, strategy, mean_decay=0.9)
    expected = history[0]
    for number, values in enumerate(history[1:], start=1):
        kept = number / (number + 10)
        expected = [kept * m + (1 - kept) * v for m, v in zip(expected, values)]
    for value, variable in zip(expected, mean.model.weights):
        # Statistics of batch norms are read as the mean over replicas on both sides.
        np.testing.assert_allclose(
            variable.numpy(), value, rtol=1e-4, atol=1e-5, err_msg=variable.name
        )
        locals_ = [v.numpy() for v in strategy.experimental_local_results(variable)]
        assert "moving" in variable.name or (locals_[0] == locals_[1]).all()


@pytest.fixture
def stopped_at(monkeypatch):
    def set_up(number):
        count, usual = iter(range(1, 1000)), CheckpointSchedule.requests
        monkeypatch.setattr(
            CheckpointSchedule,
            "requests",
            lambda s: (next(count) == number and os.kill(os.getpid(), signal.SIGTERM), usual(s))[1],
        )

    return set_up


def test_a_run_with_ema_resumes_exactly_and_evaluates_the_average(
    people, command, tmp_path, tiny_network, stopped_at
):
    arguments = ("--epoch_size=96", "--epochs=2", "--ema=0.9", "--weight_decay=1", "--eval_every=2")
    whole, other = tmp_path / "whole", tmp_path / "other"
    command("-m", "tfcpn.train", *flags(people, whole, *arguments))
    stopped_at(4)
    assert (
        command("-m", "tfcpn.train", *flags(people, other, *arguments), check=False).status
        == EXIT_RESUMABLE
    )
    stopped_at(0)
    command("-m", "tfcpn.train", *flags(people, other, *arguments))
    a, b = weights(whole, 2), weights(other, 2)
    assert any(name.startswith("trained/") for name in a) and set(a) == set(b)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=2e-5, err_msg=name)
    validated = [json.loads(file.read_text()) for file in sorted(whole.glob("eval/*/results.json"))]
    command("-m", "tfcpn.eval", f"--model_dir={whole}", "--epoch=2")
    evaluated = [json.loads(file.read_text()) for file in sorted(whole.glob("eval/*/results.json"))]
    assert len(validated) == len(evaluated) == 1
    for one, other in zip(validated[0], evaluated[0]):
        np.testing.assert_allclose(one["keypoints"], other["keypoints"], atol=0.1)
    # A reader of the checkpoint gets the average, not the trained weights.
    model = build((64, 64), 17)
    CheckpointManager(whole).restore(TrainingPosition(2), variables_by_name(model))
    kernel = model.get_layer("only").kernel.numpy()
    at = {
        name.split("/")[0]: a[name]
        for name in a
        if "only.Sweights" in name and "OPTIMIZER" not in name
    }
    np.testing.assert_array_equal(kernel, at["model"])
    assert np.abs(kernel - at["trained"]).max() > 1e-5
