"""Training people from a tf.data service: other processes read, decode and crop."""

from __future__ import annotations

import socket

import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.data.order import Source, groups_of, worked_on

PASSES = 4  # orders of the shards that take turns


def check_reachable(address: str) -> None:
    """Raise InputError if nothing listens at host:port: TensorFlow would wait for it for ever, and say nothing."""
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--data_service={address}: nobody answers ({error}); start tools/data_service.py --role=dispatcher"
        ) from error


def from_data_service(
    address: str,
    run: str,
    source: Source,
    work,
    first: int,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """An endless stream of work(group), as in `data.stream`, from the service: everyone once a pass.

    Only a few passes are told to the service, which repeats them: their shards come in the same order each time, and
    are dealt out to its workers and mixed anew.

    Args:
        address: The dispatcher's host:port.
        run: A name that all processes of a training share, and no other start of a training has: they then share the
            people too, whose records the service's workers look for where the process that came first says.
        source: Whom to train on.
        work: A group -> tensors, as in `data.order.one_pass`.
        first: People that an interrupted run has seen; as many are passed over, though not certainly the same ones,
            since the workers deal out the shards among themselves and their people come as they are finished.
        context: Which of several input pipelines this is; each passes over its share.
    """
    service = tf.data.experimental.service
    done, offset = divmod(first, source.people)
    passes = []
    for number in range(done, done + PASSES):
        # Without a seed, so that a pass that is repeated is mixed anew.
        people = worked_on(groups_of(source, number), work).shuffle(source.shuffle_buffer)
        name = f"{run}, pass {number} and every {PASSES}th after it"
        # By a name of our own: else processes whose records lie in other folders would be served other datasets.
        service.register_dataset(f"grpc://{address}", people, dataset_id=name)
        passes.append(
            service.from_dataset_id(
                processing_mode=service.ShardingPolicy.DYNAMIC,
                service=f"grpc://{address}",
                dataset_id=name,
                element_spec=people.element_spec,
                job_name=name,
            )
        )
    stream = passes[0]
    for later in passes[1:]:
        stream = stream.concatenate(later)
    # Each repetition is another iteration of the named jobs, which all processes share.
    return stream.repeat().skip(
        offset // (context.num_input_pipelines if context is not None else 1)
    )
