"""Draw the people of a results file, or of the annotations, on their images: one sheet to look at."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
from absl import flags

from tfcpn import command_line
from tfcpn.coco import read_annotations
from tfcpn.errors import InputError
from tfcpn.files import write_atomically
from tfcpn.visualize import draw_annotated, draw_results, read_image, sheet

FLAGS = flags.FLAGS
flags.DEFINE_string("annotations", None, "COCO person_keypoints JSON file.")
flags.DEFINE_string("images", None, "Folder of its images.")
flags.DEFINE_string("results", "", "Results file of tfcpn.eval; empty: draw the annotations.")
flags.DEFINE_string("output", "poses.png", "Picture to write.")
flags.DEFINE_integer("count", 12, "Images on the sheet: the first that have people.", lower_bound=1)
flags.DEFINE_integer("columns", 4, "Images in a row.", lower_bound=1)
flags.DEFINE_float("least_score", 0.0, "Leave out results with a lower score.")
GROUPS = {"What": ["annotations", "images", "results"], "Picture": ["output", "count", "columns", "least_score"]}


def main() -> None:
    if Path(FLAGS.output).suffix not in (".png", ".jpg"):
        raise InputError(f"--output={FLAGS.output}: want a name that ends in .png or .jpg")
    for name in ("annotations", "images"):
        if not FLAGS[name].value:
            raise InputError(f"--{name} is missing; see python tools/draw_poses.py --help")
    images, people = read_annotations(FLAGS.annotations)
    chosen = list(dict.fromkeys(p.image_id for p in people if p.trainable))[: FLAGS.count]
    try:
        results = json.loads(Path(FLAGS.results).read_text()) if FLAGS.results else None
        if results and not all({"image_id", "score", "keypoints"} <= set(r) for r in results):
            raise ValueError("an entry lacks image_id, score or keypoints")
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{FLAGS.results}: not a results file ({error})") from error
    cells = []
    for image_id in chosen:
        pixels = read_image(FLAGS.images, images[image_id])
        if results is None:
            draw_annotated(pixels, [p for p in people if p.image_id == image_id])
        else:
            draw_results(
                pixels, [r for r in results if r["image_id"] == image_id and r["score"] >= FLAGS.least_score]
            )
        cells.append(pixels)
    _, encoded = cv2.imencode(Path(FLAGS.output).suffix, sheet(cells, FLAGS.columns, (300, 340)))
    write_atomically(Path(FLAGS.output), encoded.tobytes())
    print(f"written: {FLAGS.output}, {len(cells)} images")


if __name__ == "__main__":
    command_line.run(main, "python tools/draw_poses.py", __doc__, GROUPS)
