"""What networks see of the training people before training: other regions, mirrored labels."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.builders import Components
from tfcpn.checkpoints.detectors import load_pose_detector, read_detector_bytes
from tfcpn.codecs.landmarks import LANDMARK_NAMES
from tfcpn.config import Config
from tfcpn.config_rules import BACKGROUND, REGIONS
from tfcpn.data.images import apply_exif_orientation
from tfcpn.data.pipeline import InitialPredictions, annotated_regions
from tfcpn.data.sampling import TrainingSet, image_groups
from tfcpn.skeleton import ALIGN_POINTS
from tfcpn.transforms.cropping import decode_and_crop
from tfcpn.transforms.normalize import normalize
from tfcpn.transforms.regions import (
    keypoints_to_crop,
    keypoints_to_image,
    region_from_points,
)
from tfcpn.utils.console import progress_bar
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

INITIAL_PREDICTIONS_FILE = "initial_predictions.npz"
_STORED = ("ids", "points", "background", "is_mirrored")
# A detection is of a person whose mid-hip is this near, in parts of the body's radius.
MAX_DISTANCE = 0.75
# Background: a detection of no annotated person, or a square of these sides, relative to the
# region of a person. This part of it, and of a person's box, may overlap.
BACKGROUND_SIDES, MAX_OVERLAP = (0.3, 1.0), 0.2
# Part of the people that are replaced by it.
BACKGROUND_SHARE = 0.1
# The initial network sees no person there: presence below this one.
MAX_PRESENCE = 0.5
_DRAWS = 20  # of squares of an image
# Labels are mirrored if exchanging left and right leaves at most this part of the distance to the
# predicted keypoints, and at most this part of the crop's side.
MIRRORED_ERROR, MIRRORED_DISTANCE = 0.5, 1 / 16
_BATCH = 32  # crops


def find_initial_predictions(
    cfg: Config,
    components: Components,
    training_set: TrainingSet,
    *,
    model: tf.keras.Model | None,
    file: Path,
    writes: bool,
) -> InitialPredictions | None:
    """Return what --regions and --unmirror_labels need to know; None if that is nothing.

    It is predicted once per run and stored next to its checkpoints.

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
    if not sources and not cfg.unmirror_labels:
        return None
    described = _describe(cfg, training_set, sources)
    share = BACKGROUND_SHARE if BACKGROUND in sources else 0.0
    try:
        with np.load(file, allow_pickle=False) as stored:
            if str(stored["made_from"]) == described:
                return InitialPredictions(*(stored[name] for name in _STORED), share)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not there, or damaged
    if model is None:
        raise InputError(f"{file}: is missing or of another run; restore it, or begin a new run")
    predictions = InitialPredictions(
        *_predict(cfg, components, training_set, sources, model), share
    )
    if writes:
        content = io.BytesIO()
        arrays = {name: getattr(predictions, name) for name in _STORED}
        np.savez(content, made_from=described, **arrays)
        write_atomically(file, content.getvalue())
        if cfg.unmirror_labels:
            mirrored, people = predictions.is_mirrored.sum(), len(predictions.ids)
            print(
                f"--unmirror_labels: left and right are exchanged for {mirrored} of {people} people"
            )
    return predictions


def _describe(cfg: Config, training_set: TrainingSet, sources: list[str]) -> str:
    """Return what the regions depend on."""
    depends = {"records": training_set.records.identity, "sources": sources}
    depends["people"] = training_set.person_filter
    names = ("align_radius", "align_margin", "align_rotate", "init_weights", "unmirror_labels")
    depends |= {name: getattr(cfg, name) for name in names}
    if uses_detector(sources):
        depends["detector"] = zlib.crc32(read_detector_bytes(cfg.detector))
    return json.dumps(depends, sort_keys=True)


def uses_detector(sources: Collection[str]) -> bool:
    """Return whether sources of regions need --detector."""
    return bool({"detector", BACKGROUND} & set(sources))


