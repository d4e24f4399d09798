"""The metadata files next to the shards: they equal the shards and save reading them."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfcpn.data import record_format as people_file
from tfcpn.data.record_format import load_shard_metadata, read_index
from tfcpn.data.record_sets import NO_FILTER, PersonFilter, read_records
from tfcpn.data.sampling import example_ids, open_training_set, training_stream
from tfcpn.utils.errors import InputError


def shards(people):
    return [(people.records / shard.file, shard) for shard in read_index(people.records).shards]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b))


def test_shard_metadata_equals_the_shard(people):
    for path, shard in shards(people):
        assert people_file.shard_metadata_path(path).exists()
        assert same(
            load_shard_metadata(path, shard, 17), people_file._metadata_from_records(path, 17)
        )


@pytest.mark.parametrize(
    "damage",
    [
        lambda file, other: file.unlink(),
        lambda file, other: file.write_bytes(b""),
        lambda file, other: file.write_bytes(file.read_bytes()[:-30]),
        lambda file, other: file.write_bytes(bytes(reversed(file.read_bytes()))),
        lambda file, other: file.write_bytes(other.read_bytes()),
    ],
    ids=["missing", "empty", "cut off", "garbage", "of another shard"],
)
def test_metadata_that_does_not_match_is_rebuilt_from_the_shard(people_copy, damage):
    (path, shard), (other, _) = shards(people_copy)[:2]
    before = load_shard_metadata(path, shard, 17)
    damage(people_file.shard_metadata_path(path), people_file.shard_metadata_path(other))
    assert same(load_shard_metadata(path, shard, 17), before)
    assert people_file._read_metadata(people_file.shard_metadata_path(path), shard, 17) is not None


def test_metadata_that_cannot_be_written_is_read_from_the_shard_each_time(people_copy, monkeypatch):
    path, shard = shards(people_copy)[0]
    people_file.shard_metadata_path(path).unlink()

    def read_only(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(people_file, "write_atomically", read_only)
    assert len(load_shard_metadata(path, shard, 17).id) == shard.people


def test_a_damaged_shard_without_metadata_is_refused(people_copy):
    path, shard = shards(people_copy)[0]
    people_file.shard_metadata_path(path).unlink()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="a record is damaged"):
        load_shard_metadata(path, shard, 17)


def bytes_read(what) -> int:
    def count():
        return int(Path("/proc/self/io").read_text().split()[1])

    what()  # do not count what TensorFlow loads at first use
    before = count()
    what()
    return count() - before


@pytest.mark.skipif(
    not Path("/proc/self/io").exists(), reason="Linux tells a process what it has read there"
)
@pytest.mark.parametrize(
    "rules", [NO_FILTER, PersonFilter(min_keypoints=12)], ids=["no filter", "filtered"]
)
def test_filtering_and_resuming_read_a_fraction_and_hosts_read_only_local_images(people, rules):
    records = read_records(people.records)
    all_of_it = sum(shard.bytes for _, shard in shards(people))
    image = max(
        np.diff([*load_shard_metadata(path, shard, 17).offset, shard.bytes]).max()
        for path, shard in shards(people)
    )
    assert bytes_read(lambda: open_training_set(records, rules)) < all_of_it / 4
    source = open_training_set(records, rules, shuffle_buffer=8)
    ids = lambda group: group["id"]  # noqa: E731
    middle = lambda: list(training_stream(source, source.people // 2, ids).take(1))  # noqa: E731
    # Parallel calls of tf.data read ahead of the requested example.
    assert bytes_read(middle) < min(all_of_it / 2, 20 * image)
    context = tf.distribute.InputContext(8, 3, 8)
    local = lambda: list(training_stream(source, 0, ids, 1, context).take(1))  # noqa: E731
    assert bytes_read(local) < min(all_of_it / 2, 20 * image)


def test_example_ids_are_known_without_the_images(people):
    source = open_training_set(read_records(people.records), seed=3, shuffle_buffer=8)
    stream = [
        int(i)
        for i in training_stream(source, 0, lambda group: group["id"]).take(2 * source.people)
    ]
    assert example_ids(source, 0, len(stream)) == stream
    assert example_ids(source, source.people + 3, 5) == stream[source.people + 3 :][:5]
