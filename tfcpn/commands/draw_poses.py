"""Draw the people of annotations or a results file on one contact sheet."""

from __future__ import annotations

from tfcpn.cli import ANNOTATION_FLAGS, Command, Options, enum, float_, integer, path
from tfcpn.data.coco import PersonAnnotation, read_annotations
from tfcpn.skeleton import skeleton_from_flag
from tfcpn.utils.errors import InputError
from tfcpn.utils.json_io import is_number_list, read_json
from tfcpn.visualization import (
    check_name,
    draw_annotated,
    draw_results,
    load_coco_image,
    sheet,
    write_image,
)

COMMAND = Command(
    "python tools/draw_poses.py",
    __doc__,
    {
        "What": [
            path("annotations", None, "COCO person_keypoints JSON file.", required=True),
            *ANNOTATION_FLAGS,
            path("images", None, "Folder of its images.", required=True),
            path("results", "", "Results file of tfcpn.eval; empty: draw the annotations."),
            enum(
                "order",
                "file",
                ("file", "best", "worst"),
                "Which images: the first; or, with --results, those whose people are found best or "
                "worst.",
            ),
        ],
        "Image": [
            path("output", "poses.png", "Image to write, .png or .jpg."),
            integer("count", 12, "Images on the sheet, of those that have people.", minimum=1),
            integer("columns", 4, "Images in a row.", minimum=1),
            float_("score_threshold", 0.0, "Leave out results with a lower score."),
        ],
    },
)


def _read_results(file: str, keypoints: int) -> list[dict]:
    """Read a results file of people with these keypoints.

    Raises:
        InputError: If it is none.
    """
    results = read_json(file)
    for place, entry in enumerate(results if isinstance(results, list) else [None]):
        if not isinstance(entry, dict) or not {"image_id", "score", "keypoints"} <= set(entry):
            raise InputError(
                f"{file}: entry number {place} lacks image_id, score or keypoints; not a results "
                "file"
            )
        if not is_number_list(entry["keypoints"], 3 * keypoints) or not is_number_list(
            [entry["score"]]
        ):
            raise InputError(
                f"{file}: entry number {place}: expected {keypoints} keypoints x 3 numbers, and a "
                "score"
            )
    return results


def errors_by_image(people: list[PersonAnnotation], results: list[dict]) -> dict[int, float]:
    """Return the error of the worst person of each image.

    Args:
        people: Annotated people.
        results: Entries of a results file.

    Returns: By image id: mean distance of labeled keypoints from the nearest result, over the
        longer side of the box; infinite without a result.
    """
    import numpy as np

    worst: dict[int, float] = {}
    by_image: dict[int, list] = {}
    for result in results:
        by_image.setdefault(result["image_id"], []).append(np.reshape(result["keypoints"], (-1, 3)))
    for person in (p for p in people if p.trainable):
        distances = [np.inf]
        for found in by_image.get(person.image_id, ()):
            counts = (person.keypoints[:, 2] > 0) & (found[:, 2] > 0)
            if counts.any():
                away = np.linalg.norm(found[counts, :2] - person.keypoints[counts, :2], axis=1)
                distances.append(float(away.mean()) / max(person.box[2:]))
        worst[person.image_id] = max(worst.get(person.image_id, 0.0), min(distances))
    return worst


def main(options: Options) -> None:
    args = options.args
    check_name(args.output)
    images, people, skeleton, *_ = read_annotations(
        args.annotations,
        expected=skeleton_from_flag(args.skeleton),
        convert=True,
        image_dir=args.images,
        categories=args.category,
        strict=args.strict,
    )
    if args.order != "file" and not args.results:
        raise InputError(f"--order={args.order} needs --results")
    if args.score_threshold and not args.results:
        raise InputError(f"--score_threshold={args.score_threshold:g} needs --results")
    results = _read_results(args.results, skeleton.num_keypoints) if args.results else None
    chosen = list(dict.fromkeys(p.image_id for p in people if p.trainable))
    if args.order != "file":
        error = errors_by_image(people, results)
        chosen.sort(key=lambda image: error[image], reverse=args.order == "worst")
    chosen = chosen[: args.count]
    cells = []
    for image_id in chosen:
        pixels = load_coco_image(args.images, images[image_id])
        if results is None:
            draw_annotated(pixels, [p for p in people if p.image_id == image_id], skeleton)
        else:
            here = [
                r
                for r in results
                if r["image_id"] == image_id and r["score"] >= args.score_threshold
            ]
            draw_results(pixels, here, skeleton)
        cells.append(pixels)
    write_image(args.output, sheet(cells, args.columns, (300, 340)))
    print(f"written: {args.output}, {len(cells)} images")


if __name__ == "__main__":
    COMMAND.run(main)
