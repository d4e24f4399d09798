"""Several processes that train one network: that they begin alike, and with the first one's weights."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfcpn.base.device import is_distributed
from tfcpn.base.errors import InputError


def checksum(content) -> int:
    """CRC-32 of bytes, or of any value that JSON can hold."""
    data = (
        content
        if isinstance(content, bytes)
        else json.dumps(content, sort_keys=True, default=str).encode()
    )
    return zlib.crc32(data)


def checksum_of(strategy: tf.distribute.Strategy, variables: Mapping[str, tf.Variable]) -> int:
    """CRC-32 over the values that variables have on this process's first replica."""
    value = 0
    for name in sorted(variables):
        local = strategy.experimental_local_results(variables[name])[0]
        value = zlib.crc32(np.ascontiguousarray(local.numpy()).tobytes(), value)
    return value


def _gathered(strategy: tf.distribute.Strategy, numbers: list[int]) -> np.ndarray:
    """The numbers of every process, (processes, N): each process gives its own."""
    row = tf.constant([numbers], tf.int64)
    each = strategy.experimental_distribute_values_from_function(lambda context: row)
    rows = strategy.gather(each, axis=0).numpy()
    return rows[:: max(1, len(strategy.experimental_local_results(each)))]


def _named(strategy: tf.distribute.Strategy, number: int) -> str:
    """What TF_CONFIG calls a process, and its address."""
    spec = strategy.cluster_resolver.cluster_spec().as_dict()
    places = [
        (kind, i, host) for kind in ("chief", "worker") for i, host in enumerate(spec.get(kind, []))
    ]
    kind, index, host = places[number]
    return f"{kind} {index} ({host})"


def check_workers_in_sync(strategy: tf.distribute.Strategy, facts: Mapping[str, int]) -> int:
    """See that all processes have the same facts, and return a random number that only this start of theirs has.

    facts: numbers by name, checksums of what is no number. To be called by all processes at once. Raises InputError
    in all of them, which names those that differ from the first.
    """
    token = int.from_bytes(os.urandom(7), "little")
    if not is_distributed(strategy):
        return token
    *rows, tokens = _gathered(strategy, [*facts.values(), token]).T
    told = [
        f"{_named(strategy, number)} has another {name} than the first process ({row[number]}, not {row[0]})"
        for name, row in zip(facts, rows)
        for number in np.flatnonzero(row != row[0])
    ]
    if told:
        raise InputError(f"{'; '.join(told)}: give all of them the same; nothing was started")
    return int(tokens[0])


def _unlike(variables: Mapping[str, tf.Variable]) -> list[tf.Variable]:
    """Those of which every replica has a value of its own, as the statistics of batch norms. What is saved of them is
    the mean.
    """
    return [
        v for v in variables.values() if v.synchronization == tf.VariableSynchronization.ON_READ
    ]


def gather_per_replica_values(
    strategy: tf.distribute.Strategy, variables: Mapping[str, tf.Variable]
) -> np.ndarray | None:
    """What each replica has of its own, (replicas, N) float32; None if there is one replica. For all processes at
    once.
    """
    mine = _unlike(variables)
    if strategy.num_replicas_in_sync == 1 or not mine:
        return None

    @tf.function
    def own():
        return tf.concat([tf.reshape(v.read_value(), [-1]) for v in mine], axis=0)[None]

    return strategy.gather(strategy.run(own), axis=0).numpy()


def restore_per_replica_values(
    strategy: tf.distribute.Strategy, variables: Mapping[str, tf.Variable], rows: np.ndarray | None
) -> None:
    """The reverse of `own_values`, so that a run goes on with the very bits; nothing for None."""
    if rows is None:
        return
    numbers = strategy.experimental_distribute_values_from_function(
        lambda c: tf.constant(c.replica_id_in_sync_group)
    )
    places, at = [int(n) for n in strategy.experimental_local_results(numbers)], 0
    for variable in _unlike(variables):
        size = variable.shape.num_elements()
        for place, local in zip(places, strategy.experimental_local_results(variable)):
            local.assign(rows[place, at : at + size].reshape(variable.shape))
        at += size


def broadcast_from_chief(
    strategy: tf.distribute.Strategy, variables: Mapping[str, tf.Variable]
) -> None:
    """Give the variables of all replicas of all processes the first replica's values. To be called by all at once."""
    for kind in {v.dtype: None for v in variables.values()}:
        of_kind = [v for v in variables.values() if v.dtype == kind]

        @tf.function
        def own(of_kind=of_kind):
            first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
            # In one piece, since collective operations of several processes must come in the same order.
            values = tf.concat([tf.reshape(v.read_value(), [-1]) for v in of_kind], axis=0)
            return tf.where(first, values, tf.zeros_like(values))

        together = strategy.reduce("sum", strategy.run(own), axis=None)
        sizes = [v.shape.num_elements() for v in of_kind]
        for variable, value in zip(of_kind, tf.split(together, sizes)):
            for local in strategy.experimental_local_results(variable):
                local.assign(tf.reshape(value, variable.shape))
