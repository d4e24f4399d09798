"""Crops of people to learn from and to compare on: of the validation set, of the records, or made up."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

import cv2
import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.data.order import open_source
from tfcpn.data.pipeline import crops_and_joints, region_batches, training_batches
from tfcpn.data.record_sets import read_records
from tfcpn.evaluation.estimate import region_of_boxes
from tfcpn.evaluation.validation_set import ValidationSet
from tfcpn.parts import Parts, training_filter
from tfcpn.picture.cut import CropFormat
from tfcpn.settings.config import Config
from tfcpn.skeleton import Skeleton

_BATCH = 16


class Shown(NamedTuple):
    """crops: (N, H, W, 3) uint8 BGR. regions: (N, 5) of them in their pictures. people: who they are, of whom the
    first N are shown; None: they are made up.
    """

    crops: np.ndarray
    regions: np.ndarray
    people: ValidationSet | None


def made_up(crop_format: CropFormat, count: int) -> Shown:
    """Pictures of soft colours, for want of people."""
    height, width = crop_format.size
    small = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    crops = [cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC) for picture in small]
    return Shown(np.stack(crops), np.tile([width / 2, height / 2, width, height, 0.0], (count, 1)), None)


def of_validation(people: ValidationSet, parts: Parts, most: int) -> Shown:
    """The first `most` people of a validation set; 0: all of them."""
    boxes, pictures = people.boxes[: most or None], people.pictures[: most or None]
    regions = region_of_boxes(boxes, pictures, parts.alignment, parts.crop_format.size)
    batches = region_batches(pictures, regions, parts.crop_format, _BATCH)
    return Shown(np.concatenate([batch.numpy() for batch in batches]), regions, people)


def of_records(cfg: Config, parts: Parts, annotated: Skeleton, count: int) -> np.ndarray:
    """Crops (count, H, W, 3) of people of the records, as an evaluation would cut them. Raises InputError."""
    records = read_records(cfg.train_records)
    if records.skeleton.joints != annotated.joints:
        raise InputError(f"{records.name}: its joints are not those of the network, {', '.join(annotated.joints)}")
    source = open_source(records, training_filter(cfg, annotated), cfg.seed, cfg.shuffle_buffer)
    work = crops_and_joints(parts.alignment, parts.skeleton, parts.crop_format, 1.0)
    batches = training_batches(source, 0, work, min(_BATCH, count))
    return np.concatenate([crops.numpy() for crops, _ in islice(batches, -(-count // _BATCH))])[:count]
