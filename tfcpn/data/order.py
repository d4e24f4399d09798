"""Who is trained on and in which order: records -> groups of people, each with its image.

A group is a dictionary: the `encoded` file, `orientation` and `image_size` (height, width) of an image, and `box`
(P, 4), `keypoints` (P, K, 3), `reach` (P,) and `id` (P,) of some of its people: all that are trained on, or one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.data.directory import ExampleIndex, build_example_index
from tfcpn.data.examples import parse
from tfcpn.data.filters import NO_FILTER, PersonFilter, keep
from tfcpn.data.record_sets import Records

SHARDS_AT_ONCE = 16
_READ_AHEAD = 1 << 20
MANY_PASSES = 2**40
OF_A_PERSON = ("box", "keypoints", "reach", "id")


class Source(NamedTuple):
    """Records to train from, and everything that the order of their people depends on; made by `open_source`.

    rules: who takes part. seed, shuffle_buffer: people that are mixed at a time, besides the shards, whose order is
    drawn and of which 16 are read in turn. directory: who they are and where they lie.
    """

    records: Records
    rules: PersonFilter
    seed: int
    shuffle_buffer: int
    directory: ExampleIndex

    @property
    def people(self) -> int:
        """Of a pass."""
        return len(self.directory.image)


def open_training_set(
    records: Records, rules: PersonFilter = NO_FILTER, seed: int = 0, shuffle_buffer: int = 2048
) -> Source:
    """The people of the records who pass the rules. Raises InputError if there are none.

    Only the small files beside the shards are read.
    """
    directory = build_example_index(records, rules)
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
    rows = tf.where(
        trainable & keep(r["people/keypoints"], r["people/area"], in_image, source.rules)
    )[:, 0]
    return image_of(r) | {name: tf.gather(r[f"people/{name}"], rows) for name in OF_A_PERSON}


def image_of(r: dict) -> dict:
    """What a group has of a parsed record's image."""
    return {
        "encoded": r["image/encoded"],
        "orientation": r["image/orientation"],
        "image_size": r["image/size"],
    }


def _in_turn(
    source: Source, number, of_file: Callable, parallel_calls: int | None = None
) -> tf.data.Dataset:
    """of_file(number of a file) of all files of pass `number` (a Python integer or an int64 tensor), which come in an
    order of its own, 16 at a time.
    """
    seed = tf.stack([tf.cast(source.seed, tf.int64), tf.cast(number, tf.int64)])
    files = tf.range(len(source.records.files), dtype=tf.int64)
    return tf.data.Dataset.from_tensor_slices(
        tf.random.experimental.stateless_shuffle(files, seed=seed)
    ).interleave(
        of_file,
        cycle_length=SHARDS_AT_ONCE,
        num_parallel_calls=parallel_calls,
        deterministic=True if parallel_calls else None,
    )


def groups_of(source: Source, number) -> tf.data.Dataset:
    """The groups of pass `number`, image by image."""
    names = tf.constant(source.records.files)

    def records(file):
        return tf.data.TFRecordDataset(names[file], buffer_size=_READ_AHEAD)

    serialized = _in_turn(source, number, records, tf.data.AUTOTUNE)
    return serialized.map(lambda record: _group(record, source))


def images_of(source: Source, number) -> tf.data.Dataset:
    """The images of pass `number` in its order, by their numbers in the directory: nothing of the records is read."""
    first = tf.constant(source.directory.file_start)
    return _in_turn(
        source, number, lambda file: tf.data.Dataset.range(first[file], first[file + 1])
    )


def people_of_pass(source: Source, number) -> tf.data.Dataset:
    """The people of pass `number` in its order, likewise."""
    start = tf.constant(source.directory.image_start)

    def people(images):
        # All at once: to go from image to image takes ten times as long.
        return tf.ragged.range(tf.gather(start, images), tf.gather(start, images + 1)).values

    images = images_of(source, number).batch(len(source.directory.offset))
    return shuffled(images.map(people).unbatch(), source, number)


def shuffled(people: tf.data.Dataset, source: Source, number) -> tf.data.Dataset:
    """The order depends on how many come, not on what they are: people and their crops are mixed alike."""
    seed = tf.cast(number, tf.int64) * 1_000_003 + source.seed
    return people.shuffle(source.shuffle_buffer, seed=seed, reshuffle_each_iteration=False)


def worked_on(groups: tf.data.Dataset, work: Callable) -> tf.data.Dataset:
    """The results of work, (P, ...) for each group, one by one."""
    return groups.map(work, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).unbatch()


def one_pass(source: Source, number, work: Callable) -> tf.data.Dataset:
    """The results of work(group) for everyone once, in the order of pass `number`.

    work: a group -> tensors with a leading (P,). It sees all people of an image together, before they are mixed.
    """
    return shuffled(worked_on(groups_of(source, number), work), source, number)


def numbers(source: Source, first: int = 0) -> tf.data.Dataset:
    """The same order without an end, pass after pass, as numbers in the directory."""
    done, offset = divmod(first, source.people)
    passes = tf.data.Dataset.range(done, MANY_PASSES)
    return passes.flat_map(lambda n: people_of_pass(source, n)).skip(offset)


def who(source: Source, first: int, count: int) -> list[int]:
    """The ids of `count` people, from the one on who comes after `first` others."""
    people = list(numbers(source, first).take(count).as_numpy_iterator())
    return source.directory.id[people].tolist()
