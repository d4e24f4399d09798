"""Pass after pass of people without an end, for one pipeline or one of several."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfcpn.data.dealing import deal
from tfcpn.data.order import MANY_PASSES, Source, numbers, one_pass
from tfcpn.data.own_people import some_of

_DEALT_AT_ONCE = 16  # global batches: one by one it would take several times as long


def _dealt(source: Source, first: int, people: int, replicas: int) -> tf.data.Dataset:
    """The next people, after `first` others, and the replica of each, in global batches of as many `people`."""
    image = tf.constant(source.directory.image)
    alone = tf.constant(np.diff(source.directory.image_start) == 1)

    def apply(batch):
        images = tf.gather(image, batch)
        return batch, deal(images, tf.gather(alone, images), replicas, _DEALT_AT_ONCE)

    return numbers(source, first).batch(_DEALT_AT_ONCE * people, drop_remainder=True).map(apply).rebatch(people)


def in_order(
    source: Source,
    first: int,
    work: Callable,
    people_per_replica: int = 1,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """An endless stream of work(group) for one person after another: pass after pass, everyone once a pass.

    The order is a function of the seed alone, so `first`, the number of people that an interrupted run has
    already seen, continues it exactly. context: which of several input pipelines (machines) this is. Within each
    global batch people are dealt out to the replicas as in `data.dealing`, so that a replica sees the same whether
    the replicas are of one machine or of several.
    """
    done, offset = divmod(first, source.people)
    pipelines, number = (context.num_input_pipelines, context.input_pipeline_id) if context else (1, 0)
    replicas = context.num_replicas_in_sync if context else 1
    own, people = replicas // pipelines, people_per_replica * replicas
    passes = tf.data.Dataset.range(done, MANY_PASSES)

    def mine(replica):
        return (replica >= 0) & (replica // own == number)

    def of_passes(later: tf.data.Dataset) -> tf.data.Dataset:
        """The people of each pass in its order, and their replicas. later: those who come now; who came in the first
        pass before them is nobody's.
        """
        over = numbers(source, first - offset).take(offset)
        return over.batch(1).map(lambda one: (one, -tf.ones_like(one))).concatenate(later).rebatch(source.people)

    if pipelines > 1:
        stream = some_of(source, done, of_passes(_dealt(source, first, people, replicas)), work, mine)
    else:
        stream = passes.skip(int(offset > 0)).flat_map(lambda n: one_pass(source, n, work))
    if offset and pipelines == 1:
        left = numbers(source, first).take(source.people - offset).batch(1).map(lambda one: (one, tf.zeros_like(one)))
        stream = some_of(source, done, of_passes(left), work, mine).concatenate(stream)
    if own == 1:
        return stream

    def by_replica(batch, dealt):
        replicas = dealt[1]
        turns = tf.argsort(tf.boolean_mask(replicas, mine(replicas)), stable=True)
        return tf.nest.map_structure(lambda values: tf.gather(values, turns), batch)

    batches = stream.batch(people // pipelines, drop_remainder=True)
    return tf.data.Dataset.zip((batches, _dealt(source, first, people, replicas))).map(by_replica).unbatch()
