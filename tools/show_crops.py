"""Draw what each alignment shows the network of the same people: one row a mode, annotated keypoints on top."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.base.progress import import_tensorflow
from tfcpn.data.coco import CocoImage, Person, read_annotations
from tfcpn.data.pictures import find_image
from tfcpn.data.skeleton_file import skeleton_from_flag
from tfcpn.geometry.alignment import RADII, Alignment
from tfcpn.report.pictures import check_name, draw_pose, sheet, write_image
from tfcpn.settings.command import Command, Options
from tfcpn.settings.flag import SKELETON, choice, path, whole
from tfcpn.skeleton import Skeleton

COMMAND = Command(
    "python tools/show_crops.py",
    __doc__,
    {
        "What": [
            path("annotations", None, "COCO person_keypoints JSON file.", required=True),
            SKELETON,
            path("images", None, "Folder of its images.", required=True),
            whole("count", 8, "People: the first that BlazePose can align.", least=1),
            choice("radius", "body", RADII, "How the circle around the body is found."),
        ],
        "Picture": [path("output", "crops.png", "Image to write, .png or .jpg.")],
    },
)

# The rows, with the size of their crops.
ROWS = [
    ("person", False, (192, 144)),
    ("square", False, (192, 192)),
    ("blazepose", False, (192, 192)),
]
ROWS.append(("blazepose", True, (192, 192)))


def crop_of(
    person: Person,
    image: CocoImage,
    image_dir: str,
    alignment: Alignment,
    size: tuple[int, int],
    skeleton: Skeleton,
) -> np.ndarray:
    """The test crop of a person with its keypoints and, for BlazePose, its two alignment points."""
    from tfcpn.geometry.crops import keypoints_to_crop
    from tfcpn.geometry.points import alignment_points
    from tfcpn.geometry.regions import person_region
    from tfcpn.picture.cut import CropSpec, decode_and_crop
    from tfcpn.picture.look import TF_CPN_PREPROCESSING

    image_file = find_image(image_dir, image)
    shape = image_file.height, image_file.width
    points = alignment_points(
        person.keypoints, person.max_radius, skeleton, alignment.radius
    ).numpy()
    region = person_region(person.box, points, True, shape, alignment, size)
    source = {
        "encoded": Path(image_file.path).read_bytes(),
        "orientation": image_file.orientation,
        "image_size": shape,
    }
    crop_spec = CropSpec(size, alignment.uses_points, TF_CPN_PREPROCESSING.pad_color)
    pixels = decode_and_crop(source, region[None], crop_spec)[0].numpy()
    keypoints = person.keypoints
    if alignment.uses_points:
        keypoints = np.concatenate([keypoints, np.concatenate([points, [[2], [2]]], axis=1)])
        skeleton = skeleton.with_align_points()
    keypoints = keypoints_to_crop(keypoints, region, size).numpy()
    draw_pose(pixels, keypoints[:, :2], keypoints[:, 2] > 0, skeleton, 1)
    return pixels


def main(options: Options) -> None:
    own = options.own
    check_name(own.output)
    import_tensorflow()
    from tfcpn.geometry.points import has_alignment_keypoints

    images, people, skeleton, _ = read_annotations(
        own.annotations, expected=skeleton_from_flag(own.skeleton)
    )
    chosen = [
        p
        for p in people
        if p.trainable and has_alignment_keypoints(p.keypoints, skeleton, own.radius)
    ][: own.count]
    if not chosen:
        raise InputError(f"{own.annotations}: nobody has the keypoints of the alignment points")
    cells = []
    for mode, rotate, size in ROWS:
        alignment = Alignment(mode, rotate, radius=own.radius)
        cells += [
            crop_of(p, images[p.image_id], own.images, alignment, size, skeleton) for p in chosen
        ]
    write_image(own.output, sheet(cells, len(chosen), (200, 200)))
    print(f"written: {own.output}; rows: the box, its square, BlazePose without and with rotation")


if __name__ == "__main__":
    COMMAND.run(main)
