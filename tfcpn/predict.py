"""python -m tfcpn.predict --output=DIR PATH...: poses of the people in images and videos."""

from __future__ import annotations

from tfcpn.base.errors import InputError
from tfcpn.base.progress import import_tensorflow
from tfcpn.settings.command import Command, Options
from tfcpn.settings.flag import choice, number, path, switch, text
from tfcpn.settings.flag import whole as whole_number

DEFAULT_LANDMARK_MODEL = "data/mediapipe/pose_landmark_full.tflite"
COMMAND = Command(
    "python -m tfcpn.predict",
    "Find the people of images and videos, draw their poses, and write results.json.",
    {
        "Network": [
            path("model_dir", "", "Folder of a run."),
            text("epoch", "latest", "Which of its checkpoints."),
            path(
                "model",
                "",
                "Instead of a run a .tflite or .task file in MediaPipe's form, or a SavedModel of tools/export.py; "
                f"without either {DEFAULT_LANDMARK_MODEL}, which make models fetches.",
            ),
            choice(
                "network",
                "auto",
                ("auto", "blazepose"),
                "blazepose: MediaPipe's network as a Keras model, without a run; auto: what the run or file is.",
            ),
            path("init_weights", DEFAULT_LANDMARK_MODEL, "The weights of --network=blazepose."),
            choice(
                "flip_test",
                "auto",
                ("auto", "yes", "no"),
                "Average with the mirror image; auto: as the run does.",
            ),
            choice(
                "mixed_precision",
                "auto",
                ("auto", "float32", "tf32", "bfloat16", "float16"),
                "Arithmetic of a Keras model; auto: that of the run.",
            ),
            path(
                "skeleton",
                "auto",
                "Which keypoints of BlazePose's networks: auto, those of the run, or MediaPipe's 33; coco, lsp, "
                "mediapipe or a .json file.",
            ),
        ],
        "Who": [
            path(
                "boxes",
                "detect",
                "detect: whom the detector finds; image: each image is one person; or a file of COCO results, "
                "whose image_id is the number in an image's name.",
            ),
            path(
                "detector",
                "data/mediapipe/pose_detection.tflite",
                "MediaPipe's, or another .onnx or .tflite: one image (1, S, S, 3), of an .onnx (1, 3, S, S), RGB "
                "from 0 to 1, in; (1, N, 6) with x0, y0, x1, y1, score, class out, of which 0 is a person.",
            ),
            whole_number(
                "tiles",
                1,
                "MediaPipe's detector looks at the whole image; with n above 1 at its parts of 2 x 2 to n x n, "
                "too, where it finds smaller people.",
                least=1,
                most=6,
            ),
            number(
                "score_threshold",
                0.5,
                "People whom the detector gives less are left out.",
                least=0,
                most=1,
            ),
            switch(
                "nms", True, "Leave out who is all but the same as a surer person (OKS above .7)."
            ),
        ],
        "Out": [
            path("output", None, "Folder for the images, videos and results.json."),
            switch("draw", True, "Write images and videos; without it only results.json."),
            switch("draw_regions", False, "Draw what the network saw of each person, too."),
            switch("csv", False, "Write people.csv, too: a line for each person."),
            switch("overwrite", False, "Do what is done already again."),
        ],
        "Video": [
            whole_number(
                "detect_every",
                10,
                "The detector is asked in every so many frames, and when somebody is lost.",
                1,
            ),
            switch(
                "smooth", True, "Smooth the keypoints (One Euro filter, with MediaPipe's numbers)."
            ),
            number(
                "track_timeout",
                1.0,
                "Seconds after which somebody who was lost gets another number.",
                least=0,
            ),
            whole_number(
                "max_frames",
                0,
                "At most so many frames of a video; 0: all, with --serve 900.",
                least=0,
            ),
        ],
        "Page": [
            switch(
                "serve",
                False,
                "Open a page on this computer, for images and short videos, instead.",
            ),
            whole_number("port", 8000, "Its port.", least=1, most=65535),
            whole_number("max_upload_mb", 50, "The largest upload that it takes.", least=1),
        ],
    },
    words="PATH...",
)


def main(options: Options) -> None:
    own = options.own
    if own.serve:
        import_tensorflow()
        from tfcpn.prediction import asked

        return asked.open_page(own, options.given, options.words)
    if not own.output:
        raise InputError("--output is missing; see python -m tfcpn.predict --help")
    if not options.words:
        raise InputError(
            "want images, videos, folders, a camera's number, or - for a list on standard input"
        )
    # Here, so that --help does not wait for OpenCV and TensorFlow.
    import_tensorflow()
    from tfcpn.prediction import asked

    done = asked.predict(own, options.given, options.words)
    print(f"written: {own.output}/results.json, {done.files} files, {done.people} people")
    if done.failed:
        more = f"; and {len(done.failed) - 3} more, named above" if len(done.failed) > 3 else ""
        raise InputError(f"{len(done.failed)} files failed: {'; '.join(done.failed[:3])}{more}")


if __name__ == "__main__":
    COMMAND.run(main)
