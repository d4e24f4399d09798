"""Some people of a pass in its order, for one of several pipelines or in the rest of a pass that was begun."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfcpn.data.examples import parse
from tfcpn.data.order import (
    MANY_PASSES,
    OF_A_PERSON,
    Source,
    groups_of,
    image_of,
    images_of,
    shuffled,
    worked_on,
)


def _record_of(source: Source, image, wanted) -> tf.data.Dataset:
    """The record of an image, by its number in the directory, read where it lies; if it is not wanted, nothing is
    read and an empty string stands for it.
    """
    files, place = (
        tf.constant(source.records.files),
        [tf.constant(a) for a in source.directory[2:4]],
    )
    names, offsets = (
        tf.repeat(a[None], tf.cast(wanted, tf.int32))
        for a in (files[place[0][image]], place[1][image])
    )
    record = tf.raw_ops.TFRecordDatasetV2(
        filenames=names, compression_type="", buffer_size=0, byte_offsets=offsets
    )
    record = tf.data.experimental.from_variant(record, tf.TensorSpec((), tf.string)).take(1)
    return record.concatenate(tf.data.Dataset.from_tensors("")).take(1)


def _those_in(serialized, rows, source: Source) -> dict:
    """The people in these rows of a record's people."""
    r = parse(serialized, source.records.skeleton.count)
    return image_of(r) | {name: tf.gather(r[f"people/{name}"], rows) for name in OF_A_PERSON}


def some_of(
    source: Source, begin: int, passes: tf.data.Dataset, work: Callable, mine: Callable
) -> tf.data.Dataset:
    """The results of work(group) for some people of passes, in their order. An image is decoded once for all of them
    in a pass; where it has none of them, it is not read.

    passes: from pass `begin` on, its people (P,) in its order, and the replica of each. mine: of replicas, which are
    this pipeline's.
    """
    start, row = (tf.constant(a) for a in (source.directory.image_start, source.directory.row))
    spec = groups_of(source, 0).map(work).element_spec
    kinds = tf.nest.flatten(spec)

    def packed(serialized, people, own, others) -> tf.Tensor:
        """(others + people, results) strings: what work gives for each person of an image; empty for those of
        others, of whom some come before.
        """

        def results():
            values = tf.nest.flatten(
                work(_those_in(serialized, tf.gather(row, people[own]), source))
            )
            return tf.stack(
                [
                    tf.map_fn(tf.io.serialize_tensor, v, fn_output_signature=tf.string)
                    for v in values
                ],
                1,
            )

        nothing = tf.fill([1, len(kinds)], "")
        texts = tf.cond(tf.reduce_any(own), results, lambda: nothing[:0])
        which = tf.where(own, tf.cumsum(tf.cast(own, tf.int64)), 0)
        which = tf.concat([tf.zeros([others], tf.int64), which], axis=0)
        return tf.gather(tf.concat([nothing, texts], axis=0), which)

    def unpacked(texts):
        values = [
            tf.io.parse_tensor(text, kind.dtype) for text, kind in zip(tf.unstack(texts), kinds)
        ]
        values = [tf.ensure_shape(value, kind.shape[1:]) for value, kind in zip(values, kinds)]
        return tf.nest.pack_sequence_as(spec, values)

    def in_this_order(pass_of_images, people_and_replicas) -> tf.data.Dataset:
        """Of a pass its number and the images (N,) of its records in its order; and its people (P,) in theirs."""
        (number, images), (order, replicas) = pass_of_images, people_and_replicas
        chosen = tf.scatter_nd(order[:, None], tf.cast(mine(replicas), tf.int64), [source.people])
        until = tf.concat([[0], tf.cumsum(chosen)], axis=0)
        first, end = tf.gather(start, images), tf.gather(start, images + 1)
        owned = tf.gather(until, end) > tf.gather(until, first)
        # Images without own people, which are most of many hosts', are not walked through one by one: how many people
        # they have is told with the next one, or, behind the last, with -1 in the place of an image.
        passed = tf.cumsum(end - first)
        before, behind = (
            tf.boolean_mask(count, owned) for count in (passed - (end - first), passed)
        )
        others = tf.concat([before, [source.people]], axis=0) - tf.concat([[0], behind], axis=0)
        places = tf.concat([tf.boolean_mask(images, owned), [-1]], axis=0)

        def read(image, others):
            there, image = image >= 0, tf.maximum(image, 0)
            people = tf.range(start[image], tf.where(there, start[image + 1], start[image]))
            own = tf.gather(chosen, people) > 0
            return _record_of(source, image, there).map(
                lambda serialized: (serialized, people, own, others)
            )

        # All are mixed, those of others without what they look like, so that everyone keeps their turn.
        groups = tf.data.Dataset.from_tensor_slices((places, others)).flat_map(read)
        mixed = shuffled(worked_on(groups, packed), source, number)
        some = mixed.filter(lambda texts: tf.strings.length(texts[0]) > 0)
        return some.map(unpacked, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def with_images(number) -> tf.data.Dataset:
        images = images_of(source, number).batch(len(source.directory.offset))
        return images.map(lambda images: (number, images))

    numbered = tf.data.Dataset.range(begin, MANY_PASSES).flat_map(with_images)
    return tf.data.Dataset.zip((numbered, passes)).prefetch(1).flat_map(in_this_order)
