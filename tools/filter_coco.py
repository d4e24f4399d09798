"""Write a COCO keypoint annotation file with only the people that pass a filter, and tell what it left."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.base.files import write_atomically
from tfcpn.data.coco import Person, read_annotations, without_keypoints
from tfcpn.data.filters import PersonFilter, keep
from tfcpn.data.json_input import read_json
from tfcpn.data.skeleton_file import skeleton_from_flag
from tfcpn.settings.command import Command, Options
from tfcpn.settings.flag import SKELETON, number, path, whole, words
from tfcpn.skeleton import Skeleton

REQUIRE = "Keypoints that must be labeled, such as nose,left_hip,right_hip."
COMMAND = Command(
    "python tools/filter_coco.py",
    __doc__,
    {
        "Files": [
            path("annotations", None, "COCO person_keypoints JSON file.", required=True),
            SKELETON,
            path("output", None, "File to write.", required=True),
        ],
        "Who stays": [
            whole("min_keypoints", 1, "Least number of labeled keypoints.", least=1),
            words("require", (), REQUIRE),
            whole("max_people", 0, "Most labeled people in an image; 0: any number.", least=0),
            number(
                "min_area",
                0.0,
                "Least area in square pixels; COCO's medium starts at 1024.",
                least=0,
            ),
        ],
    },
)
COUNTS = (
    "images",
    "images with people",
    "labeled people",
    "labeled keypoints",
    "people BlazePose can align",
)


def _counts(images: int, people: list[Person], skeleton: Skeleton) -> list[int]:
    from tfcpn.geometry.points import has_alignment_keypoints

    keypoints = (
        np.stack([p.keypoints for p in people]) if people else np.zeros((0, skeleton.count, 3))
    )
    upright = skeleton.hips and skeleton.shoulders
    return [
        images,
        len({p.image_id for p in people}),
        len(people),
        int((keypoints[..., 2] > 0).sum()),
        int(np.sum(has_alignment_keypoints(keypoints, skeleton, "body"))) if upright else 0,
    ]


def filtered(
    data: dict, people: list[Person], category: int, rules: PersonFilter
) -> tuple[dict, list[Person]]:
    """The content of an annotation file after the filter, and its people who are left.

    Who does not pass keeps box and outline but loses the keypoints, as COCO has it for people it does not label: so
    they neither train nor count, and a prediction on them is no error. Images with more people than allowed, or with
    nobody left, go with all that is in them; images in which nobody was labeled before stay. Annotations of other
    categories are left out.
    """
    in_image = {p.image_id: 0 for p in people}
    for p in people:
        in_image[p.image_id] += 1
    passes = keep(
        np.stack([p.keypoints for p in people]),
        np.array([p.area for p in people]),
        np.array([in_image[p.image_id] for p in people]),
        rules,
    ).numpy()
    left = [p for p, stays in zip(people, passes) if stays]
    dropped = {p.id for p, stays in zip(people, passes) if not stays}
    gone = set(in_image) - {p.image_id for p in left}
    own = [
        a
        for a in data["annotations"]
        if a.get("category_id", category) == category and a["image_id"] not in gone
    ]
    annotations = [without_keypoints(a) if a["id"] in dropped else a for a in own]
    images = [image for image in data["images"] if image["id"] not in gone]
    return {**data, "images": images, "annotations": annotations}, left


def main(options: Options) -> None:
    own = options.own
    if Path(own.output).resolve() == Path(own.annotations).resolve():
        raise InputError("--output is the file that --annotations names; give another")
    images, people, skeleton, category = read_annotations(
        own.annotations, expected=skeleton_from_flag(own.skeleton)
    )
    required = skeleton.indices(own.require, "require")
    rules = PersonFilter(own.min_keypoints, required, own.max_people, own.min_area)
    people = [p for p in people if p.trainable]
    data, left = filtered(read_json(own.annotations), people, category, rules)
    if not left:
        raise InputError(
            f"{own.annotations}: none of its {len(people)} labeled people passes the filter"
        )
    info = data.get("info")
    data["info"] = {**(info if isinstance(info, dict) else {}), "filter": rules._asdict()}
    write_atomically(Path(own.output), json.dumps(data))
    print(
        f"| {'':26} | {'before':>9} | {'after':>9} | {'share':>6} |\n|{'-' * 28}|{'-' * 11}|{'-' * 11}|{'-' * 8}|"
    )
    counts = _counts(len(images), people, skeleton), _counts(len(data["images"]), left, skeleton)
    for name, before, after in zip(COUNTS, *counts):
        print(f"| {name:26} | {before:9d} | {after:9d} | {after / max(before, 1):6.1%} |")
    print(f"written: {own.output}")


if __name__ == "__main__":
    COMMAND.run(main)
