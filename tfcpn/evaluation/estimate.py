"""Estimate keypoints: the regions of boxes, in one or two passes, and predictions for them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.data.coco import CocoImage
from tfcpn.data.detections import PersonBox
from tfcpn.data.images import ImageFile, check_image
from tfcpn.data.pipeline import region_batches
from tfcpn.evaluation.predictor import Predictor
from tfcpn.skeleton import Skeleton
from tfcpn.transforms.alignment import Alignment
from tfcpn.transforms.regions import alignment_points, keypoints_to_image, person_region
from tfcpn.utils.console import progress_bar, status
from tfcpn.utils.errors import InputError

# In a first pass, keypoints with a peak below this share of the person's median peak do not count
# for the circle around the body.
MIN_RELATIVE_PEAK = 0.25


def arrays_of_boxes(
    boxes: Sequence[PersonBox], points: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes as arrays for `person_region`.

    Args:
        boxes: B boxes.
        points: (B, 2, 2) alignment points instead of those of the boxes.

    Returns:
        Boxes (B, 4) float32, alignment points (B, 2, 2) float64, and whether those are known (B,).
    """
    known = np.array([points is not None or box.points is not None for box in boxes])
    if points is None:
        points = np.array([box.points or (0, 0, 0, 0) for box in boxes], np.float64)
    return np.array([box.box for box in boxes], np.float32), points.reshape(-1, 2, 2), known


def regions_of_boxes(
    boxes: Sequence[PersonBox],
    image_files: Sequence[ImageFile],
    alignment: Alignment,
    size: tuple[int, int],
    points: np.ndarray | None = None,
) -> np.ndarray:
    """Return the regions of boxes.

    Args:
        boxes: B boxes.
        image_files: The image of each box.
        alignment: How regions are defined.
        size: (height, width) of the crops.
        points: (B, 2, 2) alignment points instead of those of the boxes.

    Returns:
        (B, 5) float64.
    """
    sizes = np.array([(image.height, image.width) for image in image_files])
    corners, points, known = arrays_of_boxes(boxes, points)
    regions = person_region(corners, points, known, sizes, alignment=alignment, input_size=size)
    return regions.numpy()


def most_confident_rotation(
    keypoints: np.ndarray, scores: np.ndarray, skeleton: Skeleton
) -> tuple[np.ndarray, np.ndarray]:
    """Select, person by person, the one of several rotations with the highest mean score.

    Args:
        keypoints: (R, B, K, 2).
        scores: (R, B, K).
        skeleton: The keypoints' definition.

    Returns:
        Keypoints (B, K, 2) and scores (B, K).
    """
    best = scores[..., : skeleton.num_annotated].mean(axis=2).argmax(axis=0)
    people = np.arange(len(best))
    return keypoints[best, people], scores[best, people]


