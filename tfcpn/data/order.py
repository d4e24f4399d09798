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


def _order(source: Source, number) -> tf.data.Dataset:
    """The people of pass `number` in its order, by their numbers in the directory: nothing of the records is read."""
    first_image, first_person = (tf.constant(a) for a in (source.directory.file_start, source.directory.image_start))
    images = _in_turn(source, number, lambda file: tf.data.Dataset.range(first_image[file], first_image[file + 1]))
    people = images.flat_map(lambda image: tf.data.Dataset.range(first_person[image], first_person[image + 1]))
    return _shuffle(people, source, number)


def _group_of(source: Source) -> Callable:
    """The function from a person's number in the directory to a dataset of the person's group, read where it lies."""
    directory, names = source.directory, tf.constant(source.records.files)
    image, row, file, offset = (tf.constant(a) for a in directory[:4])

    def read(person) -> tf.data.Dataset:
        at = image[person]
        record = tf.raw_ops.TFRecordDatasetV2(
            filenames=names[file[at]][None], compression_type="", buffer_size=0, byte_offsets=offset[at][None]
        )
        record = tf.data.experimental.from_variant(record, tf.TensorSpec((), tf.string)).take(1)
        return record.map(lambda serialized: _one_of(serialized, row[person], source))

    return read


def _one_of(serialized, row, source: Source) -> dict:
    """The person in a row of a record's people."""
    r = parse(serialized, source.records.skeleton.count)
    return _image_of(r) | {name: r[f"people/{name}"][row][None] for name in _OF_A_PERSON}


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
        mine = _share(_numbers(source, first), share, context)
        return _work_in_parallel(mine.flat_map(_group_of(source)), work)
    # Whole passes decode an image once for all its people. In a pass that was begun, who is left is known only when
    # all are mixed.
    done, offset = divmod(first, source.people)
    passes = tf.data.Dataset.range(done + bool(offset), _MANY_PASSES)
    whole = passes.flat_map(lambda n: one_pass(source, n, work))
    if not offset:
        return whole
    rest = _numbers(source, first).take(source.people - offset)
    return _work_in_parallel(rest.flat_map(_group_of(source)), work).concatenate(whole)
