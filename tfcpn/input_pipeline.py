"""tf.data wiring: records -> training batches, boxes -> evaluation batches.

What leaves a pipeline is small: one uint8 crop and its joints a person. Views and labels are made on the device.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn import align, records
from tfcpn.augment import TRAINING_MARGIN
from tfcpn.coco import Box, CocoImage
from tfcpn.images import decode_rectangle, resize

SHARDS_AT_ONCE = 16
_MANY_PASSES = 2**40


def cut(person: dict, align_mode: str, input_size: tuple[int, int], margin: float):
    """The crop (H, W, 3) uint8 and its rectangle (4,) int32 of one person.

    person: `encoded` image file, its `orientation`, its `image_size` (height, width) and the `box` (4,).
    """
    box = align.square_box(person["box"]) if align_mode == "square" else person["box"]
    rectangle = align.crop_rectangle(box, person["image_size"], input_size, margin)
    pixels = decode_rectangle(person["encoded"], person["orientation"], rectangle, person["image_size"])
    return resize(pixels, input_size), rectangle


def _people_of(serialized) -> tf.data.Dataset:
    """The trainable people of one record, each with a reference to the still encoded image."""
    r = records.parse(serialized)
    labelled = tf.reduce_any(r["people/keypoints"][..., 2] > 0, axis=1)
    rows = tf.where(labelled & (r["people/crowd"] == 0))[:, 0]
    return tf.data.Dataset.from_tensor_slices(rows).map(
        lambda row: {
            "encoded": r["image/encoded"],
            "orientation": r["image/orientation"],
            "image_size": r["image/size"],
            "box": r["people/box"][row],
            "keypoints": r["people/keypoints"][row],
            "id": r["people/id"][row],
        }
    )


def people_in_order(folder, index: records.Index, seed: int, first: int, shuffle_buffer: int) -> tf.data.Dataset:
    """An endless stream of people: pass after pass over all of them, each pass in an order of its own.

    The order is a function of the seed alone, so `first`, the number of people that an interrupted run has
    already seen, continues it exactly. Within a pass everyone comes once; the order mixes the shards (their order
    is drawn, 16 are read in turn) and then the people (within `shuffle_buffer`).
    """
    files = [str(Path(folder) / shard.file) for shard in index.shards if shard.trainable]
    done, offset = divmod(first, index.trainable)

    def one_pass(number):
        order = tf.random.experimental.stateless_shuffle(files, seed=tf.stack([tf.cast(seed, tf.int64), number]))
        people = (
            tf.data.Dataset.from_tensor_slices(order)
            .interleave(
                lambda file: tf.data.TFRecordDataset(file, buffer_size=1 << 20),
                cycle_length=SHARDS_AT_ONCE,
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
            .flat_map(_people_of)
        )
        return people.shuffle(shuffle_buffer, seed=number * 1_000_003 + seed, reshuffle_each_iteration=False)

    return tf.data.Dataset.range(done, _MANY_PASSES).flat_map(one_pass).skip(offset)


def training_batches(
    people: tf.data.Dataset,
    align_mode: str,
    input_size: tuple[int, int],
    people_per_replica: int,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Batches for one replica after another: crops (P, H, W, 3) uint8 and joints (P, K, 3) float32.

    context: which of several input pipelines (machines) this is. Together they deal out each global batch in
    order, so that several machines see what one machine with as many replicas would.
    """
    if context is not None and context.num_input_pipelines > 1:
        share = people_per_replica * context.num_replicas_in_sync // context.num_input_pipelines
        people = (
            people.enumerate()
            .filter(lambda i, _: i // share % context.num_input_pipelines == context.input_pipeline_id)
            .map(lambda _, person: person)
        )

    def crop_and_joints(person):
        crop, rectangle = cut(person, align_mode, input_size, TRAINING_MARGIN)
        return crop, align.joints_to_crop(person["keypoints"], rectangle, input_size)

    options = tf.data.Options()
    options.autotune.enabled = True
    return (
        people.map(crop_and_joints, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(people_per_replica, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
        .with_options(options)
    )


def evaluation_batches(
    boxes: list[Box],
    images: dict[int, CocoImage],
    orientations: dict[int, int],
    image_dir,
    align_mode: str,
    input_size: tuple[int, int],
    batch_size: int,
) -> tf.data.Dataset:
    """Batches of (number of the box, crop, rectangle) in the order of the boxes, across images."""
    of_box = [images[b.image_id] for b in boxes]
    people = tf.data.Dataset.from_tensor_slices(
        {
            "number": np.arange(len(boxes)),
            "path": [str(Path(image_dir) / image.file_name) for image in of_box],
            "orientation": np.array([orientations[b.image_id] for b in boxes], np.int64),
            "image_size": np.array([(image.height, image.width) for image in of_box], np.int64),
            "box": np.array([b.box for b in boxes], np.float32),
        }
    )

    def crop(person):
        person["encoded"] = tf.io.read_file(person["path"])
        return person["number"], *cut(person, align_mode, input_size, 1.0)

    return people.map(crop, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(tf.data.AUTOTUNE)
