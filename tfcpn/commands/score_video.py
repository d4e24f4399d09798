"""Score the tracking of a video whose keypoints are known, such as a drawn one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tfcpn.cli import Command, Options, path
from tfcpn.skeleton import from_category
from tfcpn.utils.errors import InputError
from tfcpn.utils.json_io import read_json

COMMAND = Command(
    "python tools/score_video.py",
    __doc__,
    {
        "What": [
            path(
                "annotations",
                None,
                "Annotations: each frame is an image, people have a track_id.",
                required=True,
            ),
            path(
                "results",
                None,
                "results.json of tfcpn.predict for that video only.",
                required=True,
            ),
        ]
    },
)


def read_frames(file: str, id_field: str):
    """Return the skeleton of a COCO file, and its people by frame.

    Args:
        file: The file.
        id_field: Field with the id of a person.

    Raises:
        InputError: For a file that is none of a video.
    """
    data = read_json(file)
    try:
        skeleton = from_category(data["categories"][0])
        frames = {image["id"]: image["frame"] for image in data["images"]}
        people: dict[int, list] = {frame: [] for frame in frames.values()}
        for record in data["annotations"]:
            keypoints = np.reshape(
                np.array(record["keypoints"], float), (skeleton.num_keypoints, 3)
            )
            people[frames[record["image_id"]]].append((record[id_field], keypoints, record["bbox"]))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(
            f"{file}: is no such file of a video with {id_field} of its people ({error!r})"
        ) from error
    return skeleton, people


def seen(people: list, keypoints: list[int]):
    """Return people as `evaluate_tracking` takes them.

    Args:
        people: Ids and keypoints.
        keypoints: Index of each keypoint in theirs; -1 for missing ones.
    """
    from tfcpn.evaluation.tracking_metrics import FramePeople

    track_ids = np.array([number for number, *_ in people], int)
    values = np.zeros((len(people), len(keypoints), 3))
    for place, (_, person_keypoints, _) in enumerate(people):
        for to, keypoint in enumerate(keypoints):
            values[place, to] = person_keypoints[keypoint] if keypoint >= 0 else 0
    boxes = np.array([box for *_, box in people], float).reshape(-1, 4)
    return FramePeople(track_ids, values, boxes)


def main(options: Options) -> None:
    from tfcpn.evaluation.tracking_metrics import evaluate_tracking

    args = options.args
    skeleton, true = read_frames(args.annotations, "track_id")
    theirs, found = read_frames(args.results, "person")
    if not set(skeleton.keypoints) & set(theirs.keypoints):
        raise InputError(f"{args.results}: has no keypoint of {args.annotations}")
    same = [
        theirs.keypoints.index(keypoint) if keypoint in theirs.keypoints else -1
        for keypoint in skeleton.keypoints
    ]
    missing_keypoints = [keypoint for keypoint, place in enumerate(same) if place < 0]
    frames = sorted(true)
    truth = [seen(true[frame], list(range(skeleton.num_keypoints))) for frame in frames]
    for people in truth:
        people.keypoints[:, missing_keypoints, 2] = 0
    score = evaluate_tracking(
        [seen(found.get(frame, []), same) for frame in frames], truth, skeleton
    )
    print(f"{Path(args.results)}: {score.frames} frames, {score.people} people in them")
    print(f"found {score.found:.1%}, PCK@.2 {score.pck[0]:.3f}, PCK@.1 {score.pck[1]:.3f}")
    print(
        f"identities switched {score.switches} times, {score.false_positives:.3f} false people per "
        f"frame, {score.false_tracks} ids that follow no person"
    )
    print(f"MOTA {score.mota:.3f}, IDF1 {score.idf1:.3f}")
    first_match, gaps = (
        f"{np.median(v):g} (at most {max(v)})" if v else "none"
        for v in (score.frames_to_first_match, score.gaps)
    )
    print(
        f"frames until first found: {first_match}; lost {len(score.gaps)} times, "
        f"frames until found again: {gaps}"
    )
    print(f"jitter: {score.jitter:.4f} of the torso per frame")


if __name__ == "__main__":
    COMMAND.run(main)
