"""Make a web page to browse the people of annotations or records."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tfcpn.cli import ANNOTATION_FLAGS, Command, Options, integer, path
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

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
                "Folder of records instead; their images are written to the page's folder.",
            ),
            *ANNOTATION_FLAGS,
            integer(
                "max_people",
                20_000,
                "Maximum number of people with labeled keypoints, the first ones.",
                minimum=1,
            ),
        ],
        "Where": [
            path("output", "browse", "Folder for index.html and what it reads; open it from there.")
        ],
    },
)
IMAGE_FOLDER = "images_of_records"
PAGE = Path(__file__).with_name("browse_page.html")


def of_annotations(args) -> tuple[list, object]:
    """Return the people of an annotation file and their skeleton; images stay where they are."""
    from tfcpn.commands.browse_people import PagePerson
    from tfcpn.data.coco import read_annotations
    from tfcpn.skeleton import skeleton_from_flag

    images, people, skeleton, *_ = read_annotations(
        args.annotations,
        expected=skeleton_from_flag(args.skeleton),
        convert=True,
        image_dir=args.images,
        categories=args.category,
        strict=args.strict,
    )
    if not Path(args.images).is_dir():
        raise InputError(f"--images={args.images}: there is no such folder")
    folder, shown = os.path.relpath(args.images, args.output), []
    people_in_image = Counter(person.image_id for person in people)
    for person in [person for person in people if person.trainable][: args.max_people]:
        image = images[person.image_id]
        address = "/".join(quote(part) for part in Path(folder, image.file_name).parts)
        size = image.height, image.width
        shown.append(
            PagePerson(person, address, image.file_name, size, people_in_image[person.image_id])
        )
    return shown, skeleton


def record_people(args) -> tuple[list, object]:
    """Return the people of records and their skeleton, and write their images to the page."""
    from tfcpn.data.record_sets import read_records

    records = read_records(args.records)
    shown = []
    for item in _images_of(records, Path(args.output)):
        shown += item
        if len(shown) >= args.max_people:
            break
    return shown[: args.max_people], records.skeleton


def _images_of(records, output: Path) -> Iterator[list]:
    """Write the images of records, and yield the people of each."""
    import numpy as np
    import tensorflow as tf

    from tfcpn.commands.browse_people import PagePerson
    from tfcpn.data.coco import PersonAnnotation
    from tfcpn.data.record_format import parse_example

    number = 0
    for earlier in (output / IMAGE_FOLDER).glob("[0-9]" * 6 + ".*"):
        earlier.unlink()  # Of an earlier page.
    for file in dict.fromkeys(records.files):
        for serialized in tf.data.TFRecordDataset(file):
            record = {
                name: value.numpy()
                for name, value in parse_example(serialized, records.skeleton.num_keypoints).items()
            }
            trainable = np.flatnonzero(record["people/trainable"])
            if not len(trainable):
                continue
            encoded = record["image/encoded"]
            name = f"{number:06d}{'.png' if encoded[:4] == bytes([137, 80, 78, 71]) else '.jpg'}"
            (output / IMAGE_FOLDER).mkdir(parents=True, exist_ok=True)
            (output / IMAGE_FOLDER / name).write_bytes(encoded)
            people = []
            for row in trainable:
                keypoints = record["people/keypoints"][row]
                person = PersonAnnotation(
                    id=int(record["people/id"][row]),
                    image_id=int(record["image/id"]),
                    box=tuple(map(float, record["people/box"][row])),
                    keypoints=keypoints,
                    num_keypoints=int((keypoints[:, 2] > 0).sum()),
                    area=float(record["people/area"][row]),
                    crowd=False,
                    max_radius=float(record["people/reach"][row]),
                )
                people.append(
                    PagePerson(
                        person=person,
                        address=f"{IMAGE_FOLDER}/{name}",
                        name=record["image/file_name"].decode(),
                        size=tuple(map(int, record["image/size"])),
                        people_in_image=len(record["people/trainable"]),
                    )
                )
            yield people
            number += 1


def main(options: Options) -> None:
    args = options.args
    if bool(args.annotations) == bool(args.records):
        raise InputError("expected --annotations with --images, or --records")
    for name in ("images", "skeleton"):
        if args.records and name in options.explicit:
            raise InputError(f"--{name}: the records have their own")
    shown, skeleton = record_people(args) if args.records else of_annotations(args)
    if not shown:
        raise InputError(f"{args.annotations or args.records}: no person has a labeled keypoint")
    from tfcpn.commands.browse_people import describe

    data = json.dumps(
        describe(shown, skeleton) | {"title": Path(args.annotations or args.records).name}
    )
    # A script and not JSON: a page that is opened from a disk may not fetch.
    write_atomically(Path(args.output) / "people.js", f"const DATA = {data};\n")
    write_atomically(Path(args.output) / "index.html", PAGE.read_text())
    print(f"written: {Path(args.output) / 'index.html'}, {len(shown)} people; open it in a browser")


if __name__ == "__main__":
    COMMAND.run(main)
