"""Regions of training people that come from predictions: those that a network gets in use."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.builders import Components
from tfcpn.checkpoints.detectors import load_pose_detector, read_detector_bytes
from tfcpn.codecs.landmarks import LANDMARK_NAMES
from tfcpn.config import REGIONS, Config
from tfcpn.data.images import apply_exif_orientation
from tfcpn.data.pipeline import OtherRegions, annotated_regions
from tfcpn.data.sampling import TrainingSet, image_groups
from tfcpn.skeleton import ALIGN_POINTS
from tfcpn.transforms.cropping import decode_and_crop
from tfcpn.transforms.normalize import normalize
from tfcpn.transforms.regions import keypoints_to_image
from tfcpn.utils.console import progress_bar
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

REGIONS_FILE = "regions.npz"
# A detection is of a person whose mid-hip is this near, in parts of the body's radius.
MAX_DISTANCE = 0.75
_BATCH = 32  # crops


def find_other_regions(
    cfg: Config,
    components: Components,
    training_set: TrainingSet,
    *,
    model: tf.keras.Model | None,
    file: Path,
    writes: bool,
) -> OtherRegions | None:
    """Return the regions of --regions other than the annotated one; None if there are none.

    They are found once per run and stored next to its checkpoints.

    Args:
        cfg: The settings.
        components: The components of the run.
        training_set: The training people.
        model: The network with its initial weights; None when a run resumes.
        file: Where they are stored.
        writes: Whether this process writes them.

    Raises:
        InputError: If a run resumes without its file.
    """
    sources = [source for source in REGIONS[1:] if source in cfg.regions]
    if not sources:
        return None
    described = _describe(cfg, training_set, sources)
    try:
        with np.load(file) as stored:
            if str(stored["made_from"]) == described:
                return OtherRegions(stored["ids"], stored["points"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not there, or damaged
    if model is None:
        raise InputError(f"{file}: is missing or of another run; restore it, or begin a new run")
    regions = _find(cfg, components, training_set, sources, model)
    if writes:
        content = io.BytesIO()
        np.savez(content, made_from=described, **regions._asdict())
        write_atomically(file, content.getvalue())
    return regions


def _describe(cfg: Config, training_set: TrainingSet, sources: list[str]) -> str:
    """Return what the regions depend on."""
    depends = {"records": training_set.records.identity, "sources": sources}
    depends["people"] = training_set.person_filter
    names = ("align_radius", "align_margin", "align_rotate", "init_weights")
    depends |= {name: getattr(cfg, name) for name in names}
    if "detector" in sources:
        depends["detector"] = zlib.crc32(read_detector_bytes(cfg.detector))
    return json.dumps(depends, sort_keys=True)


def _find(
    cfg: Config,
    components: Components,
    training_set: TrainingSet,
    sources: list[str],
    model: tf.keras.Model,
) -> OtherRegions:
    alignment, skeleton = components.alignment, components.skeleton
    detector = load_pose_detector(cfg.detector) if "detector" in sources else None

    @tf.function
    def landmarks(crops):
        outputs = model(normalize(crops, components.network.preprocessing), training=False)
        first = LANDMARK_NAMES.index(ALIGN_POINTS[0])
        return outputs.landmarks[:, first : first + len(ALIGN_POINTS), :2]

    def prepare(group):
        points, found, regions = annotated_regions(
            group,
            alignment=alignment,
            skeleton=skeleton,
            input_size=components.crop_spec.size,
        )
        result = {name: group[name] for name in ("id", "encoded", "orientation")}
        result |= {"points": points, "found": found, "regions": regions}
        if "landmarks" in sources:
            result["crops"] = decode_and_crop(group, regions, components.crop_spec)
        return result

    groups = image_groups(training_set, 0).map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    ids, found = [], {source: [] for source in sources}
    crops, regions, is_aligned = [], [], []

    def predict_crops():
        points = landmarks(tf.constant(np.stack(crops)))
        size = components.crop_spec.size
        points = keypoints_to_image(points, np.stack(regions), size).numpy()
        # The center of a region is the annotated mid-hip.
        offset = np.linalg.norm(points[:, 0] - np.stack(regions)[:, :2], axis=1)
        radius = np.stack(regions)[:, 2] / (2 * alignment.margin)
        points[~np.array(is_aligned) | (offset > MAX_DISTANCE * radius)] = np.nan
        found["landmarks"] += list(points)
        for values in (crops, regions, is_aligned):
            values.clear()

    with progress_bar(training_set.people, "regions", "person") as bar:
        for group in groups.as_numpy_iterator():
            ids += group["id"].tolist()
            if "detector" in sources:
                found["detector"] += list(_detected(group, detector))
            if "landmarks" in sources:
                crops += list(group["crops"])
                regions += list(group["regions"])
                is_aligned += list(group["found"])
                if len(crops) >= _BATCH:
                    predict_crops()
            bar.update(len(group["id"]))
        if crops:
            predict_crops()
    points = np.concatenate([np.stack(found[source]) for source in sources], axis=1)
    known = np.isfinite(points).all(axis=-1, keepdims=True)
    points = np.concatenate([np.where(known, points, 0), 2 * known], axis=-1).astype(np.float32)
    # Two sets of records may use the same ids: such people keep the annotated region.
    unique, first, count = np.unique(np.array(ids, np.int64), return_index=True, return_counts=True)
    points = points[first]
    points[count > 1, :, 2] = 0
    return OtherRegions(unique, points)


def _detected(group: dict, detector) -> np.ndarray:
    """Return the points (P, 2, 2) of people's detections; NaN for none.

    A detection is of the person to whose mid-hip it is nearest, relative to the radius.
    """
    encoded = tf.io.decode_image(group["encoded"], channels=3, expand_animations=False).numpy()
    pixels = apply_exif_orientation(encoded, int(group["orientation"]))[..., ::-1]
    detections = [detection.points for detection in detector(np.ascontiguousarray(pixels))]
    found = np.full((len(group["id"]), 2, 2), np.nan)
    if not detections:
        return found
    points = group["points"]
    radius = np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
    offset = np.linalg.norm(np.array(detections)[:, None, 0] - points[None, :, 0], axis=2)
    distance = np.where(group["found"], offset / radius, np.inf)  # (detections, people)
    owner = distance.argmin(axis=1)
    for row in np.flatnonzero(group["found"]):
        own = np.flatnonzero(owner == row)
        if len(own) and distance[own, row].min() <= MAX_DISTANCE:
            found[row] = detections[own[distance[own, row].argmin()]]
    return found
