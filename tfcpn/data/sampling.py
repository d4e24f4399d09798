"""The order of the training examples, and the streams that read them in that order.

The order is a function of the training set alone: its records, filter, seed and shuffle buffer. A
run that resumes after N examples, on the same number of replicas, sees what an undisturbed one
sees.

A pass visits every example once; an epoch of training is a fixed number of steps and may end within
a pass. A group is a dictionary of an image and some of its people: `encoded` (the file),
`orientation`, `image_size` (height, width), `box` (P, 4), `keypoints` (P, K, 3), `reach` (P,),
`id` (P,) and the number of the `pass`. Its `everyone` has box to id of all people of the image, and
`trainable`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.data.record_format import parse_example
from tfcpn.data.record_sets import (
    NO_FILTER,
    ExampleIndex,
    PersonFilter,
    Records,
    build_example_index,
    passes_filter,
)
from tfcpn.utils.errors import InputError

# Shards that are read in turn.
SHARDS_AT_ONCE = 16
_READ_BUFFER_BYTES = 1 << 20
_ENDLESS = 2**40
_PERSON_FEATURES = ("box", "keypoints", "reach", "id")
# Work on several batches and many examples at once: one by one takes several times as long.
_BATCHES_AT_ONCE, _EXAMPLES_AT_ONCE = 16, 4096


class TrainingSet(NamedTuple):
    """Records, and all that the order of their people depends on; see `open_training_set`.

    Attributes:
        records: The records.
        person_filter: Which people take part.
        seed: Seed of the order of shards and people.
        shuffle_buffer: Size of the shuffle buffer in people.
        index: The examples and their places in the records.
    """

    records: Records
    person_filter: PersonFilter
    seed: int
    shuffle_buffer: int
    index: ExampleIndex

    @property
    def people(self) -> int:
        """Number of examples in a pass."""
        return len(self.index.image)


def open_training_set(
    records: Records,
    person_filter: PersonFilter = NO_FILTER,
    seed: int = 0,
    shuffle_buffer: int = 2048,
) -> TrainingSet:
    """Return the people of records who pass a filter, from the metadata of the shards alone.

    Args:
        records: The records.
        person_filter: Which people take part.
        seed: Seed of the order.
        shuffle_buffer: Size of the shuffle buffer in people.

    Raises:
        InputError: If no person passes.
    """
    index = build_example_index(records, person_filter)
    if not len(index.image):
        raise InputError(
            f"{records.name}: none of its {records.trainable} people passes the filters and "
            "--align_missing=drop"
        )
    return TrainingSet(records, person_filter, seed, shuffle_buffer, index)


def _group(features: dict, rows, number) -> dict:
    """Return the group of some rows of a parsed record's people in pass `number`."""
    group = {"pass": tf.cast(number, tf.int64)}
    group |= {name: features[f"image/{name}"] for name in ("encoded", "orientation")}
    group["image_size"] = features["image/size"]
    names = (*_PERSON_FEATURES, "trainable")
    group["everyone"] = {name: features[f"people/{name}"] for name in names}
    return group | {name: tf.gather(features[f"people/{name}"], rows) for name in _PERSON_FEATURES}


def _training_group(serialized, training_set: TrainingSet, number) -> dict:
    """Return the group of a record's training people, possibly none."""
    features = parse_example(serialized, training_set.records.skeleton.num_keypoints)
    trainable = features["people/trainable"] > 0
    in_image = tf.reduce_sum(tf.cast(trainable, tf.int32))
    keypoints, area = features["people/keypoints"], features["people/area"]
    passes = passes_filter(keypoints, area, in_image, training_set.person_filter)
    return _group(features, tf.where(trainable & passes)[:, 0], number)


def _interleave_shards(
    training_set: TrainingSet, number, of_file: Callable, parallel_calls: int | None = None
) -> tf.data.Dataset:
    """Interleave datasets of the shards in the order of a pass.

    Args:
        training_set: The training set.
        number: Number of the pass, an integer or an int64 tensor.
        of_file: Function from the index of a file to a dataset.
        parallel_calls: See `tf.data.Dataset.interleave`.
    """
    seed = tf.stack([tf.cast(training_set.seed, tf.int64), tf.cast(number, tf.int64)])
    files = tf.range(len(training_set.records.files), dtype=tf.int64)
    files = tf.random.experimental.stateless_shuffle(files, seed=seed)
    return tf.data.Dataset.from_tensor_slices(files).interleave(
        of_file,
        cycle_length=SHARDS_AT_ONCE,
        num_parallel_calls=parallel_calls,
        deterministic=True if parallel_calls else None,
    )


