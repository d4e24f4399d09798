"""Predictions before training: other regions of people, background, mirrored labels."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.builders import Components
from tfcpn.codecs.landmarks import LANDMARK_NAMES
from tfcpn.config import Config
from tfcpn.config_rules import BACKGROUND, DETECTOR, LANDMARKS, other_regions
from tfcpn.data.images import decode_image
from tfcpn.data.pipeline import InitialPredictions, annotated_regions
from tfcpn.data.sampling import TrainingSet, image_groups
from tfcpn.models.blazepose.detector import PoseDetector
from tfcpn.skeleton import ALIGN_POINTS, to_dict
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
# Another region is of a person whose mid-hip is this near, in parts of the body's radius. It is
# shown up to this size, relative to the annotated one or the other way round: a training crop has
# no more of the image.
MAX_DISTANCE, MAX_SIZE = 0.75, 1.5
# Background: a detection of no annotated person, or a square of these sides, relative to the
# region of a person. This part of it, and of a person's box, may overlap.
BACKGROUND_SIDES, MAX_OVERLAP = (0.3, 1.0), 0.2
# Part of the people that are replaced by it.
BACKGROUND_SHARE = 0.1
# The initial network sees no person there: presence below this one.
MAX_PRESENCE = 0.5
# Labels are mirrored if exchanging left and right leaves at most this part of the distance to the
# predicted keypoints, and at most this part of the crop's side.
MIRRORED_ERROR, MIRRORED_DISTANCE = 0.5, 1 / 16
_TRIALS = 20  # squares that are tried in an image
_BATCH = 32  # crops


def find_initial_predictions(
    cfg: Config,
    components: Components,
    training_set: TrainingSet,
    *,
    model: tf.keras.Model | None,
    detector: bytes | None,
    trained_on: dict,
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
        detector: Content of --detector, where `uses_detector`.
        trained_on: What the steps of the run depend on besides its settings.
        file: Where it is stored.
        writes: Whether this process writes it.

    Raises:
        InputError: If a run resumes without its file, or with that of another run; for labels
            without left and right.
    """
    if cfg.regions == ("annotation",) and not cfg.unmirror_labels:
        return None
    described = _describe(cfg, components, training_set, trained_on)
    share = BACKGROUND_SHARE if BACKGROUND in cfg.regions else 0.0
    found = _load(file, described, share=share)
    if found is None:
        if model is None:
            raise InputError(
                f"{file}: is missing or of another run; restore it, or begin a new run"
            )
        found = _predict(cfg, components, training_set, model, detector, share=share)
        if writes:
            content = io.BytesIO()
            arrays = {name: getattr(found, name) for name in _STORED}
            np.savez(content, made_from=described, **arrays)
            write_atomically(file, content.getvalue())
    if cfg.unmirror_labels and writes:
        mirrored, people = found.is_mirrored.sum(), len(found.ids)
        print(f"--unmirror_labels: left and right are exchanged for {mirrored} of {people} people")
    return found


def uses_detector(cfg: Config) -> bool:
    """Return whether the regions of a training need --detector."""
    return DETECTOR in cfg.regions or BACKGROUND in cfg.regions


def _describe(
    cfg: Config, components: Components, training_set: TrainingSet, trained_on: dict
) -> str:
    """Return what the predictions depend on."""
    names = ("regions", "unmirror_labels", "align_radius", "align_margin", "align_rotate")
    names += ("init_weights", "refine_landmarks")
    depends = {name: getattr(cfg, name) for name in names}
    depends |= {name: trained_on.get(name) for name in ("records", "detector", "first weights")}
    depends |= {"people": training_set.person_filter, "skeleton": to_dict(components.skeleton)}
    return json.dumps(depends, sort_keys=True)


