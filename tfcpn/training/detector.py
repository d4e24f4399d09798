"""Train MediaPipe's pose detector on whole images of people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf

from tfcpn.data.image_headers import read_header
from tfcpn.data.images import apply_exif_orientation
from tfcpn.data.record_format import parse_example
from tfcpn.data.record_sets import Records
from tfcpn.models.blazepose.detector import SIZE, anchors
from tfcpn.models.blazepose.detector_model import trained_variables
from tfcpn.skeleton import Skeleton
from tfcpn.transforms.regions import alignment_points, has_alignment_keypoints
from tfcpn.utils.errors import InputError

# MediaPipe's detector marks faces. With a neck and a top of the head, the side of the face's box is
# this many times the way between them, and its center lies this part of it above the neck.
FACE_SIDE, FACE_CENTER = 2.6, 0.1
# Without them the face is about the nose, with a side relative to the body's radius.
FACE_OF_RADIUS = 0.6
# Anchors that become positive for a person: those that predict best, of those near the face.
POSITIVES = 6
NEAR_FACE, NEAR_PIXELS = 0.75, 14.0  # sides of the face, and at least so many pixels
MAX_PEOPLE = 8  # of an image
# The original network is believed about people that are not annotated from this score on.
BELIEVED = 0.5
# Weights of the losses: points, box, what the original says of other people, and its other points.
POINTS_WEIGHT, BOX_WEIGHT, HELD_WEIGHT, OTHER_POINTS_WEIGHT = 1.0, 0.3, 0.5, 0.1
_FOCUS = 2.0  # exponent of the focal loss (arXiv 1708.02002)
BACKGROUND_SHARE = 0.2  # of a batch, where images without people are given
_SUFFIXES = (".jpg", ".jpeg", ".png")


class DetectorTargets(NamedTuple):
    """The people of a batch of N images, padded to P; in pixels of the input.

    Attributes:
        face: (N, P, 3) center x, y and side of the face.
        points: (N, P, 4) x, y of the mid-hip and of the point on the circle.
        radius: (N, P) of the body; 0 for a place without a person.
        ignored: (N, P, 4) corners of people whose points are unknown: neither positive nor
            negative; zeros for none.
    """

    face: np.ndarray
    points: np.ndarray
    radius: np.ndarray
    ignored: np.ndarray


@dataclass(frozen=True)
class DetectorViews:
    """How images are varied.

    Attributes:
        zoom_min, zoom_max: Range of the zoom over the image that just fits.
        shift: Maximum shift in parts of the input's side.
        rotation: Maximum rotation in degrees.
        any_rotation: Share of images that are turned by any angle.
    """

    zoom_min: float = 0.6
    zoom_max: float = 1.6
    shift: float = 0.15
    rotation: float = 20.0
    any_rotation: float = 0.3


def faces(keypoints: np.ndarray, radius: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return center x, y and side of the faces of people (P, 3); NaN where they are unknown.

    Args:
        keypoints: (P, K, 3).
        radius: (P,) of the bodies.
        skeleton: The keypoints.
    """
    result = np.full((len(keypoints), 3), np.nan)
    if skeleton.nose:
        nose = keypoints[:, skeleton.nose[0]]
        seen = nose[:, 2] > 0
        result[seen] = np.column_stack([nose[:, :2], FACE_OF_RADIUS * radius])[seen]
    if skeleton.neck and skeleton.head:
        neck, head = keypoints[:, skeleton.neck[0]], keypoints[:, skeleton.head[0]]
        seen = (neck[:, 2] > 0) & (head[:, 2] > 0)
        way = head[:, :2] - neck[:, :2]
        center = neck[:, :2] + FACE_CENTER * way
        side = FACE_SIDE * np.linalg.norm(way, axis=1)
        result[seen] = np.column_stack([center, side])[seen]
    return result


class LabeledImage(NamedTuple):
    """An image of the records.

    Attributes:
        encoded: The file.
        orientation: EXIF orientation to apply.
        face, points, radius: As in `DetectorTargets`, of the people whose points are known.
        ignored: (I, 4) x, y, width, height of the others.
    """

    encoded: bytes
    orientation: int
    face: np.ndarray
    points: np.ndarray
    radius: np.ndarray
    ignored: np.ndarray