def image_groups(training_set: TrainingSet, number) -> tf.data.Dataset:
    """Return the groups of pass `number`, image by image."""
    names = tf.constant(training_set.records.files)

    def records(file):
        return tf.data.TFRecordDataset(names[file], buffer_size=_READ_BUFFER_BYTES)

    serialized = _interleave_shards(training_set, number, records, tf.data.AUTOTUNE)
    return serialized.map(lambda record: _training_group(record, training_set, number))


def _image_order(training_set: TrainingSet, number) -> tf.data.Dataset:
    """Return the image indices of pass `number` in order, without reading records."""
    first = tf.constant(training_set.index.file_start)
    return _interleave_shards(
        training_set, number, lambda file: tf.data.Dataset.range(first[file], first[file + 1])
    )


def _shuffle(examples: tf.data.Dataset, training_set: TrainingSet, number) -> tf.data.Dataset:
    """Shuffle the examples of pass `number`.

    The result depends on the number of elements, not on their content: indices and crops of the
    same people are shuffled in the same way.
    """
    seed = tf.cast(number, tf.int64) * 1_000_003 + training_set.seed
    buffer = training_set.shuffle_buffer
    return examples.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)


def _pass_order(training_set: TrainingSet, number) -> tf.data.Dataset:
    """Return the example indices of pass `number` in order, without reading records."""
    start = tf.constant(training_set.index.image_start)

    def people(images):
        # All at once: going from image to image takes ten times as long.
        return tf.ragged.range(tf.gather(start, images), tf.gather(start, images + 1)).values

    images = _image_order(training_set, number).batch(len(training_set.index.offset))
    return _shuffle(images.map(people).unbatch(), training_set, number)


def map_and_flatten(groups: tf.data.Dataset, crop_fn: Callable) -> tf.data.Dataset:
    """Return the results of crop_fn, (P, ...) for each group, person by person."""
    return groups.map(crop_fn, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).unbatch()


def read_pass(training_set: TrainingSet, number, crop_fn: Callable) -> tf.data.Dataset:
    """Return the results of crop_fn for every example of pass `number` in order.

    Args:
        training_set: The training set.
        number: Number of the pass.
        crop_fn: Function from a group to tensors with a leading (P,). It gets all people of an
            image at once, before they are shuffled.
    """
    groups = image_groups(training_set, number)
    return _shuffle(map_and_flatten(groups, crop_fn), training_set, number)


def example_indices(training_set: TrainingSet, first: int = 0) -> tf.data.Dataset:
    """Return the endless order, pass after pass, as example indices from position `first` on."""
    done, offset = divmod(first, training_set.people)
    passes = tf.data.Dataset.range(done, _ENDLESS)
    return passes.flat_map(lambda number: _pass_order(training_set, number)).skip(offset)


def example_ids(training_set: TrainingSet, first: int, count: int) -> list[int]:
    """Return the person ids at positions `first` to `first + count` of the endless order."""
    indices = list(example_indices(training_set, first).take(count).as_numpy_iterator())
    return training_set.index.id[indices].tolist()


def assign_replicas(images, is_single, replicas: int, batches: int = 1) -> tf.Tensor:
    """Assign the examples of global batches to replicas, equally many of a batch to each.

    The replica depends on the image alone where possible, so that one host decodes an image for all
    of its people. Overflow of a replica moves to replicas with free slots, people of single-person
    images first, as they share their image with no one.

    Args:
        images: (batches * N,) int64 image indices, batch after batch; N is a multiple of
        `replicas`.
        is_single: (batches * N,) bool, whether an image has only one example.
        replicas: Number of replicas.
        batches: Number of global batches.

    Returns:
        (batches * N,) int64 replica of each example.
    """
    slots = replicas * batches
    share = tf.shape(images, tf.int64)[0] // slots
    batch = tf.range(tf.size(images, tf.int64)) // (share * replicas)
    preferred = images % replicas + replicas * batch
    order = tf.argsort(2 * preferred + tf.cast(is_single, tf.int64), stable=True)
    preferred = tf.gather(preferred, order)
    rank = tf.range(tf.size(preferred)) - tf.searchsorted(preferred, preferred)
    stays = tf.cast(rank, tf.int64) < share
    counts = tf.math.bincount(tf.cast(preferred, tf.int32), minlength=slots, dtype=tf.int64)
    free = tf.repeat(tf.range(slots, dtype=tf.int64), share - tf.minimum(counts, share))
    # Both ascend by batch, so that an example that moves stays in its batch.
    slot = tf.tensor_scatter_nd_update(preferred, tf.where(~stays), free)
    return tf.scatter_nd(order[:, None], slot, tf.shape(images)) % replicas


