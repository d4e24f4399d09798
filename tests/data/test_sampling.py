"""Each person once per pass, in an order that depends only on the seed."""

import numpy as np
import pytest
import tensorflow as tf

from tfcpn.data.coco import read_annotations
from tfcpn.data.record_sets import read_records
from tfcpn.data.sampling import _interleave_shards, open_training_set, training_stream


def ids(people, count, first=0, seed=0, shuffle_buffer=8):
    source = open_training_set(
        read_records(people.records), seed=seed, shuffle_buffer=shuffle_buffer
    )
    return [int(i) for i in training_stream(source, first, lambda group: group["id"]).take(count)]


def image_of(people):
    _, annotated, *_ = read_annotations(people.train_annotations)
    return {p.id: p.image_id for p in annotated if p.trainable}


def test_each_person_comes_once_per_pass_in_a_new_order(people):
    expected = sorted(image_of(people))
    count = len(expected)
    seen = ids(people, 3 * count)
    passes = [seen[i * count : (i + 1) * count] for i in range(3)]
    for one in passes:
        assert sorted(one) == expected
    assert passes[0] != passes[1] != passes[2]
    assert passes[0] != ids(people, count, seed=1)


@pytest.mark.parametrize("first", [1, 17, 200])
def test_a_stream_continues_where_another_stopped(people, first):
    assert ids(people, 30, first) == ids(people, first + 30)[first:]


@pytest.mark.parametrize("hosts", [1, 2])
def test_the_number_of_the_pass_is_known_after_a_resume_too(people, hosts):
    source = open_training_set(read_records(people.records), shuffle_buffer=8)
    first = source.people // 4 * 4 + 4  # within the second pass
    for number in range(hosts):
        context = tf.distribute.InputContext(hosts, number, hosts)
        stream = training_stream(
            source, first, lambda group: group["pass"] + 0 * group["id"], 2, context
        )
        passes = list(stream.take(source.people).as_numpy_iterator())
        assert set(passes) >= {1, 2} and passes == sorted(passes)


def test_the_order_mixes_shards_and_images(people):
    """People of one image, and images of one shard, are spread out."""
    image = image_of(people)
    order = ids(people, len(image), shuffle_buffer=64)
    assert np.mean([image[a] == image[b] for a, b in zip(order, order[1:])]) < 0.15


@pytest.mark.parametrize(
    "hosts, replicas, share, first",
    [
        (2, 2, 1, 0),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((3, 3, 2, 5), (4, 4, 3, 151), (2, 4, 3, 7), (2, 2, 50, 0))
        ),
    ],
)
def test_hosts_split_each_global_batch_as_one_host_with_as_many_replicas_does(
    people, hosts, replicas, share, first
):
    source = open_training_set(read_records(people.records), seed=2, shuffle_buffer=16)
    steps, ids_of = max(6, 2 * source.people // (replicas * share)), lambda group: group["id"]

    def dealt(hosts, first=first):
        contexts = [tf.distribute.InputContext(hosts, number, replicas) for number in range(hosts)]
        count = steps * replicas // hosts * share
        hands = [
            list(training_stream(source, first, ids_of, share, c).take(count).as_numpy_iterator())
            for c in contexts
        ]
        return np.reshape(hands, (hosts, steps, replicas // hosts, share)).transpose(1, 0, 2, 3)

    of_hosts, of_one = dealt(hosts).reshape(steps, -1), dealt(1).reshape(steps, -1)
    assert of_hosts.tolist() == of_one.tolist()
    later = first + 3 * replicas * share
    assert (
        np.reshape(dealt(hosts, later), (steps, -1))[: steps - 3].tolist() == of_hosts[3:].tolist()
    )
    order = ids(people, of_one.size, first, seed=2, shuffle_buffer=16)
    assert np.sort(of_one).tolist() == np.sort(np.reshape(order, of_one.shape)).tolist()


@pytest.mark.parametrize(
    "hosts, first", [(1, 10), (2, 0), pytest.param(4, 0, marks=pytest.mark.slow)]
)
def test_an_image_is_decoded_once_per_pass_for_all_its_people(people, hosts, first):
    """Also in the rest of an epoch, and on hosts, each of which decodes only local images."""
    source = open_training_set(read_records(people.records), seed=2, shuffle_buffer=16)

    def work(group):
        token = tf.random.uniform((), maxval=2**62, dtype=tf.int64)  # a new one at each decoding
        return group["id"], tf.repeat(token, tf.shape(group["id"])[0])

    share = 8
    image, count = image_of(people), (source.people - first) // hosts // share * share
    all_images, decoded = set(), 0
    for number in range(hosts):
        context = tf.distribute.InputContext(hosts, number, hosts)
        hand = list(
            training_stream(source, first, work, share, context).take(count).as_numpy_iterator()
        )
        images, tokens = {image[int(i)] for i, _ in hand}, {int(token) for _, token in hand}
        assert len(tokens) == len(images)
        all_images, decoded = all_images | images, decoded + len(tokens)
    assert len(all_images) < count * hosts
    assert decoded <= 1.1 * len(all_images)


def test_the_order_of_images_without_reading_is_that_of_the_records():
    """With more shards than are read at once, some of them empty, so that one takes the place of
    another.
    """
    rng = np.random.default_rng(0)
    counts = [int(n) for n in rng.integers(0, 7, 40)]
    starts = tf.constant(np.cumsum([0, *counts]))

    def read(file):
        return tf.data.Dataset.range(starts[file], starts[file + 1])

    class Files:
        seed = 5
        records = type("Records", (), {"files": [""] * len(counts)})

    alone, in_parallel = (
        list(_interleave_shards(Files, 2, read, calls).as_numpy_iterator()) for calls in (None, 4)
    )
    assert alone == in_parallel
    assert sorted(alone) == list(range(sum(counts)))