def labeled_images(records: Records, seed: int) -> Iterator[LabeledImage]:
    """Yield the images of records with a known person, again and again, shuffled in each pass."""
    files = tf.data.Dataset.from_tensor_slices(records.files)
    files = files.shuffle(len(records.files), seed=seed, reshuffle_each_iteration=True).repeat()
    examples = files.interleave(tf.data.TFRecordDataset, cycle_length=8).shuffle(1000, seed=seed)
    skeleton, skipped = records.skeleton, 0
    for serialized in examples.as_numpy_iterator():
        example = parse_example(serialized, skeleton.num_keypoints)
        example = {name: value.numpy() for name, value in example.items()}
        image = _labeled_image(example, skeleton)
        if image is not None:
            skipped = 0
            yield image
            continue
        skipped += 1
        if skipped > 100_000:
            raise InputError(f"{records.name}: no person has the keypoints of the alignment points")


def _labeled_image(example: dict, skeleton: Skeleton) -> LabeledImage | None:
    keypoints = example["people/keypoints"].astype(np.float64)
    known = has_alignment_keypoints(keypoints, skeleton, "body").numpy()
    known &= example["people/trainable"].astype(bool)
    points = alignment_points(keypoints, example["people/reach"], skeleton, "body").numpy()
    radius = np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
    face = faces(keypoints, radius, skeleton)
    known &= np.isfinite(face[:, 0]) & (radius > 0)
    if not known.any():
        return None
    return LabeledImage(
        example["image/encoded"],
        int(example["image/orientation"]),
        face[known][:MAX_PEOPLE],
        points[known].reshape(-1, 4)[:MAX_PEOPLE],
        radius[known][:MAX_PEOPLE],
        np.concatenate([example["people/box"][~known], example["people/box"][known][MAX_PEOPLE:]])[
            :MAX_PEOPLE
        ],
    )


def view(
    image: LabeledImage, views: DetectorViews, rng: np.random.Generator
) -> tuple[np.ndarray, DetectorTargets]:
    """Return a random view of an image (224, 224, 3) uint8 RGB, black outside, and its targets."""
    pixels = cv2.imdecode(
        np.frombuffer(image.encoded, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    )
    pixels = apply_exif_orientation(pixels, image.orientation)[..., ::-1]
    height, width = pixels.shape[:2]
    zoom = math.exp(rng.uniform(math.log(views.zoom_min), math.log(views.zoom_max)))
    scale = SIZE / max(height, width) * zoom
    limit = 180 if rng.random() < views.any_rotation else views.rotation
    angle = math.radians(rng.uniform(-limit, limit))
    mirror = -1 if rng.random() < 0.5 else 1
    linear = scale * np.array(
        [[mirror * math.cos(angle), -math.sin(angle)], [mirror * math.sin(angle), math.cos(angle)]]
    )
    middle = SIZE / 2 + SIZE * rng.uniform(-views.shift, views.shift, 2)
    offset = middle - linear @ (width / 2, height / 2)
    matrix = np.column_stack([linear, offset])
    shrunk = cv2.warpAffine(np.ascontiguousarray(pixels), matrix, (SIZE, SIZE))

    def moved(xy: np.ndarray) -> np.ndarray:
        return xy @ linear.T + offset

    face = np.column_stack([moved(image.face[:, :2]), scale * image.face[:, 2]])
    points = moved(image.points.reshape(-1, 2, 2)).reshape(-1, 4)
    # A person whose face is outside cannot be found, and need not be.
    inside = ((face[:, :2] > 0) & (face[:, :2] < SIZE)).all(axis=1)
    corners = image.ignored[:, None, :2] + image.ignored[:, None, 2:] * [
        [[0, 0], [1, 0], [0, 1], [1, 1]]
    ]
    corners = moved(corners)
    ignored = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    targets = DetectorTargets(
        *(np.zeros((MAX_PEOPLE, *n), np.float32) for n in ((3,), (4,), (), (4,)))
    )
    count = int(inside.sum())
    targets.face[:count], targets.points[:count] = face[inside], points[inside]
    targets.radius[:count] = scale * image.radius[inside]
    targets.ignored[: len(ignored)] = ignored
    return shrunk, targets


def background_images(folder: str) -> list[LabeledImage]:
    """Return the images of a folder, in which there is no person.

    Raises:
        InputError: If it has no JPEG or PNG.
    """
    files = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in _SUFFIXES)
    if not files:
        raise InputError(f"--background={folder}: there is no .jpg or .png")
    empty = np.zeros((0, 3)), np.zeros((0, 4)), np.zeros(0), np.zeros((0, 4))
    found = []
    for file in files:
        content = file.read_bytes()
        orientation = read_header(content, str(file)).orientation
        found.append(LabeledImage(content, orientation, *empty))
    return found


