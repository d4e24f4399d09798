"""How well a pose detector finds annotated people: found, place, radius and angle, by rotation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfcpn.data.coco import PersonAnnotation
from tfcpn.evaluation.metrics import ROTATION_GROUPS, torso_rotation
from tfcpn.models.blazepose.detector import Detection
from tfcpn.skeleton import Skeleton
from tfcpn.transforms.regions import alignment_points, has_alignment_keypoints

# A detection is in the right place if its mid-hip is this near, in parts of the body's radius.
RIGHT_PLACE = 0.3
# MediaPipe's landmarks suffer from regions that are turned by more degrees.
RIGHT_ANGLE = 25.0
# Metrics of a detector: COCO's of boxes; the shares of people with a detection in their image, one
# in the right place, and one that also has the right angle; detections per image with one person;
# and per image without people.
DETECTION_METRICS = ("AP", "AP50", "found", "in_place", "aligned", "detections", "false")


class DetectedPerson(NamedTuple):
    """What a detector says of an annotated person.

    Attributes:
        rotation: Rotation of the torso from upright, 0 to 180 degrees.
        found: Whether there is a detection in the image.
        distance: Of the detection's mid-hip, in parts of the body's radius; infinite if there is
            none. The detection is the most confident one in an image with one annotated person, as
            in MediaPipe with one pose, else the nearest.
        radius: Its radius over the annotated one.
        angle: Difference of the angles in degrees.
        detections: Number of detections in the image of a single person; None elsewhere.
    """

    rotation: float
    found: bool
    distance: float
    radius: float
    angle: float
    detections: int | None = None

    @property
    def placed(self) -> bool:
        """Whether the detection is in the right place."""
        return self.distance < RIGHT_PLACE

    @property
    def aligned(self) -> bool:
        """Whether it is in the right place and has the right angle."""
        return self.placed and self.angle < RIGHT_ANGLE


def people_to_find(people: Sequence[PersonAnnotation], skeleton: Skeleton) -> list:
    """Return the labeled people whose alignment points are known."""
    labeled = [p for p in people if p.trainable]
    if not labeled:
        return []
    known = has_alignment_keypoints(np.stack([p.keypoints for p in labeled]), skeleton, "body")
    return [person for person, is_known in zip(labeled, known.numpy()) if is_known]


def detect_people(
    people: Sequence[PersonAnnotation],
    skeleton: Skeleton,
    detections: Callable[[int], list[Detection]],
    num_annotated: Mapping[int, int],
) -> list[DetectedPerson]:
    """Compare a detector with annotated people.

    Args:
        people: As returned by `people_to_find`.
        skeleton: Their keypoints.
        detections: Function from the id of an image to its detections, the most confident first.
        num_annotated: Number of annotated people of each image.
    """
    keypoints = np.stack([p.keypoints for p in people])
    points = alignment_points(
        keypoints, np.array([p.max_radius for p in people]), skeleton, "body"
    ).numpy()
    turned = np.abs(torso_rotation(keypoints, skeleton))
    rows = []
    for person, truth, rotation in zip(people, points, turned):
        found = detections(person.image_id)
        if not found:
            count = 0 if num_annotated[person.image_id] == 1 else None
            rows.append(DetectedPerson(float(rotation), False, np.inf, np.nan, np.nan, count))
            continue
        is_single = num_annotated[person.image_id] == 1
        best = found[0]
        if not is_single:
            best = min(found, key=lambda d: np.linalg.norm(d.points[0] - truth[0]))
        ways = best.points[1] - best.points[0], truth[1] - truth[0]
        radius, true_radius = (np.linalg.norm(way) for way in ways)
        angles = [np.degrees(np.arctan2(*way)) for way in ways]
        angle = abs((angles[0] - angles[1] + 180) % 360 - 180)
        distance = np.linalg.norm(best.points[0] - truth[0]) / true_radius
        rows.append(
            DetectedPerson(
                rotation=float(rotation),
                found=True,
                distance=float(distance),
                radius=float(radius / true_radius),
                angle=float(angle),
                detections=len(found) if is_single else None,
            )
        )
    return rows


def detections_of(rows: Sequence[DetectedPerson]) -> float:
    """Return the mean number of detections in images of a single person; NaN if there are none."""
    counts = [row.detections for row in rows if row.detections is not None]
    return float(np.mean(counts)) if counts else np.nan


def detection_table(rows: Sequence[DetectedPerson]) -> str:
    """Return a Markdown table by the rotation of the torso."""
    columns = "torso | people | found | in place | radius | angle | within 25 degrees | detections"
    lines = [f"| {columns} |", "|---|---|---|---|---|---|---|---|"]
    for name, (low, high) in ROTATION_GROUPS.items():
        group = [r for r in rows if low <= r.rotation < high]
        if not group:
            continue
        placed = [r for r in group if r.placed]
        radius = np.median([r.radius for r in placed]) if placed else np.nan
        angle = np.median([r.angle for r in placed]) if placed else np.nan
        shares = [np.mean([r.found for r in group]), np.mean([r.placed for r in group])]
        near = np.mean([r.aligned for r in group])
        lines.append(
            f"| {name} | {len(group)} | {shares[0]:.3f} | {shares[1]:.3f} | {radius:.2f} | "
            f"{angle:.1f} | {near:.3f} | {detections_of(group):.2f} |"
        )
    return "\n".join(lines)
