"""Keypoints of people in images: the regions of their boxes, and the network's answer to what is cut there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.base.progress import progress, status
from tfcpn.data.coco import CocoImage
from tfcpn.data.detections import PersonBox
from tfcpn.data.pictures import ImageFile, check_image
from tfcpn.data.pipeline import region_batches
from tfcpn.evaluation.first_pass import most_confident_rotation, points_from_keypoints
from tfcpn.evaluation.predictor import Predictor
from tfcpn.geometry.alignment import Alignment
from tfcpn.geometry.crops import keypoints_to_image
from tfcpn.geometry.regions import person_region
from tfcpn.skeleton import Skeleton


def region_of_boxes(
    boxes: Sequence[PersonBox],
    image_files: Sequence[ImageFile],
    alignment: Alignment,
    size: tuple[int, int],
    points=None,
) -> np.ndarray:
    """The regions (B, 5) of these boxes. points: (B, 2, 2) alignment points, instead of those that boxes have."""
    known = (
        np.ones(len(boxes), bool)
        if points is not None
        else np.array([b.points is not None for b in boxes])
    )
    if points is None:
        points = np.array([b.points or (0, 0, 0, 0) for b in boxes], np.float64).reshape(-1, 2, 2)
    corners = np.array([b.box for b in boxes], np.float32)
    sizes = np.array([(p.height, p.width) for p in image_files])
    return person_region(corners, points, known, sizes, alignment, size).numpy()


def _name_bad_image(image_files: Sequence[ImageFile], cause: Exception) -> None:
    """Raise InputError for the first image that cannot be decoded: inside a pipeline it has no name."""
    for image_file in dict.fromkeys(image_files):
        path = Path(image_file.path)
        check_image(CocoImage(0, str(path), image_file.height, image_file.width), path.read_bytes())
    raise InputError(f"an image beside {image_files[0].path} cannot be decoded: {cause}") from cause


def _batches(
    predictor: Predictor, image_files, regions, batch_size: int, context=None
) -> tf.data.Dataset:
    """Batches of crops, one for each region, in their order.

    The last region comes again until all replicas have batches of one size.
    """
    replicas = predictor.strategy.num_replicas_in_sync
    batch_size = min(batch_size, -(-len(regions) // replicas))
    fill = -len(regions) % (batch_size * replicas)
    regions = np.concatenate([regions, np.repeat(regions[-1:], fill, axis=0)])
    image_files = [*image_files, *[image_files[-1]] * fill]
    return region_batches(image_files, regions, predictor.crop_spec, batch_size, context)


def estimate(
    predictor: Predictor,
    image_files: Sequence[ImageFile],
    regions: np.ndarray,
    batch_size: int = 32,
    label: str = "poses",
) -> tuple[np.ndarray, np.ndarray]:
    """The people in these regions (B, 5) of these images: keypoints (B, K, 2) x, y in the image, and scores (B, K).

    images: that of each region; neighbors of one image share its decoding. Raises InputError that names a
    image which cannot be decoded.
    """
    keypoints, scores = [], []
    strategy = predictor.strategy
    batches = strategy.distribute_datasets_from_function(
        lambda context: _batches(predictor, image_files, regions, batch_size, context)
    )
    with progress(len(regions), label, "person", immediate=False) as bar:
        try:
            for crops in batches:
                with status("compiling the prediction") if not keypoints else nullcontext():
                    # In the order of the replicas, which is that of the regions.
                    found = [strategy.gather(value, axis=0).numpy() for value in predictor(crops)]
                keypoints.append(found[0])
                scores.append(found[1])
                bar.update(min(len(found[0]), len(regions) - bar.n))
        except tf.errors.InvalidArgumentError as error:
            _name_bad_image(image_files, error)
    keypoints, scores = (np.concatenate(parts)[: len(regions)] for parts in (keypoints, scores))
    return keypoints_to_image(keypoints, regions, predictor.crop_spec.size).numpy(), scores


def aligned_by_first_pass(
    predictor: Predictor,
    boxes: Sequence[PersonBox],
    image_files: Sequence[ImageFile],
    alignment: Alignment,
    skeleton: Skeleton,
    turns: int,
    batch_size: int = 32,
    label: str = "poses",
) -> np.ndarray:
    """The regions (B, 5) that the network finds by itself: its keypoints in the square box tell where the body is.

    turns: quarter turns of the square box that are tried; the one that the network is surest of counts.
    """
    size, passes = predictor.crop_spec.size, []
    square = region_of_boxes(boxes, image_files, Alignment("square"), size)
    for turn in range(turns):
        regions = square + np.array([0, 0, 0, 0, turn * np.pi / 2])
        passes.append(estimate(predictor, image_files, regions, batch_size, f"{label}, first pass"))
    keypoints, scores = most_confident_rotation(
        *(np.stack(values) for values in zip(*passes)), skeleton
    )
    codec = predictor.codec
    points = points_from_keypoints(
        keypoints, scores, codec.empty_score, skeleton, alignment.radius, codec.missing_keypoints
    )
    return region_of_boxes(boxes, image_files, alignment, size, points)
