"""Several replicas and several processes do what one does."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from test_train_and_eval import flags, weights

# One process with two virtual CPU devices: the yardstick for two processes with one each.
TWO_DEVICES = (
    "import runpy, sys, tensorflow as tf; cpu = tf.config.list_physical_devices('CPU')[0];"
    "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2);"
    "module = sys.argv.pop(1); runpy.run_module(module, run_name='__main__', alter_sys=True)"
)


def two_ports():
    sockets = [socket.socket() for _ in range(2)]
    for s in sockets:
        s.bind(("localhost", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def run_workers(module, words):
    """The same command in two processes, which find each other over loopback; returns what the first one printed."""
    cluster = {"worker": [f"localhost:{port}" for port in two_ports()]}
    processes = []
    for index in range(2):
        task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(task), "CUDA_VISIBLE_DEVICES": "-1"}
        command = [sys.executable, "-m", module, *words, "--strategy=multi_worker"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, **pipes))
    try:
        outputs = [process.communicate(timeout=400) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, err) in zip(processes, outputs):
        assert process.returncode == 0, err[-3000:]
    assert outputs[1][0] == ""
    return outputs[0][0]


@pytest.fixture(scope="module")
def runs(people, command, tmp_path_factory):
    """The same run by one process with two replicas, and by two processes: two epochs of two steps."""
    folder = tmp_path_factory.mktemp("scale_out")
    words = ["--batch_size=8", "--epoch_size=32", "--eval_every=2", "--eval_batch_size=3"]
    command("-c", TWO_DEVICES, "tfcpn.train", *flags(people, folder / "one", *words), "--strategy=mirrored")
    run_workers("tfcpn.train", flags(people, folder / "two", *words))
    return folder


def test_two_processes_train_the_weights_of_one(runs):
    """To 1e-5 of each variable's norm: gradients are summed in another order, nothing else differs."""
    a, b = weights(runs / "one", 1), weights(runs / "two", 1)
    assert set(a) == set(b)
    for name in a:
        difference = np.linalg.norm(np.float64(a[name]) - np.float64(b[name]))
        assert difference <= 1e-5 * np.linalg.norm(np.float64(a[name])) + 1e-7, name


def test_only_one_process_writes(runs):
    assert sorted(p.name for p in (runs / "two/snapshots").iterdir()) == ["snapshot_0001", "snapshot_0002"]
    assert len((runs / "two/metrics.csv").read_text().splitlines()) == 3
    assert len(list((runs / "two/events").iterdir())) == 1


@pytest.fixture(scope="module")
def results(runs, people, command):
    """Results files of one snapshot: by one replica, two replicas, and two processes."""
    found = {}
    words = [f"--model_dir={runs / 'one'}", "--epoch=2", "--eval_batch_size=3", "--deterministic"]
    path = runs / "one/eval/epoch_0002/results.json"
    for name in ("one", "two replicas", "two processes"):
        path.unlink(missing_ok=True)
        if name == "one":
            command("-m", "tfcpn.eval", *words, "--strategy=one")
        elif name == "two replicas":
            command("-c", TWO_DEVICES, "tfcpn.eval", *words, "--strategy=mirrored")
        else:
            assert "labelled people count" in run_workers("tfcpn.eval", words)
        found[name] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("name", ["two replicas", "two processes"])
def test_a_shared_evaluation_writes_the_results_of_one(results, name):
    assert len(results["one"]) % 6 != 0  # so that the last batches had to be filled
    assert results[name] == results["one"]


@pytest.mark.parametrize(
    "tf_config",
    ["", "{", '{"cluster": {"worker": []}}', '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}'],
)
def test_a_tf_config_that_does_not_fit_is_told_in_one_line(people, tmp_path, tf_config):
    environment = {**os.environ, "TF_CONFIG": tf_config, "CUDA_VISIBLE_DEVICES": "-1"}
    words = [sys.executable, "-m", "tfcpn.train", *flags(people, tmp_path / "run"), "--strategy=multi_worker"]
    failed = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    (line,) = failed.stderr.strip().splitlines()
    assert failed.returncode == 1 and "TF_CONFIG must be such as" in line


def test_machines_share_out_the_boxes_of_an_evaluation_in_order(people):
    from perfect import config_of

    from tfcpn.evaluation import Evaluation

    evaluation = Evaluation(config_of(people))
    evaluation.cfg = config_of(people).__class__(**{**evaluation.cfg.__dict__, "eval_batch_size": 2})
    alone = np.concatenate(list(evaluation.batches(evaluation.regions)))

    class TwoReplicas:
        num_replicas_in_sync = 2

    evaluation.strategy = TwoReplicas()
    contexts = [tf.distribute.InputContext(2, i, 2) for i in range(2)]
    shares = [list(evaluation.batches(evaluation.regions, context)) for context in contexts]
    together = np.concatenate([batch for pair in zip(*shares) for batch in pair])
    np.testing.assert_array_equal(together[: len(alone)], alone)
    assert len(shares[0]) == len(shares[1])
