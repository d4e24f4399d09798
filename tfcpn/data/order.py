"""Who is trained on and in which order: records -> groups of people, each with its image.

A group is a dictionary: the `encoded` file, `orientation` and `image_size` (height, width) of an image, and `box`
(P, 4), `keypoints` (P, K, 3), `reach` (P,) and `id` (P,) of some of its people: all that are trained on, or one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.data.directory import Directory, make_directory
from tfcpn.data.examples import parse
from tfcpn.data.filters import EVERYBODY, Filter, keep
from tfcpn.data.record_sets import Records

SHARDS_AT_ONCE = 16
_READ_AHEAD = 1 << 20
_MANY_PASSES = 2**40
_OF_A_PERSON = ("box", "keypoints", "reach", "id")


class Source(NamedTuple):
    """Records to train from, and everything that the order of their people depends on; made by `open_source`.

    rules: who takes part. seed, shuffle_buffer: people that are mixed at a time, besides the shards, whose order is
    drawn and of which 16 are read in turn. directory: who they are and where they lie.
    """

    records: Records
    rules: Filter
    seed: int
    shuffle_buffer: int
    directory: Directory

    @property
    def people(self) -> int:
        """Of a pass."""
        return len(self.directory.image)


def open_source(records: Records, rules: Filter = EVERYBODY, seed: int = 0, shuffle_buffer: int = 2048) -> Source:
    """The people of the records who pass the rules. Raises InputError if there are none.

    Only the small files beside the shards are read.
    """
    directory = make_directory(records, rules)
    if not len(directory.image):
        raise InputError(
            f"{records.name}: none of its {records.trainable} people passes the filters and --align_missing=drop"
        )
    return Source(records, rules, seed, shuffle_buffer, directory)


def _group(serialized, source: Source) -> dict:
    """The people of one record to train on, which may be none."""
    r = parse(serialized, source.records.skeleton.count)
    trainable = r["people/trainable"] > 0
    in_image = tf.reduce_sum(tf.cast(trainable, tf.int32))
    rows = tf.where(trainable & keep(r["people/keypoints"], r["people/area"], in_image, source.rules))[:, 0]
    return _image_of(r) | {name: tf.gather(r[f"people/{name}"], rows) for name in _OF_A_PERSON}


def _image_of(r: dict) -> dict:
    return {"encoded": r["image/encoded"], "orientation": r["image/orientation"], "image_size": r["image/size"]}


def _in_turn(source: Source, number, of_file: Callable) -> tf.data.Dataset:
    """of_file(number of a file) of all files of pass `number` (a Python integer or an int64 tensor), which come in an
    order of its own, 16 at a time.
    """
    seed = tf.stack([tf.cast(source.seed, tf.int64), tf.cast(number, tf.int64)])
    files = tf.range(len(source.records.files), dtype=tf.int64)
    return tf.data.Dataset.from_tensor_slices(tf.random.experimental.stateless_shuffle(files, seed=seed)).interleave(
        of_file, cycle_length=SHARDS_AT_ONCE, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )


def _groups(source: Source, number) -> tf.data.Dataset:
    """The groups of pass `number`, image by image."""
    names = tf.constant(source.records.files)
    serialized = _in_turn(source, number, lambda file: tf.data.TFRecordDataset(names[file], buffer_size=_READ_AHEAD))
    return serialized.map(lambda record: _group(record, source))


def _images(source: Source, number) -> tf.data.Dataset:
    """The images of pass `number` in its order, by their numbers in the directory: nothing of the records is read."""
    first = tf.constant(source.directory.file_start)
    return _in_turn(source, number, lambda file: tf.data.Dataset.range(first[file], first[file + 1]))


def _order(source: Source, number) -> tf.data.Dataset:
    """The people of pass `number` in its order, likewise."""
    first = tf.constant(source.directory.image_start)
    people = _images(source, number).flat_map(lambda image: tf.data.Dataset.range(first[image], first[image + 1]))
    return _shuffle(people, source, number)


def _record_of(source: Source, image, wanted) -> tf.data.Dataset:
    """The record of an image, by its number in the directory, read where it lies; if it is not wanted, nothing is
    read and an empty string stands for it.
    """
    files, place = tf.constant(source.records.files), [tf.constant(a) for a in source.directory[2:4]]
    names, offsets = (
        tf.repeat(a[None], tf.cast(wanted, tf.int32)) for a in (files[place[0][image]], place[1][image])
    )
    record = tf.raw_ops.TFRecordDatasetV2(filenames=names, compression_type="", buffer_size=0, byte_offsets=offsets)
    record = tf.data.experimental.from_variant(record, tf.TensorSpec((), tf.string)).take(1)
    return record.concatenate(tf.data.Dataset.from_tensors("")).take(1)


def _those_in(serialized, rows, source: Source) -> dict:
    """The people in these rows of a record's people."""
    r = parse(serialized, source.records.skeleton.count)
    return _image_of(r) | {name: tf.gather(r[f"people/{name}"], rows) for name in _OF_A_PERSON}


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


