"""Draw what the network is trained on: the four views of some people, with their joints and label maps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from absl import flags

from tfcpn import augment, command_line, config, records
from tfcpn.evaluation import make_codec
from tfcpn.files import write_atomically
from tfcpn.input_pipeline import crops_and_joints, training_batches
from tfcpn.people_order import open_source
from tfcpn.visualize import draw_pose, sheet

FLAGS = flags.FLAGS
flags.DEFINE_string("output", "batch.png", "Picture to write.")
flags.DEFINE_integer("people", 4, "People on the sheet, one a row.", lower_bound=1)
GROUPS = {"Picture": ["output", "people"], **config.GROUPS}


def _cell(
    pixels: np.ndarray, joints: np.ndarray, visibility: np.ndarray, labels: list[np.ndarray]
) -> list[np.ndarray]:
    """A view with its joints, and under the widest and the narrowest label maps."""
    pose = pixels.copy()
    draw_pose(pose, joints, visibility > 0, 1)
    cells = [pose]
    for label in (labels[0], labels[-1]):
        heat = label.max(axis=-1) / max(label.max(), 1e-6) * 255
        heat = cv2.resize(heat.astype(np.uint8), pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        cells.append(cv2.addWeighted(pixels, 0.45, cv2.applyColorMap(heat, cv2.COLORMAP_JET), 0.55, 0))
    return cells


def main() -> None:
    cfg = config.from_flags()
    index = records.read_index(cfg.train_records)
    source = open_source(cfg.train_records, index, cfg.training_filter, cfg.seed, cfg.shuffle_buffer)
    work = crops_and_joints(cfg.alignment, cfg.input_size, cfg.predict_align_points)
    crops, joints = next(iter(training_batches(source, 0, work, FLAGS.people)))
    ranges = augment.Ranges(cfg.rescale_min, cfg.rescale_max, cfg.rotation)
    draws = augment.draw((cfg.seed, 0), len(crops), ranges)
    images, joints, visibility = (t.numpy() for t in augment.four_views(crops, joints, draws))
    labels = [t.numpy() for t in make_codec(cfg).encode(joints)]
    pixels = np.clip(images * 255 + np.array(augment.MEAN_BGR), 0, 255).astype(np.uint8)
    cells = []
    for i in range(len(pixels)):
        cells += _cell(pixels[i], joints[i], visibility[i], [maps[i] for maps in labels])
    _, encoded = cv2.imencode(Path(FLAGS.output).suffix or ".png", sheet(cells, 12, cfg.input_size))
    write_atomically(Path(FLAGS.output), encoded.tobytes())
    print(f"written: {FLAGS.output}; a row is a person, each view with joints, widest and narrowest labels")


if __name__ == "__main__":
    command_line.run(main, "python tools/show_batch.py", __doc__, GROUPS)
