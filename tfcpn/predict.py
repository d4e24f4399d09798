"""python -m tfcpn.predict --output=DIR PATH...: poses of the people in pictures and videos."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

from tfcpn.base.errors import InputError
from tfcpn.base.files import stamp
from tfcpn.settings.command import Command, Options
from tfcpn.settings.flag import choice, number, path, switch, text
from tfcpn.settings.flag import whole as whole_number

SHIPPED = "data/mediapipe/pose_landmark_full.tflite"
COMMAND = Command(
    "python -m tfcpn.predict",
    "Find the people of pictures and videos, draw their poses, and write results.json.",
    {
        "Network": [
            path("model_dir", "", "Folder of a run."),
            text("epoch", "latest", "Which of its snapshots."),
            path(
                "model",
                "",
                f"Instead of a run a .tflite or .task file in MediaPipe's form; without either {SHIPPED}, which make "
                "models fetches.",
            ),
            choice(
                "network",
                "auto",
                ("auto", "blazepose"),
                "blazepose: MediaPipe's network as a Keras model, without a run; auto: what the run or file is.",
            ),
            path("init_weights", SHIPPED, "The weights of --network=blazepose."),
            choice(
                "flip_test", "auto", ("auto", "yes", "no"), "Average with the mirror image; auto: as the run does."
            ),
            choice(
                "mixed_precision",
                "auto",
                ("auto", "float32", "tf32", "bfloat16", "float16"),
                "Arithmetic of a Keras model; auto: that of the run.",
            ),
            path(
                "joints",
                "auto",
                "Which joints of BlazePose's networks: auto, those of the run, or MediaPipe's 33; coco, lsp, "
                "mediapipe or a .json file.",
            ),
        ],
        "Who": [
            path(
                "boxes",
                "detect",
                "detect: whom the detector finds; image: each picture is one person; or a file of COCO results, "
                "whose image_id is the number in a picture's name.",
            ),
            path(
                "detector",
                "data/mediapipe/pose_detection.tflite",
                "MediaPipe's, or another .onnx or .tflite: one picture (1, S, S, 3), of an .onnx (1, 3, S, S), RGB "
                "from 0 to 1, in; (1, N, 6) with x0, y0, x1, y1, score, class out, of which 0 is a person.",
            ),
            whole_number(
                "tiles",
                1,
                "MediaPipe's detector looks at the whole picture; with n above 1 at its parts of 2 x 2 to n x n, "
                "too, where it finds smaller people.",
                least=1,
                most=6,
            ),
            number("least_score", 0.5, "People whom the detector gives less are left out.", least=0, most=1),
            switch("nms", True, "Leave out who is all but the same as a surer person (OKS above .7)."),
        ],
        "Out": [
            path("output", None, "Folder for the pictures, videos and results.json."),
            switch("draw", True, "Write pictures and videos; without it only results.json."),
            switch("show_regions", False, "Draw what the network saw of each person, too."),
            switch("csv", False, "Write people.csv, too: a line for each person."),
            switch("again", False, "Do what is done already again."),
        ],
        "Video": [
            whole_number(
                "detect_every", 10, "The detector is asked in every so many frames, and when somebody is lost.", 1
            ),
            switch("smooth", True, "Smooth the joints (One Euro filter, with MediaPipe's numbers)."),
            number("memory", 1.0, "Seconds after which somebody who was lost gets another number.", least=0),
            whole_number("frames", 0, "At most so many frames of a video; 0: all, with --serve 900.", least=0),
        ],
        "Page": [
            switch("serve", False, "Open a page on this computer, for pictures and short videos, instead."),
            whole_number("port", 8000, "Its port.", least=1, most=65535),
            whole_number("most_megabytes", 50, "The largest upload that it takes.", least=1),
        ],
    },
    words="PATH...",
)


def settings_of(own: SimpleNamespace) -> dict:
    """What decides the results, which are kept from one call to the next only if it is the same: flags, and the files
    that they name as they are now.
    """
    beside = {"output", "again", "csv", "draw"}
    settings = {name: value for name, value in vars(own).items() if name not in beside}
    files = [own.model or SHIPPED, own.init_weights, own.boxes, own.detector, own.joints]
    if own.model_dir:
        files += sorted(map(str, Path(own.model_dir).glob("snapshots/*/variables.index")))
    return {**settings, "files": {file: stamp(file) for file in files if Path(file).is_file()}}


def load_pose(own: SimpleNamespace):
    """The Pose that the flags name. Raises InputError."""
    from tfcpn.prediction import loading
    from tfcpn.prediction.pose import Pose

    find = (
        loading.finder("none") if own.boxes != "detect" else loading.finder(own.detector, own.least_score, own.tiles)
    )
    how = own.joints, find, loading.ALIKE if own.nms else None
    if sum(map(bool, (own.model, own.model_dir, own.network != "auto"))) > 1:
        raise InputError("want one of --model, --model_dir and --network")
    if own.network == "blazepose":
        return Pose(*loading.of_weights(own.init_weights, *how, own.flip_test, own.mixed_precision))
    if own.model_dir:
        return Pose(*loading.of_folder(own.model_dir, own.epoch, *how, own.flip_test, own.mixed_precision))
    return Pose(*loading.of_file(own.model or SHIPPED, *how))


def boxes_of(file: str, names: list[str]):
    """The function from a picture's name to its boxes in a COCO results file. Raises InputError."""
    from tfcpn.data.detections import read_detections
    from tfcpn.prediction.written import image_ids

    ids = image_ids(names)
    if ids is None:
        raise InputError(f"--boxes={file}: its image_id is the number in a picture's name; not all names are numbers")
    boxes: dict[int, list] = {}
    for box in read_detections(file, dict.fromkeys(ids.values())):
        boxes.setdefault(box.image_id, []).append(box)
    return lambda name, image: boxes.get(ids[name], [])