def _numbers(source: Source, first: int = 0) -> tf.data.Dataset:
    """The same order without an end, pass after pass, as numbers in the directory."""
    done, offset = divmod(first, source.people)
    passes = tf.data.Dataset.range(done, _MANY_PASSES)
    return passes.flat_map(lambda n: _order(source, n)).skip(offset)


def who(source: Source, first: int, count: int) -> list[int]:
    """The ids of `count` people, from the one on who comes after `first` others."""
    numbers = list(_numbers(source, first).take(count).as_numpy_iterator())
    return source.directory.id[numbers].tolist()


def _some_of(source: Source, numbers: tf.data.Dataset, work: Callable, first: int, mine: Callable) -> tf.data.Dataset:
    """The results of work(group) for some of the passes `numbers`, in their order. In a pass an image is decoded once
    for all of them, and not at all where it has none of them.

    first: people of all passes that are over. mine: of turns after those, 0, 1, ..., which are this pipeline's.
    """
    start, row = (tf.constant(a) for a in (source.directory.image_start, source.directory.row))
    spec = _groups(source, 0).map(work).element_spec
    kinds = tf.nest.flatten(spec)

    def packed(serialized, people, own) -> tf.Tensor:
        """(people, results) strings: what work gives for each person of an image; empty for those of others."""

        def results():
            values = tf.nest.flatten(work(_those_in(serialized, tf.gather(row, people[own]), source)))
            return tf.stack([tf.map_fn(tf.io.serialize_tensor, v, fn_output_signature=tf.string) for v in values], 1)

        nothing = tf.fill([1, len(kinds)], "")
        texts = tf.cond(tf.reduce_any(own), results, lambda: nothing[:0])
        return tf.gather(tf.concat([nothing, texts], axis=0), tf.where(own, tf.cumsum(tf.cast(own, tf.int32)), 0))

    def unpacked(texts):
        values = [tf.io.parse_tensor(text, kind.dtype) for text, kind in zip(tf.unstack(texts), kinds)]
        values = [tf.ensure_shape(value, kind.shape[1:]) for value, kind in zip(values, kinds)]
        return tf.nest.pack_sequence_as(spec, values)

    def in_this_order(number, order) -> tf.data.Dataset:
        """order: (P,) the people of pass `number` as they come, by their numbers in the directory."""
        turn = tf.cast(number, tf.int64) * source.people + tf.range(source.people, dtype=tf.int64) - first
        chosen = tf.scatter_nd(order[:, None], tf.cast((turn >= 0) & mine(turn), tf.int32), [source.people]) > 0

        def read(image):
            people = tf.range(start[image], start[image + 1])
            own = tf.gather(chosen, people)
            return _record_of(source, image, tf.reduce_any(own)).map(lambda serialized: (serialized, people, own))

        # All are mixed, those of others without what they look like, so that everyone keeps their turn.
        mixed = _shuffle(_work_in_parallel(_images(source, number).flat_map(read), packed), source, number)
        some = mixed.filter(lambda texts: tf.strings.length(texts[0]) > 0)
        return some.map(unpacked, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    orders = numbers.flat_map(lambda n: _order(source, n).batch(source.people).map(lambda order: (n, order)))
    return orders.prefetch(1).flat_map(in_this_order)


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
    done, offset = divmod(first, source.people)
    pipelines, number = (context.num_input_pipelines, context.input_pipeline_id) if context else (1, 0)
    if pipelines > 1:
        share = people_per_replica * context.num_replicas_in_sync // pipelines
        passes = tf.data.Dataset.range(done, _MANY_PASSES)
        return _some_of(source, passes, work, first, lambda turn: turn // share % pipelines == number)
    passes = tf.data.Dataset.range(done + bool(offset), _MANY_PASSES)
    whole = passes.flat_map(lambda n: one_pass(source, n, work))
    # Of a pass that was begun, those who are left.
    this = tf.data.Dataset.range(done, done + 1)
    return _some_of(source, this, work, first, lambda turn: turn >= 0).concatenate(whole) if offset else whole
