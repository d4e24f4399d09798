"""Write an annotation file with the people that pass a filter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tfcpn.cli import ANNOTATION_FLAGS, Command, Options, float_, integer, path, string_list
from tfcpn.data.coco import (
    PersonAnnotation,
    parse_annotations,
    read_clean_file,
    without_keypoints,
)
from tfcpn.data.record_sets import PersonFilter, passes_filter
from tfcpn.skeleton import Skeleton, skeleton_from_flag
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

REQUIRE = "Keypoints that must be labeled, such as nose,left_hip,right_hip."
COMMAND = Command(
    "python tools/filter_coco.py",
    __doc__,
    {
        "Files": [
            path("annotations", None, "COCO person_keypoints JSON file.", required=True),
            *ANNOTATION_FLAGS,
            path("output", None, "File to write.", required=True),
        ],
        "Filter": [
            integer("min_keypoints", 1, "Minimum number of labeled keypoints.", minimum=1),
            string_list("require", (), REQUIRE),
            integer(
                "max_people",
                0,
                "Maximum number of labeled people per image; 0: any.",
                minimum=0,
            ),
            float_(
                "min_area",
                0.0,
                "Minimum area in square pixels; COCO's medium starts at 1024.",
                minimum=0,
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


def _counts(images: int, people: list[PersonAnnotation], skeleton: Skeleton) -> list[int]:
    from tfcpn.transforms.regions import has_alignment_keypoints

    keypoints = (
        np.stack([p.keypoints for p in people])
        if people
        else np.zeros((0, skeleton.num_keypoints, 3))
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
    data: dict, people: list[PersonAnnotation], rules: PersonFilter
) -> tuple[dict, list[PersonAnnotation]]:
    """Filter the content of an annotation file.

    People who do not pass keep box and outline but lose their keypoints, as COCO's unlabeled people
    have none: they neither train nor count, and a prediction on them is no error. Images with more
    people than allowed, or with none left, are removed; images without labeled people before the
    filter stay. Annotations of other categories are removed.

    Args:
        data: Content of the file.
        people: Its people.
        rules: Which people pass.

    Returns:
        The filtered content, and the people who are left.
    """
    in_image = {p.image_id: 0 for p in people}
    for p in people:
        in_image[p.image_id] += 1
    passes = passes_filter(
        np.stack([p.keypoints for p in people]),
        np.array([p.area for p in people]),
        np.array([in_image[p.image_id] for p in people]),
        rules,
    ).numpy()
    left = [p for p, stays in zip(people, passes) if stays]
    dropped = {p.id for p, stays in zip(people, passes) if not stays}
    gone = set(in_image) - {p.image_id for p in left}
    annotations = [
        without_keypoints(a) if a["id"] in dropped else a
        for a in data["annotations"]
        if a["image_id"] not in gone
    ]
    images = [image for image in data["images"] if image["id"] not in gone]
    return {**data, "images": images, "annotations": annotations}, left


def main(options: Options) -> None:
    args = options.args
    if Path(args.output).resolve() == Path(args.annotations).resolve():
        raise InputError("--output is the file that --annotations names; give another")
    clean = read_clean_file(
        args.annotations,
        expected=skeleton_from_flag(args.skeleton),
        convert=True,
        categories=args.category,
    )
    images, people, skeleton, *_ = parse_annotations(clean, args.annotations)
    clean.findings.report(args.strict)
    required = skeleton.indices(args.require, "require")
    rules = PersonFilter(args.min_keypoints, required, args.max_people, args.min_area)
    people = [p for p in people if p.trainable]
    data, left = filtered(clean.data, people, rules)
    if not left:
        raise InputError(
            f"{args.annotations}: none of its {len(people)} labeled people passes the filter"
        )
    info = data.get("info")
    data["info"] = {**(info if isinstance(info, dict) else {}), "filter": rules._asdict()}
    write_atomically(Path(args.output), json.dumps(data))
    print(
        f"| {'':26} | {'before':>9} | {'after':>9} | {'share':>6} "
        f"|\n|{'-' * 28}|{'-' * 11}|{'-' * 11}|{'-' * 8}|"
    )
    counts = _counts(len(images), people, skeleton), _counts(len(data["images"]), left, skeleton)
    for name, before, after in zip(COUNTS, *counts):
        print(f"| {name:26} | {before:9d} | {after:9d} | {after / max(before, 1):6.1%} |")
    print(f"written: {args.output}")


if __name__ == "__main__":
    COMMAND.run(main)
