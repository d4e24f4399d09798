"""Two workers of a tf.data service on localhost: each person exactly once per pass."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from support.commands import ROOT
from support.parsing import parse
from support.small_run import flags, weights
from tfcpn.data.coco import read_annotations
from tfcpn.data.pipeline import SERVICE_PASSES, from_data_service
from tfcpn.data.record_sets import NO_FILTER, PersonFilter, read_records
from tfcpn.data.sampling import open_training_set
from tfcpn.utils.errors import InputError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address():
    """Start a dispatcher and two workers with the commands of the README; yield the address."""
    tool, processes = [sys.executable, "tools/data_service.py"], []
    pipes = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    try:
        processes.append(subprocess.Popen([*tool, "--role=dispatcher", "--port=0"], **pipes))
        address = "localhost:" + processes[0].stdout.readline().strip().rsplit(":", 1)[1]
        for _ in range(2):
            processes.append(
                subprocess.Popen([*tool, "--role=worker", f"--dispatcher={address}"], **pipes)
            )
        assert all(p.stdout.readline().startswith("worker of") for p in processes[1:])
        yield address
    finally:
        for process in processes:
            process.kill()


def trainable(people):
    _, annotated, *_ = read_annotations(people.train_annotations)
    return sorted(p.id for p in annotated if p.trainable)


def ids(people, address, run, rules, count, first, taken):
    source = open_training_set(read_records(people.records), rules, shuffle_buffer=8)
    assert source.people == count
    return [
        int(i)
        for i in from_data_service(
            address,
            run_name=run,
            training_set=source,
            crop_fn=lambda group: group["id"],
            first=first,
        ).take(taken)
    ]


def test_two_workers_deliver_each_person_exactly_once_per_pass(people, address):
    expected = trainable(people)
    count = len(expected)
    seen = ids(people, address, "a", NO_FILTER, count, 0, 3 * SERVICE_PASSES * count)
    passes = [seen[i : i + count] for i in range(0, len(seen), count)]
    assert len(passes) == 3 * SERVICE_PASSES
    for one in passes:
        assert sorted(one) == expected
    assert passes[0] != sorted(passes[0])
    assert len({tuple(one) for one in passes}) == len(passes)  # repeated passes are shuffled again


def test_the_dataset_registered_with_the_service_does_not_depend_on_the_run_length(
    people, address, monkeypatch
):
    printed, service = [], tf.data.experimental.service
    usual = service.register_dataset
    monkeypatch.setattr(
        service,
        "register_dataset",
        lambda *args, **more: (printed.append(more), usual(*args, **more))[1],
    )
    source = open_training_set(read_records(people.records), shuffle_buffer=8)
    stream = from_data_service(
        address,
        run_name="b",
        training_set=source,
        crop_fn=lambda group: group["id"],
        first=7 * source.people,
    )
    assert len(printed) == SERVICE_PASSES and stream.cardinality() in (
        tf.data.INFINITE_CARDINALITY,
        tf.data.UNKNOWN_CARDINALITY,
    )


def test_filters_apply_and_a_later_start_skips_examples(people, address):
    rules = PersonFilter(min_keypoints=17)
    count = open_training_set(read_records(people.records), rules).people
    assert 3 < count < len(trainable(people))
    rest = ids(people, address, "c", rules, count, count + 3, 2 * count - 3)
    assert len(set(rest[: count - 3])) == count - 3 and sorted(rest[count - 3 :]) == sorted(
        set(rest)
    )


def test_a_restarted_run_gets_every_person_again(people, address):
    """A run that resumes after a crash does not continue the job of the earlier start."""
    expected = trainable(people)
    count = len(expected)
    source = open_training_set(read_records(people.records), shuffle_buffer=8)
    stream = iter(
        from_data_service(
            address,
            run_name="e, first start",
            training_set=source,
            crop_fn=lambda group: group["id"],
            first=0,
        )
    )
    for _ in range(count // 2):
        next(stream)
    again = ids(people, address, "e, second start", NO_FILTER, count, 0, 2 * count)
    assert sorted(again) == sorted(2 * expected)


def test_training_reads_from_the_service(people, address, command, tiny_network, tmp_path):
    command("-m", "tfcpn.train", *flags(people, tmp_path / "run", f"--data_service={address}"))
    assert all(np.isfinite(v).all() for v in weights(tmp_path / "run", 2).values())


def test_several_hosts_share_the_people_of_a_pass(people, address, tmp_path):
    copies = [people.records, shutil.copytree(people.records, tmp_path / "elsewhere")]
    count = len(trainable(people))
    source = open_training_set(read_records(people.records), shuffle_buffer=8)

    def read(machine):
        context = tf.distribute.InputContext(2, machine, 2)
        # Each host has the records in another folder.
        there = source._replace(records=read_records(copies[machine]))
        return iter(
            from_data_service(
                address,
                run_name="d",
                training_set=there,
                crop_fn=lambda group: group["id"],
                first=0,
                context=context,
            )
        )

    streams, seen = [read(machine) for machine in range(2)], []
    for turn in range(6 * count):
        seen.append(int(next(streams[turn % 2])))
    # Together the hosts get each person about equally often, whatever the share of each host,
    # except for prefetched batches.
    often = [seen.count(person) for person in trainable(people)]
    assert min(often) >= 4 and max(often) <= 8 and sum(often) == 6 * count


def test_a_missing_service_is_reported_in_one_line(people, command, tmp_path):
    arguments = flags(people, tmp_path / "run", "--data_service=localhost:1")
    failed = command("-m", "tfcpn.train", *arguments, check=False)
    (line,) = failed.err.strip().splitlines()
    assert failed.status == 1 and "--data_service=localhost:1: no answer" in line


@pytest.mark.parametrize(
    "arguments", [["--data_service=somewhere"], ["--data_service=a:1", "--deterministic"]]
)
def test_an_invalid_address_is_refused(arguments):
    with pytest.raises(InputError, match="--data_service"):
        parse(*arguments)
