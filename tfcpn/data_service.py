"""Training people from a tf.data service: other processes read, decode and crop."""

from __future__ import annotations

import tensorflow as tf

from tfcpn.input_pipeline import one_pass


def served(address: str, run: str, source: tuple, work, first: int, needed: int) -> tf.data.Dataset:
    """A stream of work(person) from the service at `address` (host:port): everyone exactly once a pass.

    run: a name that all processes of a training share and no other training has: they then share the people too.
    source: (folder, index, seed, shuffle_buffer, rules, people), as for `people_in_order`. first: people that an
    interrupted run has seen; as many are passed over, though not certainly the same ones, since the workers deal out
    the shards among themselves and their people come as they are finished. needed: people until the end of training.
    """
    folder, index, seed, shuffle_buffer, rules, people = source
    done, offset = divmod(first, people)
    passes = []
    for number in range(done, (first + needed) // people + 1):
        crops = one_pass(folder, index, seed, number, shuffle_buffer, rules).map(work, tf.data.AUTOTUNE)
        passes.append(
            crops.apply(
                tf.data.experimental.service.distribute(
                    processing_mode=tf.data.experimental.service.ShardingPolicy.DYNAMIC,
                    service=f"grpc://{address}",
                    job_name=f"{run}, from {first}, pass {number}",
                )
            )
        )
    stream = passes[0]
    for later in passes[1:]:
        stream = stream.concatenate(later)
    return stream.skip(offset)