def _assigned_batches(
    training_set: TrainingSet, first: int, batch_size: int, replicas: int
) -> tf.data.Dataset:
    """Return global batches from position `first` on: example indices and their replicas."""
    image = tf.constant(training_set.index.image)
    is_single = tf.constant(np.diff(training_set.index.image_start) == 1)

    def assign(batch):
        images = tf.gather(image, batch)
        singles = tf.gather(is_single, images)
        return batch, assign_replicas(images, singles, replicas, _BATCHES_AT_ONCE)

    indices = example_indices(training_set, first)
    several = indices.batch(_BATCHES_AT_ONCE * batch_size, drop_remainder=True)
    return several.map(assign).rebatch(batch_size)


def _read_record(training_set: TrainingSet, image, wanted) -> tf.data.Dataset:
    """Return the record of an image, read at its offset; an empty string if it is not wanted."""
    index, files = training_set.index, tf.constant(training_set.records.files)
    name, offset = files[tf.constant(index.file)[image]], tf.constant(index.offset)[image]
    count = tf.cast(wanted, tf.int32)
    record = tf.raw_ops.TFRecordDatasetV2(
        filenames=tf.repeat(name[None], count),
        compression_type="",
        buffer_size=0,
        byte_offsets=tf.repeat(offset[None], count),
    )
    record = tf.data.experimental.from_variant(record, tf.TensorSpec((), tf.string)).take(1)
    return record.concatenate(tf.data.Dataset.from_tensors("")).take(1)