def batches(
    records: Records,
    views: DetectorViews,
    batch_size: int,
    seed: int,
    start: int = 0,
    background: Sequence[LabeledImage] = (),
) -> Iterator[tuple[np.ndarray, DetectorTargets]]:
    """Yield batches of views (N, 224, 224, 3) uint8 RGB with their targets.

    Args:
        records: The records.
        views: How images are varied.
        batch_size: Number of images N.
        seed: Seed of order and views.
        start: Number of the first batch, when training resumes: views differ from those before.
        background: Images without people, a share of each batch.
    """
    images = labeled_images(records, seed + start)
    without = round(BACKGROUND_SHARE * batch_size) if background else 0
    with ThreadPoolExecutor(4) as pool:
        number, waiting = start, None
        while True:
            jobs = []
            for n in range(batch_size):
                rng = np.random.default_rng((seed, number, n))
                image = background[rng.integers(len(background))] if n < without else next(images)
                jobs.append(pool.submit(view, image, views, rng))
            number += 1
            if waiting is not None:
                yield _stacked(waiting)
            waiting = jobs


def _stacked(jobs: list) -> tuple[np.ndarray, DetectorTargets]:
    pixels, targets = zip(*(job.result() for job in jobs))
    return np.stack(pixels), DetectorTargets(*(np.stack(values) for values in zip(*targets)))


