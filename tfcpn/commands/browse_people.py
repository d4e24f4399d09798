"""Data of each person for the page: place, filter values, and regions by alignment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from tfcpn.data.coco import PersonAnnotation
from tfcpn.evaluation.metrics import torso_rotation
from tfcpn.skeleton import Skeleton
from tfcpn.transforms.alignment import Alignment
from tfcpn.transforms.regions import alignment_points, has_alignment_keypoints, person_region

# Crops that the page can show: their alignment and the input's (height, width).
CROPS = {
    "person, 256x192": (Alignment("person"), (256, 192)),
    "square": (Alignment("square"), (256, 256)),
    "blazepose": (Alignment("blazepose"), (256, 256)),
    "blazepose, not rotated": (Alignment("blazepose", rotate=False), (256, 256)),
}


class PagePerson(NamedTuple):
    """A person with its image.

    Attributes:
        person: The person.
        address: The image as the page finds it.
        name: Its name.
        size: Its (height, width).
        people_in_image: How many people are annotated there.
    """

    person: PersonAnnotation
    address: str
    name: str
    size: tuple[int, int]
    people_in_image: int


def _rounded(values, digits: int = 1) -> list:
    return np.round(np.asarray(values, np.float64), digits).tolist()


def describe(shown: Iterable[PagePerson], skeleton: Skeleton) -> dict:
    """Return the data of the page: keypoints, crops, and image, regions and values of people."""
    shown = list(shown)
    keypoints = np.stack([s.person.keypoints for s in shown])
    boxes = np.array([s.person.box for s in shown], np.float32)
    sizes = np.array([s.size for s in shown])
    known = np.zeros(len(shown), bool)
    points = np.zeros((len(shown), 2, 2))
    rotations = np.full(len(shown), np.nan)
    if skeleton.hips and skeleton.shoulders:
        known = has_alignment_keypoints(keypoints, skeleton, "body").numpy()
        points = alignment_points(
            keypoints, [s.person.max_radius for s in shown], skeleton, "body"
        ).numpy()
        rotations = torso_rotation(keypoints, skeleton)
    regions = {
        name: person_region(
            boxes, points, known, sizes, alignment=alignment, input_size=size
        ).numpy()
        for name, (alignment, size) in CROPS.items()
    }
    images = list(dict.fromkeys((s.address, s.name) for s in shown))
    place = {image: n for n, image in enumerate(images)}
    people = [
        {
            "id": s.person.id,
            "image": place[s.address, s.name],
            "box": _rounded(boxes[n]),
            "keypoints": _rounded(keypoints[n].ravel()),
            "regions": [_rounded(regions[name][n], 3) for name in CROPS],
            "labeled": s.person.num_keypoints,
            "area": round(s.person.area),
            "rotation": None if np.isnan(rotations[n]) else round(float(rotations[n])),
            "alignable": bool(known[n]),
            "people_in_image": s.people_in_image,
        }
        for n, s in enumerate(shown)
    ]
    return {
        "keypoints": list(skeleton.keypoints),
        "limbs": [list(limb) for limb in skeleton.limbs],
        "sides": [_side(skeleton, keypoint) for keypoint in range(skeleton.num_keypoints)],
        "crops": [{"name": name, "size": list(size)} for name, (_, size) in CROPS.items()],
        "images": [list(image) for image in images],
        "people": people,
    }


def _side(skeleton: Skeleton, keypoint: int) -> str:
    for left, right in skeleton.pairs:
        if keypoint in (left, right):
            return "left" if keypoint == left else "right"
    return "middle"
