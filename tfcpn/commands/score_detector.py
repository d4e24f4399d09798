"""Tabulate how well pose detectors find annotated people."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from tfcpn.cli import ANNOTATION_FLAGS, Command, Options, float_, path, string_list
from tfcpn.data.coco import read_annotations
from tfcpn.models.specs import DEFAULT_DETECTION_MODEL
from tfcpn.skeleton import skeleton_from_flag
from tfcpn.utils.console import progress_bar
from tfcpn.utils.errors import InputError

COMMAND = Command(
    "tfcpn score detector",
    __doc__,
    {
        "What": [
            string_list(
                "detectors",
                (DEFAULT_DETECTION_MODEL,),
                "Files of MediaPipe's form, .tflite or .task, or runs, comma-separated.",
            ),
            path("annotations", None, "COCO person_keypoints JSON file.", required=True),
            path("images", None, "Folder of its images.", required=True),
            *ANNOTATION_FLAGS,
            float_("score_threshold", 0.5, "Minimum score of a detection.", minimum=0, maximum=1),
        ]
    },
)


def main(options: Options) -> None:
    args = options.args
    from tfcpn.checkpoints.detectors import load_pose_detector
    from tfcpn.evaluation.detection_metrics import detect_people, detection_table, people_to_find
    from tfcpn.visualization import load_coco_image

    annotations = read_annotations(
        args.annotations,
        expected=skeleton_from_flag(args.skeleton),
        convert=True,
        image_dir=args.images,
        categories=args.category,
        strict=args.strict,
    )
    people = people_to_find(annotations.people, annotations.skeleton)
    if not people:
        raise InputError(f"{args.annotations}: no person has the keypoints of the alignment points")
    people.sort(key=lambda person: person.image_id)
    num_annotated = Counter(person.image_id for person in annotations.people)
    for file in args.detectors:
        detector = load_pose_detector(file, args.score_threshold)
        with progress_bar(len(people), "detector", "person") as bar:

            @lru_cache(maxsize=1)  # people of an image are next to each other
            def detections(image_id: int, detector=detector):
                return detector(load_coco_image(args.images, annotations.images[image_id]))

            def counted(image_id: int, bar=bar, detections=detections):
                bar.update()
                return detections(image_id)

            rows = detect_people(people, annotations.skeleton, counted, num_annotated)
        print(f"{file}\n\n{detection_table(rows)}\n")


if __name__ == "__main__":
    COMMAND.run(main)
