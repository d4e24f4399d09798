"""Input pipelines: training people to batches, regions of images to batches for prediction.

What leaves a pipeline is small: a uint8 crop and its keypoints per person. Views and labels are
made on the device.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.codecs.people import people_points
from tfcpn.data.images import ImageFile
from tfcpn.data.sampling import TrainingSet, image_groups, map_and_flatten, training_stream
from tfcpn.skeleton import Skeleton
from tfcpn.transforms.alignment import Alignment
from tfcpn.transforms.cropping import CropSpec, decode_and_crop
from tfcpn.transforms.regions import (
    UNLABELED,
    alignment_points,
    has_alignment_keypoints,
    keypoints_to_crop,
    person_region,
    region_from_box,
    region_from_points,
    square_box,
)
from tfcpn.utils.errors import InputError

# Orders of the shards that a data service repeats in turn.
SERVICE_PASSES = 4
_DRAWS = 10_000  # different random numbers, by which background is shown


def build_crop_fn(
    *,
    alignment: Alignment,
    skeleton: Skeleton,
    crop_spec: CropSpec,
    margin: float,
    initial_predictions: InitialPredictions | None = None,
) -> Callable:
    """Return the function from a group of people (see `sampling`) to crops and keypoints.

    Args:
        alignment: How regions are defined.
        skeleton: Keypoints of the network. Alignment points among them follow those of the
            annotation and are visible where they are known.
        crop_spec: What crops look like.
        margin: Extra factor of the region's size.
        initial_predictions: What is known of the people: points of other regions to be appended to
            their keypoints, parts without people to be shown for some of them, without keypoints,
            and whose labels are mirrored.

    Returns:
        Function that returns crops (P, H, W, 3) uint8 and keypoints (P, K, 3) float32. With
        alignment "image" each person is the whole image, letterboxed, with `people_points` of all
        its people in place of keypoints.
    """
    if alignment.mode == "image":
        return partial(_whole_images, skeleton=skeleton, crop_spec=crop_spec)

    def crop_fn(group):
        keypoints = group["keypoints"]
        points, found, regions = annotated_regions(
            group, alignment=alignment, skeleton=skeleton, input_size=crop_spec.size, margin=margin
        )
        if initial_predictions is not None:
            is_mirrored = initial_predictions.is_mirrored_of(group["id"])[:, None, None]
            exchanged = tf.gather(keypoints, skeleton.flip_indices[: keypoints.shape[1]], axis=1)
            keypoints = tf.where(is_mirrored, exchanged, keypoints)
        if skeleton.align_points:
            visibility = tf.repeat(2 * tf.cast(found, tf.float32)[:, None, None], 2, axis=1)
            more = tf.concat([tf.cast(points, tf.float32), visibility], axis=2)
            keypoints = tf.concat([keypoints, more], axis=1)
        keypoints = tf.ensure_shape(keypoints, (None, skeleton.num_keypoints, 3))
        if initial_predictions is not None:
            keypoints = tf.concat([keypoints, initial_predictions.of(group["id"])], axis=1)
            shown, background = initial_predictions.background_of(group["id"], group["pass"])
            background = region_from_points(background, alignment.margin * margin)
            regions = tf.where(shown[:, None], background, regions)
            keypoints = tf.where(shown[:, None, None], [UNLABELED, UNLABELED, 0.0], keypoints)
        crops = decode_and_crop(group, regions, crop_spec)
        return crops, keypoints_to_crop(keypoints, regions, crop_spec.size)

    return crop_fn


def annotated_regions(
    group: dict,
    *,
    alignment: Alignment,
    skeleton: Skeleton,
    input_size: tuple[int, int],
    margin: float = 1.0,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the annotated regions of a group of people (see `sampling`).

    Args:
        group: The group.
        alignment: How regions are defined.
        skeleton: Keypoints of the network.
        input_size: (height, width) of the network.
        margin: Extra factor of the size.

    Returns:
        Alignment points (P, 2, 2), whether they are known (P,) bool, and regions (P, 5).
    """
    keypoints = group["keypoints"]
    count = tf.shape(keypoints)[0]
    points, found = tf.zeros((count, 2, 2), tf.float64), tf.zeros(count, tf.bool)
    if alignment.uses_points or skeleton.align_points:
        points = alignment_points(keypoints, group["reach"], skeleton, alignment.radius)
        found = has_alignment_keypoints(keypoints, skeleton, alignment.radius)
    regions = person_region(
        group["box"],
        points,
        found,
        group["image_size"],
        alignment=alignment,
        input_size=input_size,
        margin=margin,
    )
    return points, found, regions


