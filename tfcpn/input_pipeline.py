"""tf.data wiring: people of the records -> training batches, boxes -> evaluation batches.

What leaves a pipeline is small: one uint8 crop and its joints a person. Views and labels are made on the device.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn import align
from tfcpn.align import Alignment
from tfcpn.augment import TRAINING_MARGIN
from tfcpn.coco import CocoImage
from tfcpn.images import cut_rectangle, cut_turned, decode_touched, touched
from tfcpn.people_order import Source, in_order


def decode_and_cut(image: dict, regions, align_mode: str, input_size: tuple[int, int]) -> tf.Tensor:
    """The crops (P, H, W, 3) uint8 BGR of the regions (P, 5) of one image, of which what they touch is decoded once.

    image: its `encoded` file, its `orientation` and its `image_size` (height, width). regions: in the modes "person"
    and "square" rectangles of whole pixels.
    """
    size = image["image_size"]
    window = decode_touched(image["encoded"], image["orientation"], touched(regions, input_size, size), size)
    turned = align_mode == "blazepose"
    places = regions if turned else align.region_rectangle(regions)

    def cut(place):
        crop = cut_turned(window, place, input_size) if turned else cut_rectangle(window, place, input_size)
        return tf.ensure_shape(crop, (*input_size, 3))

    if regions.shape[0] == 1:
        return cut(places[0])[None]
    return tf.map_fn(cut, places, fn_output_signature=tf.TensorSpec((*input_size, 3), tf.uint8))


def crops_and_joints(alignment: Alignment, input_size: tuple[int, int], predict_align_points: bool):
    """The function from a group of people to what crosses to the device: crops (P, H, W, 3) uint8, joints (P, K, 3).

    predict_align_points: the two alignment points follow as joints 18 and 19, visible where they are known.
    """

    def apply(group):
        joints = group["keypoints"]
        points = align.alignment_points(joints, group["reach"], alignment.radius)
        found = align.alignable(joints, alignment.radius)
        place = (group["box"], points, found, group["image_size"])
        regions = align.person_region(*place, alignment, input_size, TRAINING_MARGIN)
        if predict_align_points:
            visibility = tf.repeat(2 * tf.cast(found, tf.float32)[:, None, None], 2, axis=1)
            joints = tf.concat([joints, tf.concat([tf.cast(points, tf.float32), visibility], axis=2)], axis=1)
        crops = decode_and_cut(group, regions, alignment.mode, input_size)
        return crops, align.joints_to_crop(joints, regions, input_size)

    return apply


def training_batches(
    source: Source,
    first: int,
    work,
    people_per_replica: int,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Batches for one replica after another: crops (P, H, W, 3) uint8 and joints (P, K, 3) float32.

    first: people that an interrupted run has seen. work: as from `crops_and_joints`. context: which of several input
    pipelines (machines) this is.
    """
    people = in_order(source, first, work, people_per_replica, context)
    return people.batch(people_per_replica, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


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
