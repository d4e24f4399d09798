"""Two workers of a tf.data service on loopback: everyone exactly once a pass."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from test_config import parse
from test_train_and_eval import flags, weights

from tfcpn import coco, records
from tfcpn.data_service import served
from tfcpn.errors import InputError
from tfcpn.filters import EVERYBODY, Filter
from tfcpn.people_order import open_source


@pytest.fixture(scope="module")
def address():
    """A dispatcher and two workers, started by the README's commands; the dispatcher's host:port."""
    tool, processes = [sys.executable, "tools/data_service.py"], []
    pipes = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    try:
        processes.append(subprocess.Popen([*tool, "--role=dispatcher", "--port=0"], **pipes))
        address = "localhost:" + processes[0].stdout.readline().strip().rsplit(":", 1)[1]
        for _ in range(2):
            processes.append(subprocess.Popen([*tool, "--role=worker", f"--dispatcher={address}"], **pipes))
        assert all(p.stdout.readline().startswith("worker of") for p in processes[1:])
        yield address
    finally:
        for process in processes:
            process.kill()


def trainable(people):
    _, annotated = coco.read_annotations(people.train_annotations)
    return sorted(p.id for p in annotated if p.trainable)


def ids(people, address, run, rules, count, first, needed):
    source = open_source(people.records, records.read_index(people.records), rules, shuffle_buffer=8)
    assert source.people == count
    return [int(i) for i in served(address, run, source, lambda group: group["id"], first, needed)]


def test_two_workers_feed_everyone_exactly_once_a_pass(people, address):
    everyone = trainable(people)
    count = len(everyone)
    seen = ids(people, address, "a", EVERYBODY, count, 0, 3 * count - 1)
    passes = [seen[i : i + count] for i in range(0, len(seen), count)]
    assert len(passes) == 4  # those that are needed, and a spare one
    for one in passes:
        assert sorted(one) == everyone
    assert passes[0] != sorted(passes[0])


def test_a_filter_holds_and_a_later_start_passes_over_as_many(people, address):
    rules = Filter(min_joints=17)
    count = open_source(people.records, records.read_index(people.records), rules).people
    assert 3 < count < len(trainable(people))
    assert len(ids(people, address, "c", rules, count, count + 3, count - 4)) == 2 * count - 3


def test_training_takes_its_people_from_the_service(people, address, command, tmp_path):
    words = [w for w in flags(people, tmp_path / "run", f"--data_service={address}") if w != "--deterministic"]
    command("-m", "tfcpn.train", *words)
    assert all(np.isfinite(v).all() for v in weights(tmp_path / "run", 2).values())


def test_several_machines_share_the_people_of_a_pass(people, address):
    count = len(trainable(people))
    source = open_source(people.records, records.read_index(people.records), shuffle_buffer=8)
    streams = []
    for i in range(2):
        context = tf.distribute.InputContext(2, i, 2)
        streams.append(iter(served(address, "d", source, lambda group: group["id"], 0, count, context)))
    seen = [int(next(streams[i % 2])) for i in range(count)]
    assert len(set(seen)) > count - 6  # all of the first pass but what one of them holds ready


def test_a_service_that_is_not_there_is_told_in_one_line(people, command, tmp_path):
    words = [w for w in flags(people, tmp_path / "run", "--data_service=localhost:1") if w != "--deterministic"]
    failed = command("-m", "tfcpn.train", *words, check=False)
    (line,) = failed.err.strip().splitlines()
    assert failed.status == 1 and "--data_service=localhost:1: nobody answers" in line


@pytest.mark.parametrize("words", [["--data_service=somewhere"], ["--data_service=a:1", "--deterministic"]])
def test_an_address_that_cannot_be_is_refused(words):
    with pytest.raises(InputError, match="--data_service"):
        parse(*words)
