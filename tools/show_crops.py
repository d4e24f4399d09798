"""Draw what each alignment shows the network of the same people: one row a mode, annotated joints on top."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from absl import flags

from tfcpn import align, command_line
from tfcpn.align import Alignment
from tfcpn.coco import CocoImage, Person, read_annotations
from tfcpn.errors import InputError
from tfcpn.files import write_atomically
from tfcpn.images import read_header
from tfcpn.input_pipeline import decode_and_cut
from tfcpn.visualize import draw_pose, sheet

FLAGS = flags.FLAGS
flags.DEFINE_string("annotations", None, "COCO person_keypoints JSON file.")
flags.DEFINE_string("images", None, "Folder of its images.")
flags.DEFINE_string("output", "crops.png", "Picture to write.")
flags.DEFINE_integer("count", 8, "People: the first that BlazePose can align.", lower_bound=1)
flags.DEFINE_enum("radius", "body", align.RADII, "How the circle around the body is found.")
GROUPS = {"What": ["annotations", "images", "count", "radius"], "Picture": ["output"]}

# The rows, with the size of their crops.
ROWS = [("person", False, (192, 144)), ("square", False, (192, 192)), ("blazepose", False, (192, 192))]
ROWS.append(("blazepose", True, (192, 192)))


def crop_of(person: Person, image: CocoImage, mode: str, rotate: bool, size: tuple[int, int]) -> np.ndarray:
    """The test crop of a person with its joints and, for BlazePose, its two alignment points."""
    path = Path(FLAGS.images) / image.file_name
    encoded = path.read_bytes()
    height, width, orientation = read_header(encoded, str(path))
    points = align.alignment_points(person.keypoints, person.reach, FLAGS.radius).numpy()
    region = align.person_region(person.box, points, True, (height, width), Alignment(mode, rotate), size)
    source = {"encoded": encoded, "orientation": orientation, "image_size": (height, width)}
    pixels = decode_and_cut(source, region[None], mode, size)[0].numpy()
    joints = person.keypoints
    if mode == "blazepose":
        joints = np.concatenate([joints, np.concatenate([points, [[2], [2]]], axis=1)])
    joints = align.joints_to_crop(joints, region, size).numpy()
    draw_pose(pixels, joints[:, :2], joints[:, 2] > 0, 1)
    return pixels


def main() -> None:
    for name in ("annotations", "images"):
        if not FLAGS[name].value:
            raise InputError(f"--{name} is missing; see python tools/show_crops.py --help")
    if Path(FLAGS.output).suffix not in (".png", ".jpg"):
        raise InputError(f"--output={FLAGS.output}: want a name that ends in .png or .jpg")
    images, people = read_annotations(FLAGS.annotations)
    chosen = [p for p in people if p.trainable and align.alignable(p.keypoints, FLAGS.radius)][: FLAGS.count]
    if not chosen:
        raise InputError(f"{FLAGS.annotations}: nobody has the joints of the alignment points")
    cells = [crop_of(p, images[p.image_id], *row) for row in ROWS for p in chosen]
    _, encoded = cv2.imencode(Path(FLAGS.output).suffix, sheet(cells, len(chosen), (200, 200)))
    write_atomically(Path(FLAGS.output), encoded.tobytes())
    print(f"written: {FLAGS.output}; rows: the box, its square, BlazePose without and with rotation")


if __name__ == "__main__":
    command_line.run(main, "python tools/show_crops.py", __doc__, GROUPS)