class _Crops:
    """Crops that wait for the network, which takes many at once.

    Attributes:
        results: Outputs of the network, one per crop.
    """

    def __init__(self, predict: Callable):
        self.predict, self.results, self.waiting = predict, [], []

    def add(self, crops) -> None:
        """Add crops (N, H, W, 3), and run the network once enough are waiting."""
        self.waiting += list(crops)
        if len(self.waiting) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Run the network on the crops that are waiting."""
        if self.waiting:
            self.results += list(self.predict(tf.constant(np.stack(self.waiting))).numpy())
            self.waiting = []


def _predict(
    cfg: Config,
    components: Components,
    training_set: TrainingSet,
    sources: list[str],
    model: tf.keras.Model,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return ids, points, background and is_mirrored of `InitialPredictions`."""
    alignment, crop_spec, skeleton = components.alignment, components.crop_spec, components.skeleton
    detector = load_pose_detector(cfg.detector) if uses_detector(sources) else None
    shows_annotated = "landmarks" in sources or cfg.unmirror_labels

    def outputs(crops):
        return model(normalize(crops, components.network.preprocessing), training=False)

    @tf.function
    def landmarks(crops):
        """Return alignment points and keypoints (N, 2 + K, 2) in crop pixels."""
        predicted, first = outputs(crops), LANDMARK_NAMES.index(ALIGN_POINTS[0])
        points = predicted.landmarks[:, first : first + len(ALIGN_POINTS), :2]
        keypoints, _ = components.codec.decode(predicted)
        return tf.concat([points, keypoints[:, : skeleton.num_annotated]], axis=1)

    @tf.function
    def presence(crops):
        return components.network.presence_score(outputs(crops))

    def prepare(group):
        points, found, regions = annotated_regions(
            group, alignment=alignment, skeleton=skeleton, input_size=crop_spec.size
        )
        labels = keypoints_to_crop(group["keypoints"], regions, crop_spec.size)
        group |= {"points": points, "found": found, "regions": regions, "labels": labels}
        if shows_annotated:
            group["crops"] = decode_and_crop(group, regions, crop_spec)
        return group

    ids, regions, labels, is_aligned = [], [], [], []
    detected, people_of, background = [], [], []
    landmark_crops, background_crops = _Crops(landmarks), _Crops(presence)
    # A folder with a share is read once.
    sets = tuple(records._replace(share=1) for records in training_set.records.sets)
    once = training_set._replace(records=training_set.records._replace(sets=sets))
    groups = image_groups(once, 0).map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    with progress_bar(once.records.trainable, "first look", "person") as bar:
        for group in groups.as_numpy_iterator():
            bar.update(len(group["id"]))
            if not len(group["id"]):
                continue
            ids += group["id"].tolist()
            regions += list(group["regions"])
            labels += list(group["labels"])
            is_aligned += list(group["found"])
            detections = _detections(group, detector) if detector else []
            if "detector" in sources:
                detected += list(_detected(group, detections))
            if shows_annotated:
                landmark_crops.add(group["crops"])
            if BACKGROUND in sources:
                points = _background(group, detections, alignment.margin)
                region = region_from_points(np.nan_to_num(points), alignment.margin)[None]
                background_crops.add(decode_and_crop(group, region, crop_spec).numpy())
                background.append(points)
                people_of.append(len(group["id"]))
        landmark_crops.flush()
        background_crops.flush()
    is_aligned, found = np.array(is_aligned), {"detector": detected}
    is_mirrored = np.zeros(len(ids), bool)
    if shows_annotated:
        predicted = np.stack(landmark_crops.results)
        found["landmarks"] = _tracking_points(
            predicted[:, : len(ALIGN_POINTS)],
            np.stack(regions),
            is_aligned,
            input_size=crop_spec.size,
            margin=alignment.margin,
        )
        if cfg.unmirror_labels:
            flip_indices = np.array(skeleton.flip_indices[: skeleton.num_annotated])
            keypoints, width = predicted[:, len(ALIGN_POINTS) :], crop_spec.size[1]
            is_mirrored = is_aligned & are_mirrored(
                np.stack(labels), keypoints, flip_indices=flip_indices, width=width
            )
    others = [found[source] for source in sources if source != BACKGROUND]
    points = np.concatenate(others, axis=1) if others else np.zeros((len(ids), 0, 2))
    parts = _free_parts(background, background_crops.results, people_of, len(ids))
    # Two sets of records may use the same ids: such people keep the annotated region and labels.
    unique, first, count = np.unique(np.array(ids, np.int64), return_index=True, return_counts=True)

    def stored(points):
        known = np.isfinite(points).all(axis=-1, keepdims=True)
        points = np.concatenate([np.where(known, points, 0), 2 * known], axis=-1)
        points = points[first].astype(np.float32)
        points[count > 1, :, 2] = 0
        return points

    return unique, stored(points), stored(parts), is_mirrored[first] & (count == 1)


def _free_parts(background: list, presence: list, people_of: list, count: int) -> np.ndarray:
    """Return the background (P, 2, 2) of the P people of all images; NaN where a person is seen.

    Args:
        background: For each image (2, 2), or nothing at all.
        presence: For each image that of a person.
        people_of: How many of the people are of each image.
        count: P.
    """
    if not background:
        return np.full((count, 2, 2), np.nan)
    parts = np.stack(background)
    parts[np.array(presence) >= MAX_PRESENCE] = np.nan
    return np.repeat(parts, people_of, axis=0)


