"""Tabulate found people and PCK of .task bundles in MediaPipe's own runtime, by rotation.

Images are predicted one by one; the frames of a video with one person in VIDEO mode. In images
without annotated people, up to five people are counted as false.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from mediapipe_check import run_script

from tfcpn.cli import Command, Options, integer, path, string_list
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

COMMAND = Command(
    "python tools/mediapipe_score.py",
    __doc__,
    {
        "What": [
            string_list("bundles", (), ".task files, comma-separated.", required=True),
            path("annotations", None, "COCO person_keypoints JSON file.", required=True),
            path("images", "", "Folder of its images."),
            path("video", "", "Instead of --images: a video of tfcpn draw video --people=1."),
            integer(
                "count",
                0,
                "Number of people, the first ones, and of images without people; 0: all.",
                minimum=0,
            ),
        ],
        "How": [
            path("python", ".venv-mediapipe/bin/python", "A Python with mediapipe 1.2 or later."),
            path("output", "mediapipe_score.md", "Table to write; numbers go to NAME.json."),
        ],
    },
)
_BATCH = 200  # images that one process of MediaPipe takes
_MAX_FALSE = 5  # people in an image without people


def people_of(python: str, bundle: str, files: list[str], mode: str, max_people: int) -> list[list]:
    """Return the landmarks of up to `max_people` people of each image, x, y over its size."""
    found, batch = [], _BATCH if mode == "image" else max(1, len(files))
    for start in range(0, len(files), batch):
        part = files[start : start + batch]
        answer = run_script(python, "landmarker.py", mode, str(max_people), bundle, *part)
        found += [[person["landmarks"] for person in people] for people in answer["images"]]
    return found


def write_frames(video: str, folder: str) -> list[str]:
    """Write the frames of a video as images, and return their names."""
    import cv2

    from tfcpn.inference.video import VideoReader

    files = []
    with VideoReader(video) as frames:
        for image, _ in frames:
            files.append(str(Path(folder) / f"{len(files):05d}.png"))
            cv2.imwrite(files[-1], image)
    return files


def main(options: Options) -> None:
    args = options.args
    if bool(args.images) == bool(args.video):
        raise InputError("expected --images or --video")
    with tempfile.TemporaryDirectory() as folder:
        frames = write_frames(args.video, folder) if args.video else []
        score(args, frames)


def score(args, frames: list[str]) -> None:
    """Score the images of a folder, or frames.

    Args:
        args: The arguments.
        frames: Files of the frames of a video; empty for images.
    """
    import numpy as np

    from tfcpn.data.coco import read_annotations
    from tfcpn.evaluation.detection_metrics import people_to_find
    from tfcpn.evaluation.metrics import (
        PCK_NAMES,
        ROTATION_GROUPS,
        correct_keypoints,
        pck_by_rotation,
        reference_lengths,
        torso_rotation,
    )
    from tfcpn.skeleton import MEDIAPIPE, match_keypoints

    annotated = read_annotations(args.annotations, image_dir=args.images or None)
    skeleton = annotated.skeleton
    people = people_to_find(annotated.people, skeleton)[: args.count or None]
    if not people:
        raise InputError(f"{args.annotations}: no person has the keypoints of a torso")
    images = [annotated.images[p.image_id] for p in people]
    with_people = {person.image_id for person in annotated.people}
    without_people = [image for i, image in annotated.images.items() if i not in with_people]
    without_people = without_people[: args.count or None]
    files, empty = (
        [str(Path(args.images) / image.file_name) for image in some]
        for some in (images, without_people)
    )
    mode = "image"
    if frames:
        mode, files, empty = "video", frames, []
        number = {image_id: place for place, image_id in enumerate(annotated.images)}
        rows_of_people = [number[person.image_id] for person in people]
    order = match_keypoints(skeleton.keypoints, MEDIAPIPE.keypoints)
    keypoints = np.stack([p.keypoints for p in people])
    length = reference_lengths(keypoints, np.stack([p.box for p in people]), skeleton, "torso")
    rotation = torso_rotation(keypoints, skeleton)
    keypoints[:, [i for i, n in enumerate(order) if n < 0], 2] = 0
    rows, false = {}, {}
    for bundle in args.bundles:
        found = np.full((len(people), len(order), 2), np.nan)
        answers = people_of(args.python, bundle, files, mode, 1)
        answers = [people[0] if people else None for people in answers]
        false[bundle] = sum(map(len, people_of(args.python, bundle, empty, mode, _MAX_FALSE)))
        if frames:
            answers = [answers[row] for row in rows_of_people]
        for row, (landmarks, image) in enumerate(zip(answers, images)):
            for index, number in enumerate(order):
                if landmarks is not None and number >= 0:
                    found[row, index] = np.multiply(
                        landmarks[number][:2], (image.width, image.height)
                    )
        # Someone who is not found is wrong: far away, and not unknown.
        hit = correct_keypoints(np.nan_to_num(found, nan=1e6), keypoints, length)
        is_found = np.array([a is not None for a in answers])
        rows[bundle] = {
            group: {
                "people": int(inside.sum()),
                "found": float(is_found[inside].mean()),
                **{
                    name: pck_by_rotation(hit[..., n], rotation)[group]._asdict()
                    for n, name in enumerate(PCK_NAMES)
                },
            }
            for group, (low, high) in ROTATION_GROUPS.items()
            if (inside := (np.abs(rotation) >= low) & (np.abs(rotation) < high)).any()
        }
    lines = [
        "| bundle | torso | people | found | " + " | ".join(PCK_NAMES) + " |",
        "|---|---|---|---|" + "---|" * len(PCK_NAMES),
    ]
    for bundle, groups in rows.items():
        for group, values in groups.items():
            cells = [
                f"{values[n]['mean']:.3f} ({values[n]['low']:.3f}-{values[n]['high']:.3f})"
                for n in PCK_NAMES
            ]
            name = Path(bundle).name
            lines.append(
                f"| {name} | {group} | {values['people']} | {values['found']:.3f} | "
                + " | ".join(cells)
                + " |"
            )
    if empty:
        lines += ["", f"False people in images without people ({len(empty)}): "]
        lines[-1] += ", ".join(f"{Path(name).name} {count}" for name, count in false.items())
    numbers = {
        bundle: {
            "groups": groups,
            "false_people": false[bundle] if empty else None,
            "images_without_people": len(empty),
        }
        for bundle, groups in rows.items()
    }
    table = "\n".join(lines) + "\n"
    write_atomically(Path(args.output), table)
    write_atomically(Path(args.output).with_suffix(".json"), json.dumps(numbers, indent=1) + "\n")
    print(table)


if __name__ == "__main__":
    COMMAND.run(main)
