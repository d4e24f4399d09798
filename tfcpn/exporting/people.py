"""Crops of people to learn from and to compare on: of the validation set, of the records, or made up."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

import cv2
import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.data.order import open_training_set
from tfcpn.data.pipeline import build_crop_fn, region_batches, training_batches
from tfcpn.data.record_sets import read_records
from tfcpn.evaluation.estimate import region_of_boxes
from tfcpn.evaluation.validation_set import ValidationSet
from tfcpn.parts import Parts, training_filter
from tfcpn.picture.cut import CropSpec
from tfcpn.settings.config import Config
from tfcpn.skeleton import Skeleton

_BATCH = 16


class Shown(NamedTuple):
    """crops: (N, H, W, 3) uint8 BGR. regions: (N, 5) of them in their images. people: who they are, of whom the
    first N are shown; None: they are made up.
    """

    crops: np.ndarray
    regions: np.ndarray
    people: ValidationSet | None


def random_crops(crop_spec: CropSpec, count: int) -> Shown:
    """Images of soft colors, for want of people."""
    height, width = crop_spec.size
    small = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    crops = [cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in small]
    return Shown(
        np.stack(crops), np.tile([width / 2, height / 2, width, height, 0.0], (count, 1)), None
    )


def validation_crops(people: ValidationSet, parts: Parts, most: int) -> Shown:
    """The first `most` people of a validation set; 0: all of them."""
    boxes, image_files = people.boxes[: most or None], people.image_files[: most or None]
    regions = region_of_boxes(boxes, image_files, parts.alignment, parts.crop_spec.size)
    batches = region_batches(image_files, regions, parts.crop_spec, _BATCH)
    return Shown(np.concatenate([batch.numpy() for batch in batches]), regions, people)


def record_crops(cfg: Config, parts: Parts, annotated: Skeleton, count: int) -> np.ndarray:
    """Crops (count, H, W, 3) of people of the records, as an evaluation would cut them. Raises InputError."""
    records = read_records(cfg.train_records)
    if records.skeleton.keypoints != annotated.keypoints:
        raise InputError(
            f"{records.name}: its keypoints are not those of the network, {', '.join(annotated.keypoints)}"
        )
    source = open_training_set(
        records, training_filter(cfg, annotated), cfg.seed, cfg.shuffle_buffer
    )
    work = build_crop_fn(parts.alignment, parts.skeleton, parts.crop_spec, 1.0)
    batches = training_batches(source, 0, work, min(_BATCH, count))
    return np.concatenate([crops.numpy() for crops, _ in islice(batches, -(-count // _BATCH))])[
        :count
    ]
