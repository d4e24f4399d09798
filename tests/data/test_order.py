"""Everyone once a pass, in an order that the seed alone decides."""

import numpy as np
import pytest

from tfcpn.data.coco import read_annotations
from tfcpn.data.order import in_order, open_source
from tfcpn.data.record_sets import read_records


def ids(people, count, first=0, seed=0, shuffle_buffer=8):
    source = open_source(read_records(people.records), seed=seed, shuffle_buffer=shuffle_buffer)
    return [int(i) for i in in_order(source, first, lambda group: group["id"]).take(count)]


def image_of(people):
    _, annotated, *_ = read_annotations(people.train_annotations)
    return {p.id: p.image_id for p in annotated if p.trainable}


def test_everyone_comes_once_a_pass_in_an_order_of_its_own(people):
    everyone = sorted(image_of(people))
    count = len(everyone)
    seen = ids(people, 3 * count)
    passes = [seen[i * count : (i + 1) * count] for i in range(3)]
    for one in passes:
        assert sorted(one) == everyone
    assert passes[0] != passes[1] != passes[2]
    assert passes[0] != ids(people, count, seed=1)


@pytest.mark.parametrize("first", [1, 17, 200])
def test_a_stream_continues_where_another_stopped(people, first):
    assert ids(people, 30, first) == ids(people, first + 30)[first:]


def test_the_order_mixes_shards_and_images(people):
    """People of one image, and images of one shard, are spread out."""
    image = image_of(people)
    order = ids(people, len(image), shuffle_buffer=64)
    assert np.mean([image[a] == image[b] for a, b in zip(order, order[1:])]) < 0.15
