"""tf.data wiring: records -> training batches, boxes -> evaluation batches.

What leaves a pipeline is small: one uint8 crop and its joints a person. Views and labels are made on the device.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn import align, records
from tfcpn.align import Alignment
from tfcpn.augment import TRAINING_MARGIN
from tfcpn.coco import CocoImage
from tfcpn.errors import InputError
from tfcpn.filters import EVERYBODY, Filter, keep
from tfcpn.images import Window, cut_rectangle, cut_turned, decode_touched, touched

SHARDS_AT_ONCE = 16
_MANY_PASSES = 2**40


def cut(window: Window, region, align_mode: str, input_size: tuple[int, int]) -> tf.Tensor:
    """The crop (H, W, 3) uint8 BGR of one person's region, from the decoded pixels that it touches.

    region: (5,), in the modes "person" and "square" a rectangle of whole pixels.
    """
    if align_mode == "blazepose":
        crop = cut_turned(window, region, input_size)
    else:
        crop = cut_rectangle(window, align.region_rectangle(region), input_size)
    return tf.ensure_shape(crop, (*input_size, 3))


def decode_and_cut(image: dict, regions, align_mode: str, input_size: tuple[int, int]) -> tf.Tensor:
    """The crops (P, H, W, 3) uint8 BGR of the regions (P, 5) of one image, of which what they touch is decoded once.

    image: its `encoded` file, its `orientation` and its `image_size` (height, width).
    """
    size = image["image_size"]
    window = decode_touched(image["encoded"], image["orientation"], touched(regions, input_size, size), size)
    if regions.shape[0] == 1:
        return cut(window, regions[0], align_mode, input_size)[None]
    crops = tf.TensorSpec((*input_size, 3), tf.uint8)
    return tf.map_fn(lambda region: cut(window, region, align_mode, input_size), regions, fn_output_signature=crops)


def _people_of(serialized, rules: Filter) -> tf.data.Dataset:
    """The people of one record to train on, each with a reference to the still encoded image."""
    r = records.parse(serialized)
    trainable = tf.reduce_any(r["people/keypoints"][..., 2] > 0, axis=1) & (r["people/crowd"] == 0)
    in_image = tf.reduce_sum(tf.cast(trainable, tf.int32))
    rows = tf.where(trainable & keep(r["people/keypoints"], r["people/area"], in_image, rules))[:, 0]
    return tf.data.Dataset.from_tensor_slices(rows).map(
        lambda row: {
            "encoded": r["image/encoded"],
            "orientation": r["image/orientation"],
            "image_size": r["image/size"],
            "box": r["people/box"][row],
            "keypoints": r["people/keypoints"][row],
            "reach": r["people/reach"][row],
            "id": r["people/id"][row],
        }
    )


def count_people(folder, index: records.Index, rules: Filter) -> int:
    """People in the records that pass the rules. Raises InputError if there are none.

    With rules, the records are read once for it (on COCO's 19 GB a minute or two).
    """
    if rules == EVERYBODY:
        return index.trainable
    files = [str(Path(folder) / shard.file) for shard in index.shards if shard.trainable]
    people = tf.data.TFRecordDataset(files, buffer_size=1 << 20).flat_map(lambda r: _people_of(r, rules))
    count = int(people.reduce(tf.constant(0, tf.int64), lambda n, _: n + 1))
    if not count:
        raise InputError(
            f"{folder}: none of its {index.trainable} people passes the filters and --align_missing=drop"
        )
    return count


def one_pass(folder, index: records.Index, seed: int, number, shuffle_buffer: int, rules: Filter) -> tf.data.Dataset:
    """Everyone once, in the order of pass `number` (a Python integer or an int64 tensor)."""
    files = [str(Path(folder) / shard.file) for shard in index.shards if shard.trainable]
    number = tf.cast(number, tf.int64)
    order = tf.random.experimental.stateless_shuffle(files, seed=tf.stack([tf.cast(seed, tf.int64), number]))
    people = (
        tf.data.Dataset.from_tensor_slices(order)
        .interleave(
            lambda file: tf.data.TFRecordDataset(file, buffer_size=1 << 20),
            cycle_length=SHARDS_AT_ONCE,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        .flat_map(lambda record: _people_of(record, rules))
    )
    return people.shuffle(shuffle_buffer, seed=number * 1_000_003 + seed, reshuffle_each_iteration=False)


def people_in_order(
    folder,
    index: records.Index,
    seed: int,
    first: int,
    shuffle_buffer: int,
    rules: Filter = EVERYBODY,
    people: int | None = None,
) -> tf.data.Dataset:
    """An endless stream of people: pass after pass over all of them, each pass in an order of its own.

    The order is a function of the seed alone, so `first`, the number of people that an interrupted run has
    already seen, continues it exactly. Within a pass everyone comes once; the order mixes the shards (their order
    is drawn, 16 are read in turn) and then the people (within `shuffle_buffer`). rules: who takes part; people: how
    many these are, if `count_people` was asked already.
    """
    done, offset = divmod(first, people or count_people(folder, index, rules))
    passes = tf.data.Dataset.range(done, _MANY_PASSES)
    return passes.flat_map(lambda n: one_pass(folder, index, seed, n, shuffle_buffer, rules)).skip(offset)


def _share(people: tf.data.Dataset, share: int, context: tf.distribute.InputContext) -> tf.data.Dataset:
    """The people of one of several input pipelines, which are dealt `share` at a time to each in turn."""
    if context.num_input_pipelines == 1:
        return people
    mine = people.enumerate().filter(
        lambda i, _: i // share % context.num_input_pipelines == context.input_pipeline_id
    )
    return mine.map(lambda _, person: person)


def crop_and_joints(alignment: Alignment, input_size: tuple[int, int], predict_align_points: bool):
    """The function from a person of the records to what crosses to the device: crop (H, W, 3) uint8, joints (K, 3).

    predict_align_points: the two alignment points follow as joints 18 and 19, visible where they are known.
    """

    def apply(person):
        joints = person["keypoints"]
        points = align.alignment_points(joints, person["reach"], alignment.radius)
        found = align.alignable(joints, alignment.radius)
        place = (person["box"], points, found, person["image_size"])
        region = align.person_region(*place, alignment, input_size, TRAINING_MARGIN)
        if predict_align_points:
            visibility = tf.fill((2, 1), 2 * tf.cast(found, tf.float32))
            joints = tf.concat([joints, tf.concat([tf.cast(points, tf.float32), visibility], axis=1)], axis=0)
        (crop,) = tf.unstack(decode_and_cut(person, region[None], alignment.mode, input_size))
        return crop, align.joints_to_crop(joints, region, input_size)

    return apply


def training_batches(
    people: tf.data.Dataset,
    alignment: Alignment,
    input_size: tuple[int, int],
    people_per_replica: int,
    context: tf.distribute.InputContext | None = None,
    predict_align_points: bool = False,
) -> tf.data.Dataset:
    """Batches for one replica after another: crops (P, H, W, 3) uint8 and joints (P, K, 3) float32.

    context: which of several input pipelines (machines) this is. Together they deal out each global batch in
    order, so that several machines see what one machine with as many replicas would.
    """
    if context is not None:
        share = people_per_replica * context.num_replicas_in_sync // context.num_input_pipelines
        people = _share(people, share, context)
    work = crop_and_joints(alignment, input_size, predict_align_points)
    crops = people.map(work, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return crops.batch(people_per_replica, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def evaluation_batches(
    of_box: list[CocoImage],
    regions: np.ndarray,
    orientations: dict[int, int],
    image_dir,
    align_mode: str,
    input_size: tuple[int, int],
    batch_size: int,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Batches of crops (N, H, W, 3) uint8 in the order of the regions (B, 5), across images.

    of_box: the image of each region; neighbours of one image share its decoding. orientations: EXIF orientation by
    image id. context: which of several input pipelines (machines) this is; they share out the batches, in order, by
    their replicas.
    """
    mine = np.arange(len(of_box))
    if context is not None and context.num_input_pipelines > 1:
        share = batch_size * context.num_replicas_in_sync // context.num_input_pipelines
        mine = mine[mine // share % context.num_input_pipelines == context.input_pipeline_id]
    ids = np.array([of_box[i].id for i in mine])
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    first = [of_box[i] for i in mine[starts]]
    images = tf.data.Dataset.from_tensor_slices(
        {
            "path": [str(Path(image_dir) / image.file_name) for image in first],
            "orientation": np.array([orientations[image.id] for image in first], np.int64),
            "image_size": np.array([(image.height, image.width) for image in first], np.int64),
            "people": np.stack([starts, np.append(starts[1:], len(mine))], axis=1),
        }
    )
    regions = tf.constant(np.asarray(regions, np.float64)[mine])

    def crops(image):
        image["encoded"] = tf.io.read_file(image["path"])
        return decode_and_cut(image, regions[image["people"][0] : image["people"][1]], align_mode, input_size)

    people = images.map(crops, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
    return people.batch(batch_size).prefetch(tf.data.AUTOTUNE)
