"""Give a trained network away: in a copy of MediaPipe's file, for MediaPipe's own runtime, or as a SavedModel."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tfcpn.base.errors import InputError
from tfcpn.base.files import write_atomically
from tfcpn.settings.command import Command, Options
from tfcpn.settings.flag import choice, path, switch

COMMAND = Command(
    "python tools/export.py",
    __doc__,
    {
        "Where": [
            choice(
                "format",
                "mediapipe",
                ("mediapipe", "savedmodel"),
                "mediapipe: MediaPipe's .tflite file, or a bundle; savedmodel: a folder for TensorFlow, crops in, "
                "joints and scores out, with flip test and decoding as the run is validated.",
            ),
            path(
                "template",
                "data/mediapipe/pose_landmark_full.tflite",
                "The file whose graph, names and types stay; with --task the bundle's own.",
            ),
            path("task", "", "A .task bundle of MediaPipe's: a copy of it with the new network is written."),
            path("output", None, "File or folder to write.", required=True),
            switch("overwrite", False, "Write over a file that is there."),
            "model_dir",
            "epoch",
        ]
    },
    shared=True,
)
# The median distance of a file's landmarks from Keras's may be so many crop pixels: rounding what was learnt to
# float16 makes half of one.
MOST = 2.0


def checked(content: bytes, model) -> tuple[float, float]:
    """How far the landmarks of a file are from those of the model, in crop pixels, on made-up pictures.

    Returns the median and the greatest. Raises InputError if that is more than float16 explains.
    """
    import numpy as np
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    place, distances = interpreter.get_input_details()[0]["index"], []
    output = next(o["index"] for o in interpreter.get_output_details() if o["name"] == "Identity")
    for image in smooth_pictures(np.random.default_rng(0), 4):
        interpreter.set_tensor(place, image[None])
        interpreter.invoke()
        theirs = interpreter.get_tensor(output).reshape(-1, 5)[:, :2]
        ours = model(image[None], training=False).landmarks.numpy()[0, :, :2]
        distances.append(np.linalg.norm(theirs - ours, axis=1))
    median, worst = float(np.median(distances)), float(np.max(distances))
    if not median <= MOST:
        raise InputError(
            f"the file's landmarks are {median:.2f} crop pixels off those of Keras: its float16 weights do not hold "
            "what was learnt; train with a lower --learning_rate"
        )
    return median, worst


def smooth_pictures(rng, count: int):
    """Made-up pictures (count, 256, 256, 3) float32 from 0 to 1, of soft colours."""
    import cv2
    import numpy as np

    small = rng.uniform(0, 1, (count, 8, 8, 3)).astype(np.float32)
    return np.stack([cv2.resize(picture, (256, 256), interpolation=cv2.INTER_CUBIC) for picture in small]).clip(0, 1)


def write_savedmodel(folder: str, cfg, skeleton) -> tuple[float, float]:
    """A snapshot as a SavedModel; the median and greatest distance of its joints from those in memory, in crop
    pixels.
    """
    from tfcpn.evaluation.predictor import Predictor
    from tfcpn.prediction import loading
    from tfcpn.prediction.saved import write_saved

    made = loading.of_run(dataclasses.replace(cfg, mixed_precision="float32"), skeleton, "auto", loading.whole, None)
    predictor: Predictor = made.reader.predictor
    return write_saved(folder, predictor, made.skeleton, made.alignment)


def main(options: Options) -> None:
    own, cfg = options.own, options.config
    output = Path(own.output)
    if output.exists() and not own.overwrite:
        raise InputError(f"{output} is there; --overwrite writes over it")
    from tfcpn.base import device
    from tfcpn.networks.blazepose_weights import MEMBER, exported
    from tfcpn.networks.task_bundle import with_member
    from tfcpn.parts import make_parts
    from tfcpn.run import config_file
    from tfcpn.run.snapshots import FIRST_WEIGHTS, Snapshots
    from tfcpn.skeleton import MEDIAPIPE

    skeleton, snapshots = MEDIAPIPE, Snapshots(cfg.model_dir)
    model_dir, asked = cfg.model_dir, cfg.epoch
    epochs = snapshots.parse(cfg.epoch)
    if len(epochs) > 1:
        raise InputError(f"--epoch={cfg.epoch}: want one")
    lives = (Path(cfg.model_dir) / config_file.FILE).exists()
    if epochs != [FIRST_WEIGHTS] or (lives and "init_weights" not in options.given):
        run = config_file.load(cfg.model_dir)
        cfg, skeleton = run.config, run.skeleton
    if own.format == "savedmodel":
        median, worst = write_savedmodel(
            own.output, dataclasses.replace(cfg, model_dir=model_dir, epoch=asked), skeleton
        )
        print(
            f"written: {output}; its joints are {median:.4f} crop pixels off those of Keras (median), "
            f"at most {worst:.4f}"
        )
        return
    if cfg.network != "blazepose":
        raise InputError(f"--format=mediapipe wants --network=blazepose; {cfg.model_dir} is {cfg.network}")
    if cfg.init_weights == "none":
        raise InputError(
            f"{cfg.model_dir} began from random weights, so nobody taught it z, presence or a person's being there, "
            "without which MediaPipe finds nobody"
        )
    device.set_precision("float32")
    network = make_parts(cfg, skeleton).network
    model = network.build()
    if epochs == [FIRST_WEIGHTS]:
        network.load_weights(model, network.find_weights(cfg.init_weights))
    else:
        snapshots.restore(epochs[0], network.variables(model))
    # A bundle's own network has metadata that MediaPipe's tasks want and the wheel's file lacks.
    template = own.task if own.task and "template" not in options.given else own.template
    content = exported(model, template)
    median, worst = checked(content, model)
    write_atomically(output, with_member(own.task, MEMBER, content) if own.task else content)
    print(
        f"written: {output}; its landmarks are {median:.3f} crop pixels off those of Keras (median), "
        f"at most {worst:.3f}"
    )


if __name__ == "__main__":
    COMMAND.run(main)