def are_mirrored(
    labels: np.ndarray, predicted: np.ndarray, *, flip_indices: np.ndarray, width: int
) -> np.ndarray:
    """Return whose labels (P,) clearly fit predictions only with left and right exchanged.

    Args:
        labels: (P, K, 3) x, y in crop pixels and visibility.
        predicted: (P, K, 2) keypoints.
        flip_indices: (K,) what each keypoint is exchanged with; itself in the middle of the body.
        width: Width of a crop in pixels.
    """
    has_side = flip_indices != np.arange(len(flip_indices))

    def error(labels):
        is_known = (labels[..., 2] > 0) & has_side
        distance = np.linalg.norm(labels[..., :2] - predicted, axis=2)
        return np.where(is_known, distance, 0).sum(axis=1) / np.maximum(is_known.sum(axis=1), 1)

    exchanged = error(labels[:, flip_indices])
    return (exchanged < MIRRORED_ERROR * error(labels)) & (exchanged < MIRRORED_DISTANCE * width)


def _detections(group: dict, detector) -> list:
    """Return what a detector finds in the image of a group."""
    encoded = tf.io.decode_image(group["encoded"], channels=3, expand_animations=False).numpy()
    pixels = apply_exif_orientation(encoded, int(group["orientation"]))[..., ::-1]
    return detector(np.ascontiguousarray(pixels))


def _detected(group: dict, detections: list) -> np.ndarray:
    """Return the points (P, 2, 2) of people's detections; NaN for none.

    A detection is of the person to whose mid-hip it is nearest, relative to the radius.
    """
    found = np.full((len(group["id"]), 2, 2), np.nan)
    if not detections:
        return found
    detected, points = np.array([d.points for d in detections]), group["points"]
    radius = np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
    offset = np.linalg.norm(detected[:, None, 0] - points[None, :, 0], axis=2)
    distance = np.where(group["found"], offset / radius, np.inf)  # (detections, people)
    owner = distance.argmin(axis=1)
    for row in np.flatnonzero(group["found"]):
        own = np.flatnonzero(owner == row)
        if len(own) and distance[own, row].min() <= MAX_DISTANCE:
            found[row] = detected[own[distance[own, row].argmin()]]
    return found


def _tracking_points(landmarks, regions, is_aligned, *, input_size, margin: float) -> np.ndarray:
    """Return the points (P, 2, 2) that landmarks predict for the next image; NaN if far off.

    Args:
        landmarks: (P, 2, 2) alignment points in crop pixels.
        regions: (P, 5) annotated ones.
        is_aligned: (P,) whether they are about the mid-hip.
        input_size: (height, width) of a crop.
        margin: Side of a region over the diameter of the circle.
    """
    points = keypoints_to_image(landmarks, regions, input_size).numpy()
    offset = np.linalg.norm(points[:, 0] - regions[:, :2], axis=1)
    radius = regions[:, 2] / (2 * margin)
    points[~is_aligned | (offset > MAX_DISTANCE * radius)] = np.nan
    return points


def _background(group: dict, detections: list, margin: float) -> np.ndarray:
    """Return the points (2, 2) of a part of an image without annotated people; NaN if none is left.

    Preferred is what a detector takes for a person.

    Args:
        group: The group of the image.
        detections: What the detector finds.
        margin: Side of a region over the diameter of the circle.
    """
    boxes = group["everyone"]["box"].astype(np.float64)

    def is_free(points):
        half = margin * np.linalg.norm(points[1] - points[0])
        low = np.maximum(boxes[:, :2], points[0] - half)
        high = np.minimum(boxes[:, :2] + boxes[:, 2:], points[0] + half)
        overlap = np.maximum(high - low, 0).prod(axis=1)
        smaller = np.minimum(boxes[:, 2:].prod(axis=1), 4 * half**2)
        return half > 0 and (overlap <= MAX_OVERLAP * smaller).all()

    for detection in sorted(detections, key=lambda d: -d.score):
        points = np.asarray(detection.points, np.float64)
        if is_free(points):
            return points
    rng = np.random.default_rng(int(group["id"][0]) % 2**63)
    height, width = group["image_size"]
    for _ in range(_DRAWS):
        radius = rng.uniform(*BACKGROUND_SIDES) * group["regions"][0, 2] / (2 * margin)
        center, angle = rng.uniform((0, 0), (width, height)), rng.uniform(0, 2 * np.pi)
        points = np.array([center, center + radius * np.array([np.sin(angle), -np.cos(angle)])])
        if is_free(points):
            return points
    return np.full((2, 2), np.nan)
