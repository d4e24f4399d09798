"""Who is trained on and in which order: records -> groups of people, each with its image.

A group is a dictionary: the `encoded` file, `orientation` and `image_size` (height, width) of an image, and `box`
(P, 4), `keypoints` (P, K, 3), `reach` (P,) and `id` (P,) of some of its people: all that are trained on, or one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.data.filters import EVERYBODY, Filter, keep
from tfcpn.data.record_sets import Records
from tfcpn.data.records import parse

SHARDS_AT_ONCE = 16
_READ_AHEAD = 1 << 20
_MANY_PASSES = 2**40
_OF_A_PERSON = ("box", "keypoints", "reach", "id")


class Source(NamedTuple):
    """Records to train from, and everything that the order of their people depends on; made by `open_source`.

    rules: who takes part. people: how many these are in a pass. shuffle_buffer: people that are mixed at a time,
    besides the shards, whose order is drawn and of which 16 are read in turn.
    """

    records: Records
    rules: Filter
    people: int
    seed: int
    shuffle_buffer: int


def open_source(records: Records, rules: Filter = EVERYBODY, seed: int = 0, shuffle_buffer: int = 2048) -> Source:
    """The people of the records who pass the rules. Raises InputError if there are none.

    With rules, the records are read once to count them (on COCO's 19 GB a minute or two).
    """
    source = Source(records, rules, records.trainable, seed, shuffle_buffer)
    if rules == EVERYBODY:
        return source
    groups = tf.data.TFRecordDataset(records.files, buffer_size=_READ_AHEAD).map(lambda r: _group(r, source))
    people = int(groups.reduce(tf.constant(0, tf.int64), lambda n, group: n + tf.size(group["id"], tf.int64)))
    if not people:
        raise InputError(
            f"{records.name}: none of its {records.trainable} people passes the filters and --align_missing=drop"
        )
    return source._replace(people=people)


def _group(serialized, source: Source) -> dict:
    """The people of one record to train on, which may be none."""
    r = parse(serialized, source.records.skeleton.count)
    trainable = r["people/trainable"] > 0
    in_image = tf.reduce_sum(tf.cast(trainable, tf.int32))
    rows = tf.where(trainable & keep(r["people/keypoints"], r["people/area"], in_image, source.rules))[:, 0]
    people = {name: tf.gather(r[f"people/{name}"], rows) for name in _OF_A_PERSON}
    image = {"encoded": r["image/encoded"], "orientation": r["image/orientation"], "image_size": r["image/size"]}
    return image | people


def _one_by_one(group: dict) -> tf.data.Dataset:
    """A group for each of the group's people."""
    people = tf.data.Dataset.from_tensor_slices({name: group[name][:, None] for name in _OF_A_PERSON})
    return people.map(lambda person: group | person)


def _groups(source: Source, number) -> tf.data.Dataset:
    """The groups of pass `number` (a Python integer or an int64 tensor), whose shards come in an order of its own."""
    number = tf.cast(number, tf.int64)
    seed = tf.stack([tf.cast(source.seed, tf.int64), number])
    order = tf.random.experimental.stateless_shuffle(source.records.files, seed=seed)
    serialized = tf.data.Dataset.from_tensor_slices(order).interleave(
        lambda file: tf.data.TFRecordDataset(file, buffer_size=_READ_AHEAD),
        cycle_length=SHARDS_AT_ONCE,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return serialized.map(lambda record: _group(record, source))


def _shuffle(people: tf.data.Dataset, source: Source, number) -> tf.data.Dataset:
    """The order depends on how many come, not on what they are: people and their crops are mixed alike."""
    seed = tf.cast(number, tf.int64) * 1_000_003 + source.seed
    return people.shuffle(source.shuffle_buffer, seed=seed, reshuffle_each_iteration=False)


def _work_in_parallel(groups: tf.data.Dataset, work: Callable) -> tf.data.Dataset:
    return groups.map(work, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).unbatch()


def one_pass(source: Source, number, work: Callable) -> tf.data.Dataset:
    """The results of work(group) for everyone once, in the order of pass `number`.

    work: a group -> tensors with a leading (P,). It sees all people of an image together, before they are mixed.
    """
    return _shuffle(_work_in_parallel(_groups(source, number), work), source, number)


def one_by_one(source: Source, first: int = 0) -> tf.data.Dataset:
    """The same order without an end, pass after pass, as groups of one person that nothing was done to yet."""
    done, offset = divmod(first, source.people)
    passes = tf.data.Dataset.range(done, _MANY_PASSES)
    return passes.flat_map(lambda n: _shuffle(_groups(source, n).flat_map(_one_by_one), source, n)).skip(offset)


def _share(people: tf.data.Dataset, share: int, context: tf.distribute.InputContext) -> tf.data.Dataset:
    """The people of one of several input pipelines, which are dealt `share` at a time to each in turn."""
    mine = people.enumerate().filter(
        lambda i, _: i // share % context.num_input_pipelines == context.input_pipeline_id
    )
    return mine.map(lambda _, person: person)


def in_order(
    source: Source,
    first: int,
    work: Callable,
    people_per_replica: int = 1,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """An endless stream of work(group) for one person after another: pass after pass, everyone once a pass.

    The order is a function of the seed alone, so `first`, the number of people that an interrupted run has
    already seen, continues it exactly. context: which of several input pipelines (machines) this is. Together they
    deal out each global batch in order, so that several machines see what one machine with as many replicas would.
    """
    if context is not None and context.num_input_pipelines > 1:
        # Each works on its own people only, who are known when all are mixed.
        share = people_per_replica * context.num_replicas_in_sync // context.num_input_pipelines
        return _work_in_parallel(_share(one_by_one(source, first), share, context), work)
    # Whole passes decode an image once for all its people. In a pass that was begun, who is left is known only when
    # all are mixed.
    done, offset = divmod(first, source.people)
    passes = tf.data.Dataset.range(done + bool(offset), _MANY_PASSES)
    whole = passes.flat_map(lambda n: one_pass(source, n, work))
    if not offset:
        return whole
    return _work_in_parallel(one_by_one(source, first).take(source.people - offset), work).concatenate(whole)
