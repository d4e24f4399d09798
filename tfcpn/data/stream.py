"""Pass after pass of people without an end, for one pipeline or one of several."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfcpn.data.dealing import assign_replicas
from tfcpn.data.order import MANY_PASSES, Source, numbers, one_pass
from tfcpn.data.own_people import some_of

# Global batches, and people: one by one it would take several times as long.
_DEALT_AT_ONCE, _AT_ONCE = 16, 4096


def _dealt(source: Source, first: int, people: int, replicas: int) -> tf.data.Dataset:
    """The next people, after `first` others, and the replica of each, in global batches of as many `people`."""
    image = tf.constant(source.directory.image)
    alone = tf.constant(np.diff(source.directory.image_start) == 1)

    def apply(batch):
        images = tf.gather(image, batch)
        return batch, assign_replicas(images, tf.gather(alone, images), replicas, _DEALT_AT_ONCE)

    return (
        numbers(source, first)
        .batch(_DEALT_AT_ONCE * people, drop_remainder=True)
        .map(apply)
        .rebatch(people)
    )


def in_order(
    source: Source,
    first: int,
    work: Callable,
    people_per_replica: int = 1,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """An endless stream of work(group) for one person after another: pass after pass, everyone once a pass.

    The order is a function of the source alone, so `first`, the number of people that an interrupted run has already
    seen, continues it exactly. context: which of several input pipelines (machines) this is. With several replicas
    the people of each global batch, counted from `first`, are dealt out as in `data.dealing` and come replica after
    replica: a replica sees the same whether the replicas are of one machine or of several, and after whole global
    batches a run goes on as if it had not stopped.
    """
    done, offset = divmod(first, source.people)
    pipelines, pipeline = (
        (context.num_input_pipelines, context.input_pipeline_id) if context else (1, 0)
    )
    replicas = context.num_replicas_in_sync if context else 1
    own, people = replicas // pipelines, people_per_replica * replicas

    def mine(hands):
        return hands // own == pipeline  # nobody's are -1

    def of_passes(later: tf.data.Dataset) -> tf.data.Dataset:
        """The people of each pass in its order, and their replicas. later: those who come now; who came in the first
        pass before them is nobody's.
        """
        over = numbers(source, first - offset).take(offset).batch(_AT_ONCE)
        return (
            over.map(lambda batch: (batch, -tf.ones_like(batch)))
            .concatenate(later)
            .rebatch(source.people)
        )

    if pipelines > 1:
        stream = some_of(
            source, done, of_passes(_dealt(source, first, people, replicas)), work, mine
        )
    else:
        passes = tf.data.Dataset.range(done + (offset > 0), MANY_PASSES)
        stream = passes.flat_map(lambda n: one_pass(source, n, work))
        if offset:
            left = numbers(source, first).take(source.people - offset).batch(_AT_ONCE)
            left = left.map(lambda batch: (batch, tf.zeros_like(batch)))
            stream = some_of(source, done, of_passes(left), work, mine).concatenate(stream)
    if own == 1:
        return stream

    def by_replica(batch, dealt):
        _, hands = dealt
        turns = tf.argsort(tf.boolean_mask(hands, mine(hands)), stable=True)
        return tf.nest.map_structure(lambda values: tf.gather(values, turns), batch)

    batches = stream.batch(people // pipelines, drop_remainder=True)
    return (
        tf.data.Dataset.zip((batches, _dealt(source, first, people, replicas)))
        .map(by_replica)
        .unbatch()
    )