def predicted_alignment_points(
    keypoints,
    scores,
    *,
    empty_score: float,
    skeleton: Skeleton,
    radius: str,
    missing_keypoints: tuple[int, ...] = (),
) -> tf.Tensor:
    """Return the alignment points of predicted keypoints.

    If the network predicts them, they are its last two keypoints. Otherwise they are computed as
    from an annotation without an outline. Keypoints that score little above empty_score are not in
    the image, are placed anywhere, and must not widen the circle.

    Args:
        keypoints: (B, K, 2) x, y in the image.
        scores: (B, K).
        empty_score: Score of an empty output, see `Codec`.
        skeleton: The keypoints' definition.
        radius: How the circle is found, see `Alignment`.
        missing_keypoints: Indices of keypoints that the network does not have.

    Returns:
        (B, 2, 2) float64 x, y.
    """
    if skeleton.align_points:
        return tf.cast(keypoints[:, skeleton.num_annotated :], tf.float64)
    peak = tf.convert_to_tensor(scores) - empty_score
    count = peak.shape[1]
    present = [index for index in range(count) if index not in missing_keypoints]
    ordered = tf.sort(tf.gather(peak, present, axis=1), axis=1)
    median = (ordered[:, (len(present) - 1) // 2] + ordered[:, len(present) // 2]) / 2
    is_present = tf.constant([index in present for index in range(count)])
    visible = (peak >= MIN_RELATIVE_PEAK * median[:, None]) & is_present
    keypoints = tf.cast(keypoints, tf.float64)
    with_visibility = tf.concat([keypoints, tf.cast(visible[..., None], tf.float64)], axis=-1)
    no_outline = tf.zeros(tf.shape(keypoints)[0], tf.float64)
    return alignment_points(with_visibility, no_outline, skeleton, radius)


def _raise_for_bad_image(image_files: Sequence[ImageFile], cause: Exception) -> None:
    """Raise InputError naming the first image that cannot be decoded; a pipeline has no names."""
    for image in dict.fromkeys(image_files):
        path = Path(image.path)
        check_image(CocoImage(0, str(path), image.height, image.width), path.read_bytes())
    raise InputError(
        f"an image next to {image_files[0].path} cannot be decoded: {cause}"
    ) from cause


def _batches(
    predictor: Predictor,
    image_files: Sequence[ImageFile],
    regions: np.ndarray,
    batch_size: int,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Return batches of crops in the order of the regions.

    The last region is repeated until all replicas have batches of one size.
    """
    replicas = predictor.strategy.num_replicas_in_sync
    batch_size = min(batch_size, -(-len(regions) // replicas))
    padding = -len(regions) % (batch_size * replicas)
    regions = np.concatenate([regions, np.repeat(regions[-1:], padding, axis=0)])
    image_files = [*image_files, *[image_files[-1]] * padding]
    return region_batches(image_files, regions, predictor.crop_spec, batch_size, context)


def estimate(
    predictor: Predictor,
    image_files: Sequence[ImageFile],
    regions: np.ndarray,
    batch_size: int = 32,
    label: str = "poses",
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the keypoints of people.

    Args:
        predictor: Predicts crops.
        image_files: The image of each region; consecutive regions of an image share its decoding.
        regions: (B, 5).
        batch_size: Crops per forward pass and replica.
        label: Label of the progress bar.

    Returns:
        Keypoints (B, K, 2) float64 x, y in the image, and scores (B, K).

    Raises:
        InputError: Naming an image that cannot be decoded.
    """
    keypoints, scores = [], []
    strategy = predictor.strategy
    batches = strategy.distribute_datasets_from_function(
        lambda context: _batches(predictor, image_files, regions, batch_size, context)
    )
    with progress_bar(len(regions), label, "person", immediate=False) as bar:
        try:
            for crops in batches:
                with status("compiling the prediction") if not keypoints else nullcontext():
                    # In the order of the replicas, which is that of the regions.
                    found = [strategy.gather(v, axis=0).numpy() for v in predictor(crops)]
                keypoints.append(found[0])
                scores.append(found[1])
                bar.update(min(len(found[0]), len(regions) - bar.n))
        except tf.errors.InvalidArgumentError as error:
            _raise_for_bad_image(image_files, error)
    keypoints, scores = (np.concatenate(v)[: len(regions)] for v in (keypoints, scores))
    return keypoints_to_image(keypoints, regions, predictor.crop_spec.size).numpy(), scores


def regions_by_first_pass(
    predictor: Predictor,
    boxes: Sequence[PersonBox],
    image_files: Sequence[ImageFile],
    *,
    alignment: Alignment,
    skeleton: Skeleton,
    rotations: int,
    batch_size: int = 32,
    label: str = "poses",
) -> np.ndarray:
    """Return the regions that the network finds by itself, from its keypoints in the square box.

    Args:
        predictor: Predicts crops.
        boxes: B boxes.
        image_files: The image of each box.
        alignment: How regions are defined.
        skeleton: Keypoints of the network.
        rotations: Quarter turns of the square box to try; the most confident one is used.
        batch_size: Crops per forward pass and replica.
        label: Label of the progress bar.

    Returns:
        (B, 5) float64.
    """
    size, passes = predictor.crop_spec.size, []
    square = regions_of_boxes(boxes, image_files, Alignment("square"), size)
    for rotation in range(rotations):
        regions = square + np.array([0, 0, 0, 0, rotation * np.pi / 2])
        label_of_pass = f"{label}, first pass"
        passes.append(estimate(predictor, image_files, regions, batch_size, label_of_pass))
    keypoints, scores = (np.stack(values) for values in zip(*passes))
    keypoints, scores = most_confident_rotation(keypoints, scores, skeleton)
    points = predicted_alignment_points(
        keypoints,
        scores,
        empty_score=predictor.codec.empty_score,
        skeleton=skeleton,
        radius=alignment.radius,
        missing_keypoints=predictor.codec.missing_keypoints,
    )
    return regions_of_boxes(boxes, image_files, alignment, size, points.numpy())
