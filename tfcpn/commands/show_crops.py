"""Draw the crops of each alignment for the same people."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tfcpn.cli import ANNOTATION_FLAGS, Command, Options, enum, integer, path
from tfcpn.data.coco import CocoImage, PersonAnnotation, read_annotations
from tfcpn.data.images import find_image
from tfcpn.skeleton import Skeleton, skeleton_from_flag
from tfcpn.transforms.alignment import RADII, Alignment
from tfcpn.utils.console import import_tensorflow
from tfcpn.utils.errors import InputError
from tfcpn.visualization import check_name, draw_pose, sheet, write_image

COMMAND = Command(
    "python tools/show_crops.py",
    __doc__,
    {
        "What": [
            path("annotations", None, "COCO person_keypoints JSON file.", required=True),
            *ANNOTATION_FLAGS,
            path("images", None, "Folder of its images.", required=True),
            integer("count", 8, "People: the first that BlazePose can align.", minimum=1),
            enum("radius", "body", RADII, "How the circle around the body is found."),
        ],
        "Image": [path("output", "crops.png", "Image to write, .png or .jpg.")],
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
    person: PersonAnnotation,
    image: CocoImage,
    image_dir: str,
    alignment: Alignment,
    size: tuple[int, int],
    skeleton: Skeleton,
) -> np.ndarray:
    """Return the evaluation crop of a person with keypoints and alignment points drawn."""
    from tfcpn.transforms.cropping import CropSpec, decode_and_crop
    from tfcpn.transforms.normalize import TF_CPN_PREPROCESSING
    from tfcpn.transforms.regions import alignment_points, keypoints_to_crop, person_region

    image_file = find_image(image_dir, image)
    shape = image_file.height, image_file.width
    points = alignment_points(
        person.keypoints, person.max_radius, skeleton, alignment.radius
    ).numpy()
    region = person_region(person.box, points, True, shape, alignment=alignment, input_size=size)
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
    args = options.args
    check_name(args.output)
    import_tensorflow()
    from tfcpn.transforms.regions import has_alignment_keypoints

    images, people, skeleton, *_ = read_annotations(
        args.annotations,
        expected=skeleton_from_flag(args.skeleton),
        convert=True,
        image_dir=args.images,
        categories=args.category,
        strict=args.strict,
    )
    chosen = [
        p
        for p in people
        if p.trainable and has_alignment_keypoints(p.keypoints, skeleton, args.radius)
    ][: args.count]
    if not chosen:
        raise InputError(f"{args.annotations}: no person has the keypoints of the alignment points")
    cells = []
    for mode, rotate, size in ROWS:
        alignment = Alignment(mode, rotate, radius=args.radius)
        cells += [
            crop_of(p, images[p.image_id], args.images, alignment, size, skeleton) for p in chosen
        ]
    write_image(args.output, sheet(cells, len(chosen), (200, 200)))
    print(f"written: {args.output}; rows: the box, its square, BlazePose without and with rotation")


if __name__ == "__main__":
    COMMAND.run(main)
