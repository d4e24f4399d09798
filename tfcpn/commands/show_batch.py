"""Draw a training batch: the views of some people, with keypoints and label maps."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from tfcpn.cli import Command, Options, integer, path
from tfcpn.config_rules import REGIONS
from tfcpn.data.record_sets import read_records, resolve_skeleton
from tfcpn.skeleton import Skeleton
from tfcpn.utils.console import import_tensorflow
from tfcpn.visualization import LEFT, MIDDLE, RIGHT, check_name, draw_pose, sheet, write_image

COMMAND = Command(
    "python tools/show_batch.py",
    __doc__,
    {
        "Image": [
            path("output", "batch.png", "Image to write, .png or .jpg."),
            integer("people", 4, "People on the sheet, one a row.", minimum=1),
        ]
    },
    uses_config=True,
)


def _cell(
    pixels: np.ndarray, keypoints: np.ndarray, visibility: np.ndarray, labels, skeleton: Skeleton
) -> list:
    """Return a view with keypoints, and under the widest and narrowest label maps."""
    pose = pixels.copy()
    draw_pose(pose, keypoints, visibility > 0, skeleton, 1)
    cells = [pose]
    for label in (labels[0], labels[-1]):
        heat = label.max(axis=-1) / max(label.max(), 1e-6) * 255
        heat = cv2.resize(
            heat.astype(np.uint8), pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR
        )
        cells.append(
            cv2.addWeighted(pixels, 0.45, cv2.applyColorMap(heat, cv2.COLORMAP_JET), 0.55, 0)
        )
    return cells


def _people_cell(pixels, faces, points, radii, ignored):
    """Return a view with the faces and circles of its people, and boxes of those to ignore."""
    cell = pixels.copy()
    for (x, y, side), point, radius, box in zip(faces, points, radii, ignored):
        if radius > 0:
            low, high = (
                (round(float(x + s * side / 2)), round(float(y + s * side / 2))) for s in (-1, 1)
            )
            cv2.rectangle(cell, low, high, LEFT, 1, cv2.LINE_AA)
            hip, top = ((round(float(u)), round(float(v))) for u, v in point.reshape(2, 2))
            cv2.circle(cell, hip, round(float(radius)), MIDDLE, 1, cv2.LINE_AA)
            cv2.line(cell, hip, top, MIDDLE, 1, cv2.LINE_AA)
        if box.any():
            low, high = (tuple(round(float(v)) for v in corner) for corner in (box[:2], box[2:]))
            cv2.rectangle(cell, low, high, RIGHT, 1, cv2.LINE_AA)
    return cell


def main(options: Options) -> None:
    check_name(options.args.output)
    import_tensorflow()
    from tfcpn.builders import build_components, training_filter
    from tfcpn.data.pipeline import build_crop_fn, training_batches
    from tfcpn.data.sampling import open_training_set
    from tfcpn.models.blazepose.losses import label_heatmaps
    from tfcpn.training.augmentation import augmentation_for
    from tfcpn.transforms.normalize import denormalize
    from tfcpn.utils import device

    # Other regions are found when a run begins.
    cfg = dataclasses.replace(options.config, regions=REGIONS[:1])
    device.select_device(cfg.device)
    records = read_records(cfg.train_records)
    annotated = resolve_skeleton(records, cfg.skeleton)
    components, rules = build_components(cfg, annotated), training_filter(cfg, annotated)
    source = open_training_set(records, rules, cfg.seed, cfg.shuffle_buffer)
    work = build_crop_fn(
        alignment=components.alignment,
        skeleton=components.skeleton,
        crop_spec=components.training_spec,
        margin=components.training_margin,
    )
    crops, keypoints = next(iter(training_batches(source, 0, work, options.args.people)))
    images, keypoints, visibility = augmentation_for(cfg, components)(
        crops, keypoints, (cfg.seed, 0)
    )
    targets = components.codec.encode(keypoints, visibility)
    if components.network.whole_images:
        pixels = denormalize(images.numpy(), components.network.preprocessing)
        cells = [_people_cell(*row) for row in zip(pixels, *(v.numpy() for v in targets))]
        write_image(options.args.output, sheet(cells, 4, cfg.input_size))
        print(f"written: {options.args.output}; views with faces, bodies, and people to ignore")
        return
    maps = getattr(targets, "maps", None) or [label_heatmaps(targets) * 255]
    labels = [t.numpy() for t in maps]
    pixels = denormalize(images.numpy(), components.network.preprocessing)
    cells = []
    for i, view in enumerate(pixels):
        cells += _cell(
            view,
            keypoints[i].numpy(),
            visibility[i].numpy(),
            [m[i] for m in labels],
            components.skeleton,
        )
    write_image(options.args.output, sheet(cells, 12, cfg.input_size))
    print(
        f"written: {options.args.output}; a row is a person, each view with keypoints, widest and "
        "narrowest labels"
    )


if __name__ == "__main__":
    COMMAND.run(main)