def _whole_images(group: dict, skeleton: Skeleton, crop_spec: CropSpec):
    """Return the image of a group for each of its people, and the points of all of them."""
    count, image_size = tf.shape(group["keypoints"])[0], group["image_size"]
    points = people_points(group["everyone"], image_size, skeleton)
    size = tf.cast(image_size, tf.float64)
    box = tf.concat([[0.0, 0.0], size[::-1]], axis=0)
    region = region_from_box(square_box(box))[None]
    crops = decode_and_crop(group, region, crop_spec)
    points = keypoints_to_crop(points[None], region, crop_spec.size)
    return tf.repeat(crops, count, axis=0), tf.repeat(points, count, axis=0)


class InitialPredictions(NamedTuple):
    """Predictions on training people, made before training; regions are alignment points.

    Attributes:
        ids: (N,) int64 ids of people, ascending.
        points: (N, 2 S, 3) float32 of S regions besides the annotated one: x, y in image pixels,
            and 2, or 0 for none.
        background: (N, 2, 3), the same of a part of the image without people.
        is_mirrored: (N,) bool, whether left and right of the labels are to be exchanged.
        background_share: Share of the people in a pass that are replaced by background, of those
            with one.
    """

    ids: np.ndarray
    points: np.ndarray
    background: np.ndarray
    is_mirrored: np.ndarray
    background_share: float

    def _rows(self, values: np.ndarray, ids) -> tf.Tensor:
        """Return rows of values (N, ...) by the ids of people; 0 for those not listed."""
        known = tf.constant(self.ids)
        rows = tf.minimum(tf.searchsorted(known, ids), len(self.ids) - 1)
        is_known = tf.gather(known, rows) == ids
        found = tf.gather(tf.constant(values), rows)
        is_known = tf.reshape(is_known, (-1, *[1] * (values.ndim - 1)))
        return tf.where(is_known, found, tf.zeros_like(found))

    def of(self, ids) -> tf.Tensor:
        """Return the points (P, 2 S, 3) of people; those who are not listed have none."""
        return self._rows(self.points, ids)

    def is_mirrored_of(self, ids) -> tf.Tensor:
        """Return whose labels (P,) are mirrored; not those of people who are not listed."""
        return self._rows(self.is_mirrored, ids)

    def background_of(self, ids, number) -> tuple[tf.Tensor, tf.Tensor]:
        """Return whether people are replaced by background (P,) in pass `number`, and by which.

        It depends on the id and the pass alone, so that a run that resumes sees the same.

        Args:
            ids: (P,) int64 ids of people.
            number: Number of the pass.

        Returns:
            (P,) bool and points (P, 2, 2) float64.
        """
        points = self._rows(self.background, ids)
        name = tf.strings.join([tf.strings.as_string(ids), tf.strings.as_string(number)], " ")
        draw = tf.strings.to_hash_bucket_fast(name, _DRAWS)
        shown = tf.cast(draw, tf.float64) < self.background_share * _DRAWS
        return shown & (points[:, 0, 2] > 0), tf.cast(points[..., :2], tf.float64)


