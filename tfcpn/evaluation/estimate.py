"""Joints of people in pictures: the regions of their boxes, and the network's answer to what is cut there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.base.progress import phase, progress
from tfcpn.data.coco import CocoImage
from tfcpn.data.detections import Box
from tfcpn.data.pictures import Picture, check_content
from tfcpn.data.pipeline import region_batches
from tfcpn.evaluation.first_pass import points_of_joints, surest_turn
from tfcpn.evaluation.predictor import Predictor
from tfcpn.geometry.alignment import Alignment
from tfcpn.geometry.crops import joints_to_image
from tfcpn.geometry.regions import person_region
from tfcpn.skeleton import Skeleton


def region_of_boxes(
    boxes: Sequence[Box], pictures: Sequence[Picture], alignment: Alignment, size: tuple[int, int], points=None
) -> np.ndarray:
    """The regions (B, 5) of these boxes. points: (B, 2, 2) alignment points, instead of those that boxes have."""
    known = np.ones(len(boxes), bool) if points is not None else np.array([b.points is not None for b in boxes])
    if points is None:
        points = np.array([b.points or (0, 0, 0, 0) for b in boxes], np.float64).reshape(-1, 2, 2)
    corners = np.array([b.box for b in boxes], np.float32)
    sizes = np.array([(p.height, p.width) for p in pictures])
    return person_region(corners, points, known, sizes, alignment, size).numpy()


def _name_bad_picture(pictures: Sequence[Picture], cause: Exception) -> None:
    """Raise InputError for the first picture that cannot be decoded: inside a pipeline it has no name."""
    for picture in dict.fromkeys(pictures):
        path = Path(picture.path)
        check_content(CocoImage(0, str(path), picture.height, picture.width), path.read_bytes())
    raise InputError(f"a picture beside {pictures[0].path} cannot be decoded: {cause}") from cause


def _batches(predictor: Predictor, pictures, regions, batch_size: int, context=None) -> tf.data.Dataset:
    """Batches of crops, one for each region, in their order.

    The last region comes again until all replicas have batches of one size.
    """
    replicas = predictor.strategy.num_replicas_in_sync
    batch_size = min(batch_size, -(-len(regions) // replicas))
    fill = -len(regions) % (batch_size * replicas)
    regions = np.concatenate([regions, np.repeat(regions[-1:], fill, axis=0)])
    pictures = [*pictures, *[pictures[-1]] * fill]
    return region_batches(pictures, regions, predictor.crop_format, batch_size, context)


def estimate(
    predictor: Predictor, pictures: Sequence[Picture], regions: np.ndarray, batch_size: int = 32, label: str = "poses"
) -> tuple[np.ndarray, np.ndarray]:
    """The people in these regions (B, 5) of these pictures: joints (B, K, 2) x, y in the picture, and scores (B, K).

    pictures: that of each region; neighbours of one picture share its decoding. Raises InputError that names a
    picture which cannot be decoded.
    """
    joints, scores = [], []
    strategy = predictor.strategy
    batches = strategy.distribute_datasets_from_function(
        lambda context: _batches(predictor, pictures, regions, batch_size, context)
    )
    with progress(len(regions), label, "person", at_once=False) as bar:
        try:
            for crops in batches:
                with phase("compiling the prediction") if not joints else nullcontext():
                    # In the order of the replicas, which is that of the regions.
                    found = [strategy.gather(value, axis=0).numpy() for value in predictor(crops)]
                joints.append(found[0])
                scores.append(found[1])
                bar.update(min(len(found[0]), len(regions) - bar.n))
        except tf.errors.InvalidArgumentError as error:
            _name_bad_picture(pictures, error)
    joints, scores = (np.concatenate(parts)[: len(regions)] for parts in (joints, scores))
    return joints_to_image(joints, regions, predictor.crop_format.size).numpy(), scores


def aligned_by_first_pass(
    predictor: Predictor,
    boxes: Sequence[Box],
    pictures: Sequence[Picture],
    alignment: Alignment,
    skeleton: Skeleton,
    turns: int,
    batch_size: int = 32,
    label: str = "poses",
) -> np.ndarray:
    """The regions (B, 5) that the network finds by itself: its joints in the square box tell where the body is.

    turns: quarter turns of the square box that are tried; the one that the network is surest of counts.
    """
    size, passes = predictor.crop_format.size, []
    square = region_of_boxes(boxes, pictures, Alignment("square"), size)
    for turn in range(turns):
        regions = square + np.array([0, 0, 0, 0, turn * np.pi / 2])
        passes.append(estimate(predictor, pictures, regions, batch_size, f"{label}, first pass"))
    joints, scores = surest_turn(*(np.stack(values) for values in zip(*passes)), skeleton)
    codec = predictor.codec
    points = points_of_joints(joints, scores, codec.empty_score, skeleton, alignment.radius, codec.absent)
    return region_of_boxes(boxes, pictures, alignment, size, points)