def detector_losses(
    raw: tf.Tensor,
    logits: tf.Tensor,
    targets: DetectorTargets,
    raw_before: tf.Tensor,
    logits_before: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Return the losses of a batch.

    For each person the anchors near the face that predict the points best are positive. Other
    anchors are negative, unless they are near the face, within a person whose points are unknown,
    or the original network sees a person there.

    Args:
        raw: (N, A, 12) boxes and points from the anchors, in pixels of the input.
        logits: (N, A, 1).
        targets: The people.
        raw_before, logits_before: Outputs of the original network.
    """
    middles = tf.constant(anchors() * SIZE, tf.float32)  # (A, 2)
    exists = targets.radius > 0  # (N, P)
    radius = tf.where(exists, targets.radius, 1.0)[:, :, None]
    predicted = raw[:, :, 4:8] + tf.tile(middles, (1, 2))  # (N, A, 4)
    away = tf.abs(predicted[:, None] - targets.points[:, :, None])  # (N, P, A, 4)
    cost = tf.reduce_mean(away, axis=-1) / radius  # (N, P, A)
    center, side = targets.face[..., :2], tf.maximum(targets.face[..., 2], 1.0)
    from_face = tf.norm(middles[None, None] - center[:, :, None], axis=-1)
    near = from_face <= tf.maximum(NEAR_FACE * side, NEAR_PIXELS)[:, :, None]
    near &= exists[:, :, None]
    # An anchor belongs to the person whose face is nearest.
    nearest = tf.argmin(tf.where(near, from_face, 1e9), axis=1)  # (N, A)
    own = tf.one_hot(nearest, MAX_PEOPLE, True, False, axis=1, dtype=tf.bool)
    near &= own
    ranked = tf.stop_gradient(tf.where(near, cost, 1e9))
    worst = tf.sort(ranked, axis=-1)[..., POSITIVES - 1 : POSITIVES]
    positive = near & (ranked <= worst)  # (N, P, A)
    is_positive = tf.reduce_any(positive, axis=1)
    count = tf.maximum(tf.reduce_sum(tf.cast(positive, tf.float32)), 1.0)
    mask = tf.cast(positive, tf.float32)

    box = raw[:, :, :2] + middles
    box_away = tf.reduce_mean(tf.abs(box[:, None] - center[:, :, None]), axis=-1)
    box_away += tf.reduce_mean(tf.abs(raw[:, None, :, 2:4] - side[:, :, None, None]), axis=-1)
    losses = {
        "points": POINTS_WEIGHT * tf.reduce_sum(mask * cost) / count,
        "box": BOX_WEIGHT * tf.reduce_sum(mask * box_away / side[:, :, None]) / count,
    }

    low, high = targets.ignored[..., :2], targets.ignored[..., 2:]
    within = tf.reduce_all(
        (middles[None, None] >= low[:, :, None]) & (middles[None, None] <= high[:, :, None]), -1
    )
    before = tf.sigmoid(logits_before[..., 0])
    believed = (before >= BELIEVED) & ~tf.reduce_any(near, axis=1)
    negative = ~(tf.reduce_any(near, axis=1) | tf.reduce_any(within, axis=1) | believed)
    logit = tf.clip_by_value(logits[..., 0], -30.0, 30.0)
    score = tf.sigmoid(logit)
    hit = tf.math.softplus(-logit) * (1 - score) ** _FOCUS
    miss = tf.math.softplus(logit) * score**_FOCUS
    total = tf.reduce_sum(tf.where(is_positive, hit, 0.0) + tf.where(negative, miss, 0.0))
    losses["score"] = total / count

    # What the original network says of other people, and of the points without labels.
    held = tf.cast(believed, tf.float32)
    others = tf.maximum(tf.reduce_sum(held), 1.0)
    way = tf.norm(raw_before[..., 6:8] - raw_before[..., 4:6], axis=-1)
    moved = tf.reduce_mean(tf.abs(raw - raw_before), axis=-1) / tf.maximum(way, 1.0)
    fallen = tf.nn.sigmoid_cross_entropy_with_logits(before, logit)
    losses["held"] = HELD_WEIGHT * tf.reduce_sum(held * (moved + fallen)) / others
    of_person = tf.reduce_sum(mask / radius, axis=1)  # (N, A)
    other = tf.reduce_mean(tf.abs(raw[..., 8:] - raw_before[..., 8:]), axis=-1)
    losses["other_points"] = OTHER_POINTS_WEIGHT * tf.reduce_sum(of_person * other) / count
    return losses


def normalized(pixels) -> tf.Tensor:
    """Return images uint8 RGB as the detector's input, from -1 to 1."""
    return tf.cast(pixels, tf.float32) / 127.5 - 1


class DetectorStep:
    """A training step of a detector, with an exponential moving average of its weights."""

    def __init__(
        self,
        model: tf.keras.Model,
        before: tf.keras.Model,
        *,
        learning_rate: float,
        steps: int,
        warmup: int,
        ema: float,
    ):
        """Create the step.

        Args:
            model: The detector.
            before: The original one.
            learning_rate: Highest rate of Adam; it rises over the warm-up and then falls as a
                cosine to zero.
            steps: Number of steps of the whole training.
            warmup: Number of steps of the warm-up.
            ema: Decay of the average.
        """
        self.model, self.before, self.ema = model, before, ema
        self.steps, self.warmup, self.learning_rate = steps, warmup, learning_rate
        before.trainable = False
        pairs = trained_variables(model)
        self.variables = [variable for variable, _ in pairs]
        self.masks = [None if m is None else tf.constant(m, tf.float32) for _, m in pairs]
        self.mean = [tf.Variable(v, trainable=False) for v in self.variables]
        self.optimizer = tf.keras.optimizers.legacy.Adam(learning_rate)
        self.optimizer._create_all_weights(self.variables)
        self.number = tf.Variable(0, dtype=tf.int64, trainable=False)

    def checkpoint(self) -> tf.train.Checkpoint:
        """Return what is to be saved and restored."""
        return tf.train.Checkpoint(
            variables=self.variables, mean=self.mean, optimizer=self.optimizer, number=self.number
        )

    def rate(self, number: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if number < self.warmup:
            return self.learning_rate * (number + 1) / self.warmup
        done = (number - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def __call__(self, pixels: np.ndarray, targets: DetectorTargets) -> dict[str, float]:
        """Train on a batch and return its losses.

        Raises:
            InputError: For losses that are not numbers.
        """
        self.optimizer.learning_rate.assign(self.rate(int(self.number)))
        losses = self._step(tf.constant(pixels), DetectorTargets(*map(tf.constant, targets)))
        losses = {name: float(value) for name, value in losses.items()}
        if not np.isfinite(list(losses.values())).all():
            raise InputError(f"step {int(self.number)}: a loss is not a number; lower the rate")
        return losses

    @tf.function
    def _step(self, pixels, targets):
        images = normalized(pixels)
        raw_before, logits_before = self.before(images, training=False)
        with tf.GradientTape() as tape:
            raw, logits = self.model(images, training=True)
            losses = detector_losses(raw, logits, targets, raw_before, logits_before)
            total = tf.add_n(list(losses.values()))
        gradients = tape.gradient(total, self.variables)
        gradients = [g if m is None else g * m for g, m in zip(gradients, self.masks)]
        self.optimizer.apply_gradients(zip(gradients, self.variables))
        self.number.assign_add(1)
        # As tf.train.ExponentialMovingAverage: short at first.
        number = tf.cast(self.number, tf.float32)
        decay = tf.minimum(self.ema, (1 + number) / (10 + number))
        for mean, variable in zip(self.mean, self.variables):
            mean.assign(decay * mean + (1 - decay) * variable)
        return losses

    def use_mean(self) -> None:
        """Give the model the averaged weights, to be exported."""
        for variable, mean in zip(self.variables, self.mean):
            variable.assign(mean)


def latest(folder: Path) -> str | None:
    """Return the latest checkpoint of a folder, or None."""
    return tf.train.latest_checkpoint(str(folder))
