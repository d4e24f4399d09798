"""Consistency between the processes and replicas of a distributed run."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfcpn.utils.device import is_distributed
from tfcpn.utils.errors import InputError


def checksum(content) -> int:
    """Return the CRC-32 of bytes, or of any value that JSON can represent."""
    if not isinstance(content, bytes):
        content = json.dumps(content, sort_keys=True, default=str).encode()
    return zlib.crc32(content)


def checksum_of_variables(
    strategy: tf.distribute.Strategy, variables: Mapping[str, tf.Variable]
) -> int:
    """Return the CRC-32 of the values of variables on this process's first replica."""
    value = 0
    for name in sorted(variables):
        local = strategy.experimental_local_results(variables[name])[0]
        value = zlib.crc32(np.ascontiguousarray(local.numpy()).tobytes(), value)
    return value


def _gather(strategy: tf.distribute.Strategy, numbers: list[int]) -> np.ndarray:
    """Return the numbers of every process, (processes, N) int64."""
    row = tf.constant([numbers], tf.int64)
    local = strategy.experimental_distribute_values_from_function(lambda context: row)
    rows = strategy.gather(local, axis=0).numpy()
    return rows[:: max(1, len(strategy.experimental_local_results(local)))]


def _process_name(strategy: tf.distribute.Strategy, number: int) -> str:
    """Return name and address of a process in TF_CONFIG."""
    spec = strategy.cluster_resolver.cluster_spec().as_dict()
    tasks = [(kind, i, h) for kind in ("chief", "worker") for i, h in enumerate(spec.get(kind, []))]
    kind, index, host = tasks[number]
    return f"{kind} {index} ({host})"


def check_workers_in_sync(strategy: tf.distribute.Strategy, facts: Mapping[str, int]) -> int:
    """Check that all processes agree. To be called by all of them at once.

    Args:
        strategy: The strategy of the run.
        facts: Numbers by name; checksums of what is not a number.

    Returns:
        A random number, the same in all processes, which no other start has.

    Raises:
        InputError: In all processes, naming those that differ from the first and in what.
    """
    token = int.from_bytes(os.urandom(7), "little")
    if not is_distributed(strategy):
        return token
    *rows, tokens = _gather(strategy, [*facts.values(), token]).T
    differences = [
        f"{_process_name(strategy, number)} has another {name} than the first process "
        f"({row[number]}, not {row[0]})"
        for name, row in zip(facts, rows)
        for number in np.flatnonzero(row != row[0])
    ]
    if differences:
        raise InputError(f"{'; '.join(differences)}: give all the same; nothing was started")
    return int(tokens[0])


def _per_replica_variables(variables: Mapping[str, tf.Variable]) -> list[tf.Variable]:
    """Return the variables with a value per replica, such as batch-norm statistics.

    A checkpoint stores their mean.
    """
    on_read = tf.VariableSynchronization.ON_READ
    return [v for v in variables.values() if v.synchronization == on_read]


def gather_per_replica_values(
    strategy: tf.distribute.Strategy, variables: Mapping[str, tf.Variable]
) -> np.ndarray | None:
    """Return the values of per-replica variables. To be called by all processes at once.

    Returns:
        (replicas, N) float32; None with a single replica.
    """
    per_replica = _per_replica_variables(variables)
    if strategy.num_replicas_in_sync == 1 or not per_replica:
        return None

    @tf.function
    def local_values():
        return tf.concat([tf.reshape(v.read_value(), [-1]) for v in per_replica], axis=0)[None]

    return strategy.gather(strategy.run(local_values), axis=0).numpy()


def restore_per_replica_values(
    strategy: tf.distribute.Strategy,
    variables: Mapping[str, tf.Variable],
    rows: np.ndarray | None,
) -> None:
    """Restore the result of `gather_per_replica_values`, so that a run resumes to the bit."""
    if rows is None:
        return
    ids = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(context.replica_id_in_sync_group)
    )
    replicas, start = [int(n) for n in strategy.experimental_local_results(ids)], 0
    for variable in _per_replica_variables(variables):
        size = variable.shape.num_elements()
        for replica, local in zip(replicas, strategy.experimental_local_results(variable)):
            local.assign(rows[replica, start : start + size].reshape(variable.shape))
        start += size


def broadcast_from_chief(
    strategy: tf.distribute.Strategy, variables: Mapping[str, tf.Variable]
) -> None:
    """Give all replicas the first replica's values. To be called by all processes at once."""
    for dtype in {v.dtype: None for v in variables.values()}:
        same_type = [v for v in variables.values() if v.dtype == dtype]

        @tf.function
        def first_values(same_type=same_type):
            is_first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
            # One tensor, since collective operations must run in the same order everywhere.
            values = tf.concat([tf.reshape(v.read_value(), [-1]) for v in same_type], axis=0)
            return tf.where(is_first, values, tf.zeros_like(values))

        total = strategy.reduce("sum", strategy.run(first_values), axis=None)
        sizes = [v.shape.num_elements() for v in same_type]
        for variable, value in zip(same_type, tf.split(total, sizes)):
            for local in strategy.experimental_local_results(variable):
                local.assign(tf.reshape(value, variable.shape))