def _load(file: Path, described: str, *, share: float) -> InitialPredictions | None:
    """Return what is stored in a file; None if it is not there, damaged or of another run."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            if str(stored["made_from"]) == described:
                return InitialPredictions(*(stored[name] for name in _STORED), share)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    return None


class _Crops:
    """Crops that wait for the network, which takes many at once.

    Attributes:
        results: Outputs of the network, one per crop.
    """

    def __init__(self, predict: Callable):
        self.predict, self.results, self.waiting = predict, [], []

    def add(self, crops) -> None:
        """Add crops (N, H, W, 3), and run the network on those that fill a batch."""
        self.waiting += list(crops)
        while len(self.waiting) >= _BATCH:
            self._run(_BATCH)

    def finish(self) -> None:
        """Run the network on the crops that are waiting."""
        if self.waiting:
            self._run(len(self.waiting))

    def _run(self, count: int) -> None:
        crops, self.waiting = self.waiting[:count], self.waiting[count:]
        self.results += list(self.predict(tf.constant(np.stack(crops))).numpy())


class _People(NamedTuple):
    """What was seen of the P training people.

    Attributes:
        ids: (P,).
        regions: (P, 5) annotated ones.
        is_aligned: (P,) whether they are about the mid-hip.
        labels: (P, K, 3) x, y in crop pixels and visibility.
        predicted: (P, 2 + K, 2) alignment points and keypoints in crop pixels; None if not asked.
        detected: (P, 2, 2) points of the person's detection; NaN for none.
        background: (P, 2, 2) points of a part without people of the image; NaN for none.
    """

    ids: np.ndarray
    regions: np.ndarray
    is_aligned: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray | None
    detected: np.ndarray
    background: np.ndarray


def _predict(
    cfg: Config,
    components: Components,
    training_set: TrainingSet,
    model: tf.keras.Model,
    detector: bytes | None,
    *,
    share: float,
) -> InitialPredictions:
    """Run the networks on all training people; see `find_initial_predictions`.

    Args:
        cfg: The settings.
        components: The components of the run.
        training_set: The training people.
        model: The network with its initial weights.
        detector: Content of --detector; None if it is not needed.
        share: Share of the people that are replaced by background.
    """
    skeleton, codec = components.skeleton, components.codec
    flip_indices = np.array(skeleton.flip_indices[: skeleton.num_annotated])
    has_side = flip_indices != np.arange(skeleton.num_annotated)
    if cfg.unmirror_labels:
        has_side[[n for n in codec.missing_keypoints if n < skeleton.num_annotated]] = False
        if not has_side.any():
            raise InputError(
                f"--unmirror_labels: the keypoints {skeleton.name!r} have no left and right that "
                "the network predicts"
            )
    people = _look_at_images(
        cfg, components, training_set, model, PoseDetector(detector) if detector else None
    )
    points = {DETECTOR: people.detected}
    is_mirrored = np.zeros(len(people.ids), bool)
    if people.predicted is not None:
        points[LANDMARKS] = keypoints_to_image(
            people.predicted[:, : len(ALIGN_POINTS)], people.regions, components.crop_spec.size
        ).numpy()
    if cfg.unmirror_labels:
        is_mirrored = people.is_aligned & are_mirrored(
            people.labels,
            people.predicted[:, len(ALIGN_POINTS) :],
            flip_indices=flip_indices,
            has_side=has_side,
            width=components.crop_spec.size[1],
        )
    others = [
        _of_the_person(points[source], people, components.alignment.margin)
        for source in other_regions(cfg.regions)
    ]
    # Two sets of records may use the same ids: such people keep the annotated region and labels.
    unique, first, count = np.unique(people.ids, return_index=True, return_counts=True)

    def stored(points):
        known = np.isfinite(points).all(axis=-1, keepdims=True)
        points = np.concatenate([np.where(known, points, 0), 2 * known], axis=-1)
        points = points[first].astype(np.float32)
        points[count > 1, :, 2] = 0
        return points

    return InitialPredictions(
        unique,
        stored(np.concatenate(others, axis=1) if others else np.zeros((len(people.ids), 0, 2))),
        stored(people.background),
        is_mirrored[first] & (count == 1),
        share,
    )


def _look_at_images(
    cfg: Config,
    components: Components,
    training_set: TrainingSet,
    model: tf.keras.Model,
    detector: Callable | None,
) -> _People:
    """Run detector and network on the images of all training people.

    Args:
        cfg: The settings.
        components: The components of the run.
        training_set: The training people.
        model: The network with its initial weights.
        detector: Function from an image (H, W, 3) uint8 BGR to detections; None for none.
    """
    alignment, crop_spec, skeleton = components.alignment, components.crop_spec, components.skeleton
    predicts = LANDMARKS in cfg.regions or cfg.unmirror_labels

    def outputs(crops):
        return model(normalize(crops, components.network.preprocessing), training=False)

    @tf.function
    def landmarks(crops):
        found, first = outputs(crops), LANDMARK_NAMES.index(ALIGN_POINTS[0])
        points = found.landmarks[:, first : first + len(ALIGN_POINTS), :2]
        keypoints, _ = components.codec.decode(found)
        return tf.concat([points, keypoints[:, : skeleton.num_annotated]], axis=1)

    @tf.function
    def presence(crops):
        return components.network.presence_score(outputs(crops))

    def prepare(group):
        points, is_aligned, regions = annotated_regions(
            group, alignment=alignment, skeleton=skeleton, input_size=crop_spec.size
        )
        labels = keypoints_to_crop(group["keypoints"], regions, crop_spec.size)
        group |= {"points": points, "is_aligned": is_aligned, "regions": regions, "labels": labels}
        if predicts:
            group["crops"] = decode_and_crop(group, regions, crop_spec)
        return group

    seen = {name: [] for name in ("id", "regions", "is_aligned", "labels")}
    detected, background, people_of = [], [], []
    landmark_crops, background_crops = _Crops(landmarks), _Crops(presence)
    # A folder with a share is read once.
    sets = tuple(records._replace(share=1) for records in training_set.records.sets)
    once = training_set._replace(records=training_set.records._replace(sets=sets))
    groups = image_groups(once, 0).map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    total = len(np.unique(training_set.index.id))
    with progress_bar(total, "initial predictions", "person") as bar:
        for group in groups.as_numpy_iterator():
            bar.update(len(group["id"]))
            if not len(group["id"]):
                continue
            for name, values in seen.items():
                values += list(group[name])
            people_of.append(len(group["id"]))
            detections = _detections(group, detector) if detector else []
            detected += list(_detected(group, detections))
            if predicts:
                landmark_crops.add(group["crops"])
            if BACKGROUND in cfg.regions:
                points = _background(group, detections, alignment.margin)
                region = region_from_points(np.nan_to_num(points), alignment.margin)[None]
                background_crops.add(decode_and_crop(group, region, crop_spec).numpy())
                background.append(points)
        landmark_crops.finish()
        background_crops.finish()
    free = np.full((len(people_of), 2, 2), np.nan)
    if background:
        free = np.where(
            (np.array(background_crops.results) < MAX_PRESENCE)[:, None, None], background, np.nan
        )
    return _People(
        *(np.stack(values) for values in seen.values()),
        predicted=np.stack(landmark_crops.results) if predicts else None,
        detected=np.stack(detected),
        background=np.repeat(free, people_of, axis=0),
    )


def _detections(group: dict, detector: Callable) -> list:
    """Return what a detector finds in the image of a group."""
    name = f"the image of person {group['id'][0]}"
    return detector(decode_image(group["encoded"], name, int(group["orientation"])))


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
    distance = np.where(group["is_aligned"], offset / np.maximum(radius, 1e-6), np.inf)
    owner = distance.argmin(axis=1)  # (detections,)
    for row in np.flatnonzero(group["is_aligned"]):
        own = np.flatnonzero(owner == row)
        if len(own):
            found[row] = detected[own[distance[own, row].argmin()]]
    return found


def _of_the_person(points: np.ndarray, people: _People, margin: float) -> np.ndarray:
    """Return points (P, 2, 2), NaN where they are far from the annotated region.

    Args:
        points: (P, 2, 2) x, y in image pixels.
        people: The people.
        margin: Side of a region over the diameter of the circle.
    """
    annotated = people.regions[:, 2] / (2 * margin)
    radius = np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
    offset = np.linalg.norm(points[:, 0] - people.regions[:, :2], axis=1)
    is_near = people.is_aligned & (offset <= MAX_DISTANCE * annotated)
    is_near &= (radius <= MAX_SIZE * annotated) & (annotated <= MAX_SIZE * radius)
    return np.where(is_near[:, None, None], points, np.nan)


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
        up = np.abs(points[1] - points[0])
        # The region is rotated: half its side, and half the box around it.
        half, around = margin * np.linalg.norm(up), margin * up.sum()
        low = np.maximum(boxes[:, :2], points[0] - around)
        high = np.minimum(boxes[:, :2] + boxes[:, 2:], points[0] + around)
        overlap = np.maximum(high - low, 0).prod(axis=1)
        smaller = np.minimum(boxes[:, 2:].prod(axis=1), 4 * half**2)
        return half > 0 and (overlap <= MAX_OVERLAP * smaller).all()

    for detection in sorted(detections, key=lambda d: -d.score):
        points = np.asarray(detection.points, np.float64)
        if is_free(points):
            return points
    rng = np.random.default_rng(int(group["id"][0]) % 2**63)
    height, width = group["image_size"]
    for _ in range(_TRIALS):
        radius = rng.uniform(*BACKGROUND_SIDES) * group["regions"][0, 2] / (2 * margin)
        center, angle = rng.uniform((0, 0), (width, height)), rng.uniform(0, 2 * np.pi)
        points = np.array([center, center + radius * np.array([np.sin(angle), -np.cos(angle)])])
        if is_free(points):
            return points
    return np.full((2, 2), np.nan)


def are_mirrored(
    labels: np.ndarray,
    predicted: np.ndarray,
    *,
    flip_indices: np.ndarray,
    has_side: np.ndarray,
    width: int,
) -> np.ndarray:
    """Return whose labels (P,) clearly fit predictions only with left and right exchanged.

    Args:
        labels: (P, K, 3) x, y in crop pixels and visibility.
        predicted: (P, K, 2) keypoints.
        flip_indices: (K,) what each keypoint is exchanged with; itself in the middle of the body.
        has_side: (K,) which keypoints count: those that are predicted and exchanged.
        width: Width of a crop in pixels.
    """

    def error(labels):
        is_known = (labels[..., 2] > 0) & has_side
        distance = np.linalg.norm(labels[..., :2] - predicted, axis=2)
        return np.where(is_known, distance, 0).sum(axis=1) / np.maximum(is_known.sum(axis=1), 1)

    exchanged = error(labels[:, flip_indices])
    return (exchanged < MIRRORED_ERROR * error(labels)) & (exchanged < MIRRORED_DISTANCE * width)
