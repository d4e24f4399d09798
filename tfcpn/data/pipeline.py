"""tf.data wiring: people of the records -> training batches, regions of images -> batches to predict.

What leaves a pipeline is small: one uint8 crop and its keypoints a person. Views and labels are made on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfcpn.data.order import Source
from tfcpn.data.pictures import ImageFile
from tfcpn.data.stream import in_order
from tfcpn.geometry.alignment import Alignment
from tfcpn.geometry.crops import keypoints_to_crop
from tfcpn.geometry.points import alignment_points, has_alignment_keypoints
from tfcpn.geometry.regions import person_region
from tfcpn.picture.cut import CropSpec, decode_and_crop
from tfcpn.skeleton import Skeleton


def build_crop_fn(
    alignment: Alignment, skeleton: Skeleton, crop_spec: CropSpec, margin: float
) -> Callable:
    """The function from a group of people to what crosses to the device: crops (P, H, W, 3) uint8, keypoints (P, K, 3).

    skeleton: the network's keypoints; where the alignment points are among them, they follow those of the annotation,
    visible where they are known. margin: of the region, on top of the alignment's own.
    """

    def apply(group):
        keypoints = group["keypoints"]
        points, found = (
            tf.zeros((tf.shape(keypoints)[0], 2, 2), tf.float64),
            tf.zeros(tf.shape(keypoints)[0], tf.bool),
        )
        if alignment.uses_points or skeleton.align_points:
            points = alignment_points(keypoints, group["reach"], skeleton, alignment.radius)
            found = has_alignment_keypoints(keypoints, skeleton, alignment.radius)
        place = (group["box"], points, found, group["image_size"])
        regions = person_region(*place, alignment, crop_spec.size, margin)
        if skeleton.align_points:
            visibility = tf.repeat(2 * tf.cast(found, tf.float32)[:, None, None], 2, axis=1)
            keypoints = tf.concat(
                [keypoints, tf.concat([tf.cast(points, tf.float32), visibility], axis=2)], axis=1
            )
        keypoints = tf.ensure_shape(keypoints, (None, skeleton.count, 3))
        crops = decode_and_crop(group, regions, crop_spec)
        return crops, keypoints_to_crop(keypoints, regions, crop_spec.size)

    return apply


def training_batches(
    source: Source,
    first: int,
    work: Callable,
    people_per_replica: int,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Batches for one replica after another: crops (P, H, W, 3) uint8 and keypoints (P, K, 3) float32.

    first: people that an interrupted run has seen. work: as from `crops_and_joints`. context: which of several input
    pipelines (machines) this is.
    """
    people = in_order(source, first, work, people_per_replica, context)
    return people.batch(people_per_replica, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def region_batches(
    image_files: Sequence[ImageFile],
    regions: np.ndarray,
    crop_spec: CropSpec,
    batch_size: int,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Batches of crops (N, H, W, 3) uint8 in the order of the regions (B, 5), across images.

    images: that of each region; neighbors of one image share its decoding. context: which of several input
    pipelines (machines) this is; they share out the batches, in order, by their replicas.
    """
    mine = np.arange(len(image_files))
    if context is not None and context.num_input_pipelines > 1:
        share = batch_size * context.num_replicas_in_sync // context.num_input_pipelines
        mine = mine[mine // share % context.num_input_pipelines == context.input_pipeline_id]
    paths = np.array([image_files[i].path for i in mine])
    starts = np.flatnonzero(np.concatenate([[True], paths[1:] != paths[:-1]]))
    first = [image_files[i] for i in mine[starts]]
    images = tf.data.Dataset.from_tensor_slices(
        {
            "path": [image_file.path for image_file in first],
            "orientation": np.array([image_file.orientation for image_file in first], np.int64),
            "image_size": np.array(
                [(image_file.height, image_file.width) for image_file in first], np.int64
            ),
            "people": np.stack([starts, np.append(starts[1:], len(mine))], axis=1),
        }
    )
    regions = tf.constant(np.asarray(regions, np.float64)[mine])

    def crops(image):
        image["encoded"] = tf.io.read_file(image["path"])
        return decode_and_crop(image, regions[image["people"][0] : image["people"][1]], crop_spec)

    people = images.map(crops, num_parallel_calls=tf.data.AUTOTUNE)
    return people.rebatch(batch_size).prefetch(tf.data.AUTOTUNE)
