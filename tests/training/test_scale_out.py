"""Several replicas and processes equal one; test_replicas.py has the CPN on two replicas."""

import json
import os
import re
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from support.commands import ROOT, TENSORFLOW_ON_CPU, run_process
from support.perfect import PerfectKeypoints, config_of, evaluation_of
from support.small_run import flags, weights
from support.tiny import TINY
from tfcpn.evaluation import estimate
from tfcpn.evaluation.estimate import regions_of_boxes

# One process with two virtual CPU devices: the reference for two processes with one device each.
TWO_DEVICES = (
    "import runpy, sys, tensorflow as tf; cpu = tf.config.list_physical_devices('CPU')[0];"
    "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2);"
    + TINY
)


def two_ports():
    sockets = [socket.socket() for _ in range(2)]
    for s in sockets:
        s.bind(("localhost", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def start_workers(module, arguments, own=((), ()), first="worker"):
    """Start the same command in two processes, connected over localhost.

    own: flags of each. first: task type of the first process in TF_CONFIG.
    """
    hosts = [f"localhost:{port}" for port in two_ports()]
    cluster = {"worker": hosts} if first == "worker" else {first: hosts[:1], "worker": hosts[1:]}
    processes = []
    for index in range(2):
        task = (
            {"type": "worker", "index": index}
            if first == "worker"
            else {"type": [first, "worker"][index], "index": 0}
        )
        environment = {
            **os.environ,
            **TENSORFLOW_ON_CPU,
            "TF_CONFIG": json.dumps({"cluster": cluster, "task": task}),
        }
        command = [
            sys.executable,
            "-c",
            TINY,
            module,
            *arguments,
            *own[index],
            "--strategy=multi_worker",
        ]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, **pipes))
    return processes


