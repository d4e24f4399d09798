"""Draw what each alignment shows the network of the same people: one row a mode, annotated joints on top."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.base.progress import start_tensorflow
from tfcpn.data.coco import CocoImage, Person, read_annotations
from tfcpn.data.pictures import find_picture
from tfcpn.data.skeleton_file import choose_skeleton
from tfcpn.geometry.alignment import RADII, Alignment
from tfcpn.report.pictures import check_name, draw_pose, sheet, write_picture
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
        "Picture": [path("output", "crops.png", "Picture to write, .png or .jpg.")],
    },
)

# The rows, with the size of their crops.
ROWS = [("person", False, (192, 144)), ("square", False, (192, 192)), ("blazepose", False, (192, 192))]
ROWS.append(("blazepose", True, (192, 192)))


def crop_of(
    person: Person, image: CocoImage, image_dir: str, alignment: Alignment, size: tuple[int, int], skeleton: Skeleton
) -> np.ndarray:
    """The test crop of a person with its joints and, for BlazePose, its two alignment points."""
    from tfcpn.geometry.crops import joints_to_crop
    from tfcpn.geometry.points import alignment_points
    from tfcpn.geometry.regions import person_region
    from tfcpn.picture.cut import CropFormat, decode_and_cut
    from tfcpn.picture.look import TF_CPN

    picture = find_picture(image_dir, image)
    shape = picture.height, picture.width
    points = alignment_points(person.keypoints, person.reach, skeleton, alignment.radius).numpy()
    region = person_region(person.box, points, True, shape, alignment, size)
    source = {"encoded": Path(picture.path).read_bytes(), "orientation": picture.orientation, "image_size": shape}
    crop_format = CropFormat(size, alignment.by_points, TF_CPN.outside)
    pixels = decode_and_cut(source, region[None], crop_format)[0].numpy()
    joints = person.keypoints
    if alignment.by_points:
        joints = np.concatenate([joints, np.concatenate([points, [[2], [2]]], axis=1)])
        skeleton = skeleton.with_align_points()
    joints = joints_to_crop(joints, region, size).numpy()
    draw_pose(pixels, joints[:, :2], joints[:, 2] > 0, skeleton, 1)
    return pixels


def main(options: Options) -> None:
    own = options.own
    check_name(own.output)
    start_tensorflow()
    from tfcpn.geometry.points import alignable

    images, people, skeleton, _ = read_annotations(own.annotations, expected=choose_skeleton(own.skeleton))
    chosen = [p for p in people if p.trainable and alignable(p.keypoints, skeleton, own.radius)][: own.count]
    if not chosen:
        raise InputError(f"{own.annotations}: nobody has the joints of the alignment points")
    cells = []
    for mode, rotate, size in ROWS:
        alignment = Alignment(mode, rotate, radius=own.radius)
        cells += [crop_of(p, images[p.image_id], own.images, alignment, size, skeleton) for p in chosen]
    write_picture(own.output, sheet(cells, len(chosen), (200, 200)))
    print(f"written: {own.output}; rows: the box, its square, BlazePose without and with rotation")


if __name__ == "__main__":
    COMMAND.run(main)