def _local_examples(
    training_set: TrainingSet,
    first_pass: int,
    passes: tf.data.Dataset,
    crop_fn: Callable,
    is_local: Callable,
) -> tf.data.Dataset:
    """Return the results of crop_fn for some examples of each pass, in order.

    An image is decoded once a pass for all of its local examples; images without any are not read.

    Args:
        training_set: The training set.
        first_pass: Number of the first pass.
        passes: For each pass its example indices (P,) in order and the replica of each.
        crop_fn: Function from a group to tensors with a leading (P,).
        is_local: Function from replicas to whether they belong to this pipeline.
    """
    index, num_keypoints = training_set.index, training_set.records.skeleton.num_keypoints
    start, row = (tf.constant(a) for a in (index.image_start, index.row))
    spec = image_groups(training_set, 0).map(crop_fn).element_spec
    specs = tf.nest.flatten(spec)

    def pack(serialized, number, people, local, skipped) -> tf.Tensor:
        """Return (skipped + people, results) strings, empty for examples that are not local.

        Serialized, since elements that stand for other examples have no crop, and the shuffle
        buffer needs elements of one type.
        """

        def results():
            features = parse_example(serialized, num_keypoints)
            group = _group(features, tf.gather(row, people[local]), number)
            columns = [
                tf.map_fn(tf.io.serialize_tensor, value, fn_output_signature=tf.string)
                for value in tf.nest.flatten(crop_fn(group))
            ]
            return tf.stack(columns, axis=1)

        empty = tf.fill([1, len(specs)], "")
        packed = tf.cond(tf.reduce_any(local), results, lambda: empty[:0])
        source = tf.where(local, tf.cumsum(tf.cast(local, tf.int64)), 0)
        source = tf.concat([tf.zeros([skipped], tf.int64), source], axis=0)
        return tf.gather(tf.concat([empty, packed], axis=0), source)

    def unpack(packed):
        values = [tf.io.parse_tensor(t, s.dtype) for t, s in zip(tf.unstack(packed), specs)]
        values = [tf.ensure_shape(v, s.shape[1:]) for v, s in zip(values, specs)]
        return tf.nest.pack_sequence_as(spec, values)

    def local_of_pass(numbered_images, examples_and_replicas) -> tf.data.Dataset:
        (number, images), (order, replicas) = numbered_images, examples_and_replicas
        chosen = tf.cast(is_local(replicas), tf.int64)
        chosen = tf.scatter_nd(order[:, None], chosen, [training_set.people])
        total = tf.concat([[0], tf.cumsum(chosen)], axis=0)
        first, end = tf.gather(start, images), tf.gather(start, images + 1)
        has_local = tf.gather(total, end) > tf.gather(total, first)
        # Runs of images without a local example are skipped, as most are on many hosts. Only their
        # number of examples is emitted, with the next image or, at the end, with -1 as the image,
        # so that the shuffle buffer stays aligned.
        passed = tf.cumsum(end - first)
        before = tf.boolean_mask(passed - (end - first), has_local)
        after = tf.boolean_mask(passed, has_local)
        skipped = tf.concat([before, [training_set.people]], axis=0)
        skipped -= tf.concat([[0], after], axis=0)
        places = tf.concat([tf.boolean_mask(images, has_local), [-1]], axis=0)

        def read(image, skipped):
            exists, image = image >= 0, tf.maximum(image, 0)
            people = tf.range(start[image], tf.where(exists, start[image + 1], start[image]))
            local = tf.gather(chosen, people) > 0
            record = _read_record(training_set, image, exists)
            return record.map(lambda serialized: (serialized, number, people, local, skipped))

        groups = tf.data.Dataset.from_tensor_slices((places, skipped)).flat_map(read)
        shuffled = _shuffle(map_and_flatten(groups, pack), training_set, number)
        local = shuffled.filter(lambda packed: tf.strings.length(packed[0]) > 0)
        return local.map(unpack, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def with_images(number) -> tf.data.Dataset:
        images = _image_order(training_set, number).batch(len(index.offset))
        return images.map(lambda images: (number, images))

    numbered = tf.data.Dataset.range(first_pass, _ENDLESS).flat_map(with_images)
    return tf.data.Dataset.zip((numbered, passes)).prefetch(1).flat_map(local_of_pass)


def training_stream(
    training_set: TrainingSet,
    first: int,
    crop_fn: Callable,
    people_per_replica: int = 1,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Return the endless stream of crop_fn's results, person by person, for one input pipeline.

    With several replicas, the examples of each global batch, counted from `first`, are assigned by
    `assign_replicas` and come replica after replica: a replica sees the same data whether the
    replicas are on one machine or on several.

    Args:
        training_set: The training set.
        first: Number of examples that were already seen, a multiple of the global batch.
        crop_fn: Function from a group to tensors with a leading (P,).
        people_per_replica: Examples of a replica in a step.
        context: Which of several input pipelines (machines) this is.
    """
    done, offset = divmod(first, training_set.people)
    pipelines, pipeline, replicas = 1, 0, 1
    if context is not None:
        pipelines, pipeline = context.num_input_pipelines, context.input_pipeline_id
        replicas = context.num_replicas_in_sync
    local_replicas, batch_size = replicas // pipelines, people_per_replica * replicas

    def is_local(replica):
        return replica // local_replicas == pipeline  # examples of no replica have -1

    def by_pass(remaining: tf.data.Dataset) -> tf.data.Dataset:
        """Complete the first pass with its earlier examples, and regroup by passes."""
        earlier = example_indices(training_set, first - offset).take(offset)
        earlier = earlier.batch(_EXAMPLES_AT_ONCE).map(lambda batch: (batch, -tf.ones_like(batch)))
        return earlier.concatenate(remaining).rebatch(training_set.people)

    if pipelines > 1:
        passes = by_pass(_assigned_batches(training_set, first, batch_size, replicas))
        stream = _local_examples(training_set, done, passes, crop_fn, is_local)
    else:
        passes = tf.data.Dataset.range(done + (offset > 0), _ENDLESS)
        stream = passes.flat_map(lambda number: read_pass(training_set, number, crop_fn))
        if offset:
            rest = example_indices(training_set, first).take(training_set.people - offset)
            rest = rest.batch(_EXAMPLES_AT_ONCE).map(lambda batch: (batch, tf.zeros_like(batch)))
            rest_of_pass = _local_examples(training_set, done, by_pass(rest), crop_fn, is_local)
            stream = rest_of_pass.concatenate(stream)
    if local_replicas == 1:
        return stream

    def sort_by_replica(batch, assigned):
        _, replica = assigned
        order = tf.argsort(tf.boolean_mask(replica, is_local(replica)), stable=True)
        return tf.nest.map_structure(lambda values: tf.gather(values, order), batch)

    batches = stream.batch(batch_size // pipelines, drop_remainder=True)
    assigned = _assigned_batches(training_set, first, batch_size, replicas)
    return tf.data.Dataset.zip((batches, assigned)).map(sort_by_replica).unbatch()