def finish(processes, timeout=400):
    """Return (standard output, standard error) of each process."""
    try:
        return [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()


def run_workers(module, arguments, first="worker"):
    """Run two processes to the end; return the standard output of the first."""
    processes = start_workers(module, arguments, first=first)
    outputs = finish(processes)
    for process, (_, err) in zip(processes, outputs):
        assert process.returncode == 0, err[-3000:]
    assert outputs[1][0] == ""
    return outputs[0][0]


@pytest.fixture(scope="module")
def runs(people, tmp_path_factory):
    """The same two epochs by one process with two replicas and by two processes."""
    folder = tmp_path_factory.mktemp("scale_out")
    arguments = [
        "--deterministic",
        "--batch_size=8",
        "--epoch_size=32",
        "--eval_every=2",
        "--eval_batch_size=3",
    ]
    run_process(
        "-c",
        TWO_DEVICES,
        "tfcpn.train",
        *flags(people, folder / "one", *arguments),
        "--strategy=mirrored",
    )
    run_workers("tfcpn.train", flags(people, folder / "two", *arguments))
    return folder


@pytest.mark.slow
def test_two_processes_train_the_weights_of_one(runs):
    """Equal to 1e-5 of the norm of each variable, as gradients are summed in another order."""
    a, b = weights(runs / "one", 1), weights(runs / "two", 1)
    assert set(a) == set(b)
    for name in a:
        difference = np.linalg.norm(np.float64(a[name]) - np.float64(b[name]))
        assert difference <= 1e-5 * np.linalg.norm(np.float64(a[name])) + 1e-7, name


@pytest.mark.slow
def test_only_one_process_writes(runs):
    assert sorted(p.name for p in (runs / "two/checkpoints").iterdir()) == [
        "epoch_0001",
        "epoch_0002",
    ]
    assert len((runs / "two/metrics.csv").read_text().splitlines()) == 3
    assert len(list((runs / "two/events").iterdir())) == 1


@pytest.fixture(scope="module")
def results(runs, people):
    """Results files of one checkpoint: by one replica, two replicas, and two processes."""
    found = {}
    arguments = [
        f"--model_dir={runs / 'one'}",
        "--epoch=2",
        "--eval_batch_size=3",
        "--deterministic",
    ]
    path = runs / "one/eval/epoch_0002/results.json"
    for name in ("one", "two replicas", "two processes"):
        path.unlink(missing_ok=True)
        if name == "one":
            run_process("-c", TINY, "tfcpn.eval", *arguments, "--strategy=one")
        elif name == "two replicas":
            run_process("-c", TWO_DEVICES, "tfcpn.eval", *arguments, "--strategy=mirrored")
        else:
            assert "labeled people count" in run_workers("tfcpn.eval", arguments)
        found[name] = json.loads(path.read_text())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two replicas", "two processes"])
def test_a_distributed_evaluation_writes_the_results_of_one_process(results, name):
    assert len(results["one"]) % 6 != 0  # so that the last batches are padded
    assert results[name] == results["one"]


LONGER = (
    "--deterministic",
    "--batch_size=8",
    "--epoch_size=640",
    "--epochs=1",
    "--checkpoint_minutes=1e-9",
)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_stops_the_other_and_both_resume_exactly(people, tmp_path, longer, lost):
    arguments = flags(people, tmp_path, *LONGER)
    processes, deadline = start_workers("tfcpn.train", arguments), time.monotonic() + 300
    while not list(tmp_path.glob("checkpoints/epoch_0000_step_*")):
        assert time.monotonic() < deadline and all(process.poll() is None for process in processes)
        time.sleep(0.02)
    processes[lost].kill()
    _, printed = finish(processes, timeout=120)[1 - lost]
    assert processes[1 - lost].returncode == 75
    last = printed.strip().splitlines()[-1]
    assert (
        last.startswith("error: another process was lost (")
        and "; run the same command to resume; the last good" in last
    )
    assert "1 of it" not in run_workers("tfcpn.train", arguments)
    a, b = weights(longer, 1), weights(tmp_path, 1)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.fixture(scope="module")
def longer(people, tmp_path_factory):
    """The uninterrupted run of LONGER; the first process is called chief, as in Kubeflow and
    Vertex.
    """
    folder = tmp_path_factory.mktemp("longer")
    run_workers("tfcpn.train", flags(people, folder, *LONGER), first="chief")
    return folder


@pytest.mark.slow
def test_processes_with_different_inputs_are_reported_and_do_not_train(people, tmp_path):
    own = ((), ("--seed=3", "--eval_every=1"))
    processes = start_workers("tfcpn.train", flags(people, tmp_path / "run", "--batch_size=8"), own)
    for process, (_, err) in zip(processes, finish(processes)):
        assert process.returncode == 1
        last = err.strip().splitlines()[-1]
        printed = (
            r"error: worker 1 \(localhost:\d+\) has another set of settings than the first process "
            r"\(\d+, not \d+\)"
        )
        assert re.search(printed, last), last
        assert "has another validation than the first process (1, not 0)" in last
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    "tf_config",
    [
        "",
        "{",
        '{"cluster": {"worker": []}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_an_invalid_tf_config_is_reported_in_one_line(
    people, command, tf_config, monkeypatch, tmp_path
):
    monkeypatch.setenv("TF_CONFIG", tf_config)
    arguments = flags(people, tmp_path / "run", "--strategy=multi_worker")
    failed = command("-m", "tfcpn.train", *arguments, check=False)
    (line,) = failed.err.strip().splitlines()
    assert failed.status == 1 and "TF_CONFIG must be such as" in line


def test_hosts_split_the_boxes_of_an_evaluation_in_order(people):
    evaluation = evaluation_of(config_of(people))
    predictor, people = PerfectKeypoints(evaluation), evaluation.people
    regions = regions_of_boxes(
        people.boxes, people.image_files, evaluation.components.alignment, predictor.crop_spec.size
    )

    def batches(context=None):
        return list(estimate._batches(predictor, people.image_files, regions, 2, context))

    alone = np.concatenate(batches())

    class TwoReplicas:
        num_replicas_in_sync = 2

    predictor.strategy = TwoReplicas()
    shares = [batches(tf.distribute.InputContext(2, i, 2)) for i in range(2)]
    together = np.concatenate([batch for pair in zip(*shares) for batch in pair])
    np.testing.assert_array_equal(together[: len(alone)], alone)
    assert len(shares[0]) == len(shares[1])
