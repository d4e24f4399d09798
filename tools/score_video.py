"""How well tfcpn.predict followed the people of a video whose keypoints are known, such as tools/make_video.py draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.data.json_input import read_json
from tfcpn.settings.command import Command, Options
from tfcpn.settings.flag import path
from tfcpn.skeleton import from_category

COMMAND = Command(
    "python tools/score_video.py",
    __doc__,
    {
        "What": [
            path(
                "annotations",
                None,
                "What is true: each frame an image, people with track_id.",
                required=True,
            ),
            path(
                "results",
                None,
                "results.json of tfcpn.predict for that video alone.",
                required=True,
            ),
        ]
    },
)


def read_frames(file: str, who: str):
    """The skeleton of a file in COCO's form, and its people by frame. who: the field that tells who somebody is.

    Raises InputError.
    """
    data = read_json(file)
    try:
        skeleton = from_category(data["categories"][0])
        frames = {image["id"]: image["frame"] for image in data["images"]}
        people: dict[int, list] = {frame: [] for frame in frames.values()}
        for record in data["annotations"]:
            keypoints = np.reshape(np.array(record["keypoints"], float), (skeleton.count, 3))
            people[frames[record["image_id"]]].append((record[who], keypoints, record["bbox"]))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(
            f"{file}: is no such file of a video with {who} of its people ({error!r})"
        ) from error
    return skeleton, people


def seen(people: list, keypoints: list[int]):
    """People as `evaluation.followed` takes them. keypoints: which of theirs, -1 for those that they lack."""
    from tfcpn.evaluation.followed import FramePeople

    track_ids = np.array([number for number, *_ in people], int)
    values = np.zeros((len(people), len(keypoints), 3))
    for place, (_, own, _) in enumerate(people):
        for to, keypoint in enumerate(keypoints):
            values[place, to] = own[keypoint] if keypoint >= 0 else 0
    boxes = np.array([box for *_, box in people], float).reshape(-1, 4)
    return FramePeople(track_ids, values, boxes)


def main(options: Options) -> None:
    from tfcpn.evaluation.followed import evaluate_tracking

    own = options.own
    skeleton, true = read_frames(own.annotations, "track_id")
    theirs, found = read_frames(own.results, "person")
    if not set(skeleton.keypoints) & set(theirs.keypoints):
        raise InputError(f"{own.results}: has no keypoint of {own.annotations}")
    same = [
        theirs.keypoints.index(keypoint) if keypoint in theirs.keypoints else -1
        for keypoint in skeleton.keypoints
    ]
    missing_keypoints = [keypoint for keypoint, place in enumerate(same) if place < 0]
    frames = sorted(true)
    truth = [seen(true[frame], list(range(skeleton.count))) for frame in frames]
    for people in truth:
        people.keypoints[:, missing_keypoints, 2] = 0
    score = evaluate_tracking(
        [seen(found.get(frame, []), same) for frame in frames], truth, skeleton
    )
    print(f"{Path(own.results)}: {score.frames} frames, {score.people} people in them")
    print(f"found {score.found:.1%}, PCK@.2 {score.pck[0]:.3f}, PCK@.1 {score.pck[1]:.3f}")
    print(
        f"identities switched {score.switches} times, {score.strangers:.3f} people a frame who are nobody"
    )
    until, gaps = (
        f"{np.median(v):g} (at most {max(v)})" if v else "none" for v in (score.until, score.gaps)
    )
    print(
        f"frames until first found: {until}; lost {len(score.gaps)} times, frames until found again: {gaps}"
    )
    print(f"jitter: {score.jitter:.4f} of the torso from frame to frame")


if __name__ == "__main__":
    COMMAND.run(main)
