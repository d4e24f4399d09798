"""Write a COCO keypoint annotation file with only the people that pass a filter, and tell what it left."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from absl import flags

from tfcpn import align, command_line
from tfcpn.coco import Person, read_annotations, without_joints
from tfcpn.errors import InputError
from tfcpn.files import write_atomically
from tfcpn.filters import Filter, keep
from tfcpn.skeleton import JOINTS, parse_joints

FLAGS = flags.FLAGS
flags.DEFINE_string("annotations", None, "COCO person_keypoints JSON file.")
flags.DEFINE_string("output", None, "File to write.")
flags.DEFINE_integer("min_joints", 1, "Least number of labelled joints.", lower_bound=1)
flags.DEFINE_string("require", "", "Joints that must be labelled, such as nose,left_hip,right_hip.")
flags.DEFINE_integer("max_people", 0, "Most labelled people in an image; 0: any number.", lower_bound=0)
flags.DEFINE_float("min_area", 0.0, "Least area in square pixels; COCO's medium starts at 1024.", lower_bound=0)
GROUPS = {"Files": ["annotations", "output"], "Who stays": ["min_joints", "require", "max_people", "min_area"]}

COUNTS = ("images", "images with people", "labelled people", "labelled joints", "people BlazePose can align")


def _counts(images: int, people: list[Person]) -> list[int]:
    keypoints = np.stack([p.keypoints for p in people]) if people else np.zeros((0, len(JOINTS), 3))
    return [
        images,
        len({p.image_id for p in people}),
        len(people),
        int((keypoints[..., 2] > 0).sum()),
        int(np.sum(align.alignable(keypoints, "body"))),
    ]


def filtered(data: dict, people: list[Person], rules: Filter) -> tuple[dict, list[Person]]:
    """The content of an annotation file after the filter, and its people who are left.

    Who does not pass keeps box and outline but loses the joints, as COCO has it for people it does not label: so
    they neither train nor count, and a prediction on them is no error. Images with more people than allowed, or with
    nobody left, go with all that is in them; images in which nobody was labelled before stay.
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
    annotations = [
        without_joints(a) if a["id"] in dropped else a for a in data["annotations"] if a["image_id"] not in gone
    ]
    images = [image for image in data["images"] if image["id"] not in gone]
    return {**data, "images": images, "annotations": annotations}, left


def main() -> None:
    for name in ("annotations", "output"):
        if not FLAGS[name].value:
            raise InputError(f"--{name} is missing; see python tools/filter_coco.py --help")
    if Path(FLAGS.output).resolve() == Path(FLAGS.annotations).resolve():
        raise InputError("--output is the file that --annotations names; give another")
    required = tuple(JOINTS.index(name) for name in parse_joints(FLAGS.require, "require"))
    rules = Filter(FLAGS.min_joints, required, FLAGS.max_people, FLAGS.min_area)
    images, people = read_annotations(FLAGS.annotations)
    people = [p for p in people if p.trainable]
    data, left = filtered(json.loads(Path(FLAGS.annotations).read_text()), people, rules)
    if not left:
        raise InputError(f"{FLAGS.annotations}: none of its {len(people)} labelled people passes the filter")
    info = data.get("info")
    data["info"] = {**(info if isinstance(info, dict) else {}), "filter": rules._asdict()}
    write_atomically(Path(FLAGS.output), json.dumps(data))
    print(f"| {'':26} | {'before':>9} | {'after':>9} | {'share':>6} |\n|{'-' * 28}|{'-' * 11}|{'-' * 11}|{'-' * 8}|")
    for name, before, after in zip(COUNTS, _counts(len(images), people), _counts(len(data["images"]), left)):
        print(f"| {name:26} | {before:9d} | {after:9d} | {after / max(before, 1):6.1%} |")
    print(f"written: {FLAGS.output}")


if __name__ == "__main__":
    command_line.run(main, "python tools/filter_coco.py", __doc__, GROUPS)
