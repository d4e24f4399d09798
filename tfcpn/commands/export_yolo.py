"""Write annotations as a YOLO-pose dataset of Ultralytics' form."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path, PurePosixPath

import numpy as np

from tfcpn.cli import ANNOTATION_FLAGS, Command, Options, enum, path
from tfcpn.data.coco import PersonAnnotation, read_annotations
from tfcpn.skeleton import Skeleton, skeleton_from_flag
from tfcpn.utils.console import progress_bar
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

COMMAND = Command(
    "tfcpn data yolo",
    __doc__,
    {
        "What": [
            path("annotations", None, "COCO person_keypoints JSON file.", required=True),
            path("images", None, "Folder of its images.", required=True),
            *ANNOTATION_FLAGS,
        ],
        "Where": [
            path("output", None, "Folder of the dataset.", required=True),
            enum("split", "train", ("train", "val"), "Part of the dataset that these images are."),
        ],
    },
)


def label_line(person: PersonAnnotation, size: tuple[int, int]) -> str:
    """Return the line of a person: class, box and keypoints, over the image's size.

    Keypoints outside the image are not labeled, as Ultralytics refuses them.

    Args:
        person: The person.
        size: (height, width) of the image.
    """
    height, width = size
    x, y, w, h = person.box
    low = np.clip((x, y), 0, (width, height))
    high = np.clip((x + w, y + h), 0, (width, height))
    center, sides = (low + high) / 2 / (width, height), (high - low) / (width, height)
    keypoints = person.keypoints.astype(np.float64) / (width, height, 1)
    outside = (keypoints[:, :2] < 0).any(axis=1) | (keypoints[:, :2] > 1).any(axis=1)
    keypoints[(keypoints[:, 2] == 0) | outside] = 0
    numbers = [f"{v:.6f}" for v in (*center, *sides)]
    numbers += [text for px, py, v in keypoints for text in (f"{px:.6f}", f"{py:.6f}", f"{v:.0f}")]
    return " ".join(["0", *numbers])


def data_yaml(skeleton: Skeleton, has_val: bool) -> str:
    """Return the content of data.yaml."""
    return "\n".join(
        [
            "train: images/train",
            f"val: images/{'val' if has_val else 'train'}",
            f"kpt_shape: [{skeleton.num_keypoints}, 3]",
            f"flip_idx: {skeleton.flip_indices}",
            "names:",
            "  0: person",
            "kpt_names:",
            f"  0: {json.dumps(list(skeleton.keypoints), ensure_ascii=False)}",
            "",
        ]
    )


def _place(source: Path, target: Path) -> None:
    """Link a file, or copy it where links are impossible; leave it where it is there already."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and source.samefile(target):
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.symlink(source.resolve(), temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)


def main(options: Options) -> None:
    args = options.args
    image_dir, output = Path(args.images), Path(args.output)
    if not image_dir.is_dir():
        raise InputError(f"--images={image_dir}: no such folder")
    annotations = read_annotations(
        args.annotations,
        expected=skeleton_from_flag(args.skeleton),
        convert=True,
        image_dir=image_dir,
        categories=args.category,
        strict=args.strict,
    )
    by_image: dict[int, list[PersonAnnotation]] = {}
    for person in annotations.people:
        if not person.crowd and min(person.box[2:]) > 0:
            by_image.setdefault(person.image_id, []).append(person)
    people, missing = 0, []
    with progress_bar(len(annotations.images), "labels", "image") as bar:
        for image in annotations.images.values():
            bar.update()
            if not (image_dir / image.file_name).is_file():
                missing.append(image.file_name)
                continue
            name = PurePosixPath(args.split, image.file_name)
            lines = [label_line(p, (image.height, image.width)) for p in by_image.get(image.id, ())]
            _place(image_dir / image.file_name, output / "images" / name)
            label = (output / "labels" / name).with_suffix(".txt")
            write_atomically(label, "".join(f"{line}\n" for line in lines), durable=False)
            people += len(lines)
    count = len(annotations.images) - len(missing)
    if not count:
        raise InputError(f"--images={image_dir}: holds none of the images of {args.annotations}")
    if missing:
        print(f"left out: {len(missing)} images that are not in {image_dir}, such as {missing[0]}")
    yaml = data_yaml(annotations.skeleton, (output / "images/val").is_dir())
    write_atomically(output / "data.yaml", yaml)
    print(f"written: {output / 'data.yaml'}, {count} images and {people} people in {args.split}")


if __name__ == "__main__":
    COMMAND.run(main)