def open_page(own: SimpleNamespace, words: list[str]) -> None:
    """--serve. Raises InputError."""
    if words or own.output:
        raise InputError(
            "--serve takes pictures from its page alone, and writes none: want neither PATH nor --output"
        )
    if own.boxes not in ("detect", "image"):
        raise InputError(f"--boxes={own.boxes}: is for pictures that are named, want detect or image")
    from tfcpn.prediction.job import How
    from tfcpn.prediction.server import Limits, serve

    how = How(detect_every=own.detect_every, smooth=own.smooth, memory=own.memory)
    limits = Limits(own.most_megabytes, own.frames or Limits().frames)
    serve(load_pose(own), how, limits, own.port)


def main(options: Options) -> None:
    own = options.own
    if own.serve:
        return open_page(own, options.words)
    if not own.output:
        raise InputError("--output is missing; see python -m tfcpn.predict --help")
    if not options.words:
        raise InputError(
            "want pictures, videos, folders, a camera's number, or - for a list of them on standard input"
        )
    from tfcpn.prediction.sources import find_sources
    from tfcpn.prediction.written import Journal, check_output

    check_output(own.output)
    sources = find_sources(options.words, own.output, sys.stdin if "-" in options.words else ())
    given = own.boxes not in ("detect", "image")
    if given and any(source.video for source in sources):
        raise InputError(f"--boxes={own.boxes}: is for pictures; a video's people are found by the detector")
    boxes = boxes_of(own.boxes, [source.name for source in sources]) if given else None
    # Here, so that --help and a mistake in the flags do not wait for TensorFlow.
    from tfcpn.prediction.job import How, Job
    from tfcpn.prediction.whom import whole

    pose = load_pose(own)
    if own.boxes == "image":
        boxes = lambda name, image: whole(image)  # noqa: E731
    how = How(own.draw, own.show_regions, own.csv, own.frames, own.detect_every, own.smooth, own.memory, boxes)
    journal = Journal(own.output, settings_of(own), own.again)
    failed = Job(pose, sources, own.output, how, journal).run()
    people = sum(len(frame["people"]) for record in journal.done.values() for frame in record["frames"])
    print(
        f"written: {own.output}/results.json, {len(sources) - len(failed)} of {len(sources)} files, {people} people"
    )
    if failed:
        raise InputError(f"{len(failed)} of {len(sources)} files failed: {'; '.join(failed[:3])}")


if __name__ == "__main__":
    COMMAND.run(main)
