"""Compare two BlazePose files on the same people, by body part and by output."""

from __future__ import annotations

import json
from pathlib import Path

from tfcpn.cli import Command, Options, integer, path
from tfcpn.utils.console import import_tensorflow
from tfcpn.utils.files import write_atomically

COMMAND = Command(
    "python tools/compare_blazepose.py",
    __doc__,
    {
        "What": [
            path("before", "data/mediapipe/pose_landmark_full.tflite", "The original network."),
            path(
                "after",
                None,
                "The trained network, as exported by tools/export.py.",
                required=True,
            ),
            path(
                "annotations",
                None,
                "COCO annotations of people whose alignment points are known.",
                required=True,
            ),
            path("images", None, "Folder of their images.", required=True),
            integer("people", 200, "Number of people.", minimum=1),
        ],
        "Where": [path("output", "", "JSON file to write the numbers to.")],
    },
)
# Landmarks by what they are of: the first and the last of each range of MediaPipe's numbers.
GROUPS = {
    "face": (0, 10),
    "shoulders, elbows, wrists": (11, 16),
    "hands": (17, 22),
    "hips, knees, ankles": (23, 28),
    "feet": (29, 32),
    "alignment points": (33, 34),
}


def differences(before, after, size: int) -> dict[str, float]:
    """Return median differences of two outputs over people and landmarks.

    Args:
        before: `BlazePoseOutputs` of the original network.
        after: Those of the trained network for the same crops.
        size: Side of the crops in pixels.

    Returns:
        By output: distances, and z, as fractions of the crop's side; world landmarks in meters;
        probabilities; for the mask its intersection over union.
    """
    import numpy as np

    def sigmoid(values):
        return 1 / (1 + np.exp(-np.clip(values, -60, 60)))

    moved = {}
    way = np.linalg.norm(before.landmarks[..., :2] - after.landmarks[..., :2], axis=-1) / size
    for name, (first, last) in GROUPS.items():
        moved[name] = float(np.median(way[:, first : last + 1]))
    moved["z"] = float(np.median(np.abs(before.landmarks - after.landmarks)[:, :33, 2])) / size
    for name, column in (("visibility", 3), ("presence", 4)):
        both = sigmoid(before.landmarks[:, :33, column]), sigmoid(after.landmarks[:, :33, column])
        moved[name] = float(np.mean(np.abs(both[0] - both[1])))
    moved["person"] = float(np.mean(np.abs(sigmoid(before.person) - sigmoid(after.person))))
    moved["world, meters"] = float(
        np.median(np.linalg.norm(before.world - after.world, axis=-1)[:, :33])
    )
    inside = before.mask > 0, after.mask > 0
    shared = (
        (inside[0] & inside[1]).sum(axis=(1, 2, 3)),
        (inside[0] | inside[1]).sum(axis=(1, 2, 3)),
    )
    moved["mask, IoU"] = float(np.median(shared[0] / np.maximum(shared[1], 1)))
    return moved


def main(options: Options) -> None:
    args = options.args
    import_tensorflow()
    import numpy as np

    from tfcpn.data.coco import read_clean_file
    from tfcpn.data.pipeline import region_batches
    from tfcpn.evaluation.estimate import regions_of_boxes
    from tfcpn.evaluation.eval_dataset import read_validation_set
    from tfcpn.models.blazepose.blazepose import MEDIAPIPE_PREPROCESSING
    from tfcpn.models.blazepose.model import BlazePoseOutputs, build_blazepose
    from tfcpn.models.blazepose.weights import load_landmark_weights, read_landmark_model
    from tfcpn.models.specs import BLAZEPOSE_INPUT_SIZE
    from tfcpn.transforms.alignment import Alignment
    from tfcpn.transforms.cropping import CropSpec
    from tfcpn.transforms.normalize import normalize

    alignment = Alignment("blazepose", missing="drop")
    skeleton = read_clean_file(args.annotations).skeleton
    people = read_validation_set(
        args.annotations, args.images, skeleton=skeleton, alignment=alignment
    )
    boxes, image_files = people.boxes[: args.people], people.image_files[: args.people]
    regions = regions_of_boxes(boxes, image_files, alignment, BLAZEPOSE_INPUT_SIZE)
    models = []
    for file in (args.before, args.after):
        models.append(build_blazepose(read_landmark_model(file)[1]))
        load_landmark_weights(models[-1], file)
    outputs_of: list[list] = [[], []]
    for crops in region_batches(
        image_files, regions, CropSpec(BLAZEPOSE_INPUT_SIZE, True, None, corner_to_corner=True), 16
    ):
        for outputs, model in zip(outputs_of, models):
            outputs.append(model(normalize(crops, MEDIAPIPE_PREPROCESSING), training=False))
    before, after = (
        BlazePoseOutputs(*(np.concatenate([t.numpy() for t in o]) for o in zip(*t)))
        for t in outputs_of
    )
    found = differences(before, after, BLAZEPOSE_INPUT_SIZE[0])
    print(f"{len(boxes)} people of {args.annotations}: {args.after} compared with {args.before}")
    for name, value in found.items():
        print(f"  {name:28}{value:.4f}")
    if args.output:
        write_atomically(
            Path(args.output), json.dumps({"people": len(boxes), **found}, indent=1) + "\n"
        )


if __name__ == "__main__":
    COMMAND.run(main)