def training_batches(
    training_set: TrainingSet,
    first: int,
    crop_fn: Callable,
    people_per_replica: int,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Return batches for one replica after another.

    Args:
        training_set: The training set.
        first: Number of examples that were already seen.
        crop_fn: See `build_crop_fn`.
        people_per_replica: People in a batch.
        context: Which of several input pipelines (machines) this is.

    Returns:
        Batches of crops (P, H, W, 3) uint8 and keypoints (P, K, 3) float32.
    """
    people = training_stream(training_set, first, crop_fn, people_per_replica, context)
    return people.batch(people_per_replica, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def region_batches(
    image_files: Sequence[ImageFile],
    regions: np.ndarray,
    crop_spec: CropSpec,
    batch_size: int,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Return batches of crops in the order of the regions.

    Args:
        image_files: The image of each region; consecutive regions of an image share its decoding.
        regions: (B, 5).
        crop_spec: What crops look like.
        batch_size: Crops in a batch.
        context: Which of several input pipelines (machines) this is; the batches are dealt out in
            order, by their replicas.

    Returns:
        Batches of crops (N, H, W, 3) uint8.
    """
    local = np.arange(len(image_files))
    if context is not None and context.num_input_pipelines > 1:
        share = batch_size * context.num_replicas_in_sync // context.num_input_pipelines
        local = local[local // share % context.num_input_pipelines == context.input_pipeline_id]
    paths = np.array([image_files[i].path for i in local])
    starts = np.flatnonzero(np.concatenate([[True], paths[1:] != paths[:-1]]))
    first = [image_files[i] for i in local[starts]]
    images = tf.data.Dataset.from_tensor_slices(
        {
            "path": [image.path for image in first],
            "orientation": np.array([image.orientation for image in first], np.int64),
            "image_size": np.array([(image.height, image.width) for image in first], np.int64),
            "people": np.stack([starts, np.append(starts[1:], len(local))], axis=1),
        }
    )
    regions = tf.constant(np.asarray(regions, np.float64)[local])

    def crops(image):
        image["encoded"] = tf.io.read_file(image["path"])
        start, end = image["people"][0], image["people"][1]
        return decode_and_crop(image, regions[start:end], crop_spec)

    people = images.map(crops, num_parallel_calls=tf.data.AUTOTUNE)
    return people.rebatch(batch_size).prefetch(tf.data.AUTOTUNE)


def check_reachable(address: str) -> None:
    """Raise InputError if nothing listens at host:port; TensorFlow would wait silently forever."""
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--data_service={address}: no answer ({error}); start tools/data_service.py "
            "--role=dispatcher"
        ) from error


def from_data_service(
    address: str,
    *,
    run_name: str,
    training_set: TrainingSet,
    crop_fn: Callable,
    first: int,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Return the endless stream of crop_fn's results from a tf.data service, person by person.

    Each pass contains every example once. Background (`InitialPredictions`) takes the place of the
    same people whenever a pass repeats. Only a few passes are registered, and the service repeats
    them: their shards come in the same order each time, are dealt out to its workers and are
    shuffled anew.

    Args:
        address: host:port of the dispatcher.
        run_name: Name that all processes of a training share, and no other start of a training has.
            The processes share the people. Workers read records from the paths of the first
            process.
        training_set: The training set.
        crop_fn: See `build_crop_fn`.
        first: Number of examples that were already seen. As many are skipped, but not necessarily
            the same ones, since the order depends on when workers finish.
        context: Which of several input pipelines this is; each skips its share.
    """
    service = tf.data.experimental.service
    done, offset = divmod(first, training_set.people)
    passes = []
    for number in range(done, done + SERVICE_PASSES):
        # Without a seed, so that a repeated pass is shuffled anew.
        people = map_and_flatten(image_groups(training_set, number), crop_fn)
        people = people.shuffle(training_set.shuffle_buffer)
        name = f"{run_name}, pass {number} and every {SERVICE_PASSES}th after it"
        # A name of our own: the default is made from the dataset, which differs where paths differ.
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
    for following in passes[1:]:
        stream = stream.concatenate(following)
    # Each repetition is another iteration of the named jobs, which all processes share.
    pipelines = context.num_input_pipelines if context is not None else 1
    return stream.repeat().skip(offset // pipelines)
