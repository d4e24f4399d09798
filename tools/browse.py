"""A page to look through the people of annotations or records: filter them, see them cut by any alignment."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tfcpn.base.errors import InputError
from tfcpn.base.files import write_atomically
from tfcpn.settings.command import Command, Options
from tfcpn.settings.flag import SKELETON, path, whole

COMMAND = Command(
    "python tools/browse.py",
    __doc__,
    {
        "What": [
            path("annotations", "", "COCO person_keypoints JSON file."),
            path("images", "", "--annotations: folder of its images."),
            path(
                "records",
                "",
                "Instead: folder of records; their images are written beside the page.",
            ),
            SKELETON,
            whole("most", 20_000, "People: the first so many who have labeled keypoints.", least=1),
        ],
        "Where": [
            path("output", "browse", "Folder for index.html and what it reads; open it from there.")
        ],
    },
)
IMAGE_SUFFIXES = "pictures_of_records"
PAGE = Path(__file__).parent / "browsing" / "page.html"


def of_annotations(own) -> tuple[list, object]:
    """The people of an annotation file, and their skeleton. The page finds their images where they are."""
    from browsing.people import Shown

    from tfcpn.data.coco import read_annotations
    from tfcpn.data.skeleton_file import skeleton_from_flag

    images, people, skeleton, _ = read_annotations(
        own.annotations, expected=skeleton_from_flag(own.skeleton)
    )
    if not Path(own.images).is_dir():
        raise InputError(f"--images={own.images}: there is no such folder")
    folder, shown = os.path.relpath(own.images, own.output), []
    beside = Counter(person.image_id for person in people)
    for person in [person for person in people if person.trainable][: own.most]:
        image = images[person.image_id]
        address = "/".join(quote(part) for part in Path(folder, image.file_name).parts)
        size = image.height, image.width
        shown.append(Shown(person, address, image.file_name, size, beside[person.image_id]))
    return shown, skeleton


def record_crops(own) -> tuple[list, object]:
    """The people of records, and their skeleton; the images are written into the page's folder."""
    from tfcpn.data.record_sets import read_records

    records = read_records(own.records)
    shown = []
    for item in _images_of(records, Path(own.output)):
        shown += item
        if len(shown) >= own.most:
            break
    return shown[: own.most], records.skeleton


def _images_of(records, output: Path) -> Iterator[list]:
    """Of each image with people its people, after it is written."""
    import numpy as np
    import tensorflow as tf
    from browsing.people import Shown

    from tfcpn.data.coco import Person
    from tfcpn.data.examples import parse

    number = 0
    for earlier in (output / IMAGE_SUFFIXES).glob("[0-9]" * 6 + ".*"):
        earlier.unlink()  # of an earlier page, and nobody else's
    for file in dict.fromkeys(records.files):
        for serialized in tf.data.TFRecordDataset(file):
            record = {
                name: value.numpy()
                for name, value in parse(serialized, records.skeleton.count).items()
            }
            trainable = np.flatnonzero(record["people/trainable"])
            if not len(trainable):
                continue
            encoded = record["image/encoded"]
            name = f"{number:06d}{'.png' if encoded[:4] == bytes([137, 80, 78, 71]) else '.jpg'}"
            (output / IMAGE_SUFFIXES).mkdir(parents=True, exist_ok=True)
            (output / IMAGE_SUFFIXES / name).write_bytes(encoded)
            people = []
            for row in trainable:
                keypoints, box = (
                    record["people/keypoints"][row],
                    tuple(map(float, record["people/box"][row])),
                )
                known = int((keypoints[:, 2] > 0).sum())
                area, max_radius = (
                    float(record["people/area"][row]),
                    float(record["people/reach"][row]),
                )
                person = Person(
                    number * 1000 + int(row), number, box, keypoints, known, area, False, max_radius
                )
                size = tuple(map(int, record["image/size"]))
                people.append(
                    Shown(
                        person,
                        f"{IMAGE_SUFFIXES}/{name}",
                        name,
                        size,
                        len(record["people/trainable"]),
                    )
                )
            yield people
            number += 1


def main(options: Options) -> None:
    own = options.own
    if bool(own.annotations) == bool(own.records):
        raise InputError("want --annotations with --images, or --records")
    for name in ("images", "skeleton"):
        if own.records and name in options.given:
            raise InputError(f"--{name}: the records have their own")
    shown, skeleton = record_crops(own) if own.records else of_annotations(own)
    if not shown:
        raise InputError(f"{own.annotations or own.records}: nobody has a labeled keypoint")
    from browsing.people import describe

    data = json.dumps(
        describe(shown, skeleton) | {"title": Path(own.annotations or own.records).name}
    )
    # A script and not JSON: a page that is opened from a disk may not fetch.
    write_atomically(Path(own.output) / "people.js", f"const DATA = {data};\n")
    write_atomically(Path(own.output) / "index.html", PAGE.read_text())
    print(f"written: {Path(own.output) / 'index.html'}, {len(shown)} people; open it in a browser")


if __name__ == "__main__":
    COMMAND.run(main)
