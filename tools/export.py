"""Give a trained network away: for MediaPipe's own runtime, TensorFlow Lite, ONNX, or as a SavedModel."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tfcpn.base.errors import InputError
from tfcpn.base.progress import import_tensorflow
from tfcpn.settings.command import Command, Options
from tfcpn.settings.flag import choice, path, switch, whole

COMMAND = Command(
    "python tools/export.py",
    __doc__,
    {
        "Where": [
            choice(
                "format",
                "mediapipe",
                ("mediapipe", "savedmodel", "tflite", "onnx"),
                "mediapipe: a copy of MediaPipe's .tflite file, or of a bundle, for its own runtime; savedmodel: a "
                "folder for TensorFlow and its servers; tflite, onnx: a file for TensorFlow Lite, for onnxruntime. "
                "All but the first take crops, uint8 BGR.",
            ),
            choice(
                "quantize",
                "none",
                ("none", "float16", "dynamic", "int8"),
                "tflite, onnx: weights in float16, weights in int8, or weights and activations in int8, which learns "
                "from people of --train_records.",
            ),
            switch(
                "with_decoder",
                False,
                "tflite, onnx: flip test and decoding inside, keypoints and scores out.",
            ),
            path(
                "template",
                "data/mediapipe/pose_landmark_full.tflite",
                "mediapipe: the file whose graph, names and types stay; with --task the bundle's own.",
            ),
            path(
                "task",
                "",
                "mediapipe: a .task bundle; a copy of it with the new network is written.",
            ),
            path("output", None, "File or folder to write.", required=True),
            switch("overwrite", False, "Write over a file that is there."),
            whole(
                "people",
                200,
                "How many people of --val_annotations the file is compared on; 0: all.",
                least=0,
            ),
            whole(
                "learn_from",
                128,
                "int8: how many people of --train_records it learns from.",
                least=1,
            ),
            "model_dir",
            "epoch",
        ]
    },
    shared=True,
)


# Flags that only some formats heed.
_HEED = {
    "quantize": ("tflite", "onnx"),
    "with_decoder": ("tflite", "onnx"),
    "people": ("savedmodel", "tflite", "onnx"),
    "learn_from": ("tflite", "onnx"),
    "template": ("mediapipe",),
    "task": ("mediapipe",),
}


def _check(own, given: set[str]) -> None:
    """Raise InputError for a flag that would change nothing."""
    for name, formats in _HEED.items():
        if name in given and own.format not in formats:
            raise InputError(f"--{name} wants --format={' or '.join(formats)}, not {own.format}")
    if "learn_from" in given and own.quantize != "int8":
        raise InputError("--learn_from wants --quantize=int8")


def main(options: Options) -> None:
    own, cfg = options.own, options.config
    output = Path(own.output)
    if output.exists() and not own.overwrite:
        raise InputError(f"{output} is there; --overwrite writes over it")
    if output.exists() and output.is_dir() != (own.format == "savedmodel"):
        raise InputError(
            f"{output} is {'a folder' if output.is_dir() else 'a file'}, and --format={own.format} is not"
        )
    if output.is_dir() and not (output / "saved_model.pb").exists():
        raise InputError(
            f"{output} is a folder and no SavedModel, which --overwrite would remove; want another --output"
        )
    _check(own, options.given)
    import_tensorflow()
    from tfcpn.base import device
    from tfcpn.data.skeleton_file import skeleton_from_flag
    from tfcpn.run import config_file
    from tfcpn.run.snapshots import INITIAL_EPOCH, CheckpointManager
    from tfcpn.skeleton import MEDIAPIPE

    device.select_device(cfg.device)
    epochs = CheckpointManager(cfg.model_dir).parse(cfg.epoch)
    if len(epochs) > 1:
        raise InputError(f"--epoch={cfg.epoch}: want one")
    lives = (Path(cfg.model_dir) / config_file.FILE).exists()
    if epochs != [INITIAL_EPOCH] or (lives and "init_weights" not in options.given):
        run = config_file.evaluation_config(cfg, options.given - {"train_records"})
        records = (
            cfg.train_records if "train_records" in options.given else run.config.train_records
        )
        cfg, skeleton = dataclasses.replace(run.config, train_records=records), run.skeleton
    else:
        skeleton = skeleton_from_flag(cfg.skeleton) or MEDIAPIPE
    cfg = dataclasses.replace(cfg, mixed_precision="float32")
    if own.format == "mediapipe":
        to_mediapipe(own, options.given, cfg, skeleton)
    else:
        to_other(own, options.given, cfg, skeleton)


def to_mediapipe(own, given: set[str], cfg, skeleton) -> None:
    from tfcpn.base.files import write_atomically
    from tfcpn.exporting.mediapipe import checked
    from tfcpn.networks.blazepose_weights import MEMBER, export_landmark_model
    from tfcpn.networks.task_bundle import replace_bundle_member
    from tfcpn.prediction.loading import load_model

    if cfg.network != "blazepose":
        raise InputError(
            f"--format=mediapipe wants --network=blazepose; {cfg.model_dir} is {cfg.network}"
        )
    if cfg.init_weights == "none":
        raise InputError(
            f"{cfg.model_dir} began from random weights, so nobody taught it z, presence or a person's being there, "
            "without which MediaPipe finds nobody"
        )
    _, model = load_model(cfg, skeleton)
    # A bundle's own network has metadata that MediaPipe's tasks want and the wheel's file lacks.
    template = own.task if own.task and "template" not in given else own.template
    content = export_landmark_model(model, template)
    median, worst = checked(content, model)
    write_atomically(
        Path(own.output), replace_bundle_member(own.task, MEMBER, content) if own.task else content
    )
    print(
        f"written: {own.output}; its landmarks are {median:.3f} crop pixels off those of Keras (median), "
        f"at most {worst:.3f}"
    )


def to_other(own, given: set[str], cfg, skeleton) -> None:
    from tfcpn.evaluation.evaluation import read_people
    from tfcpn.evaluation.predictor import Predictor
    from tfcpn.exporting import written
    from tfcpn.exporting.people import random_crops, record_crops, validation_crops
    from tfcpn.prediction.loading import load_model, with_points

    # People as they are annotated: the file is judged by what it says of crops, not by who finds them.
    cfg = dataclasses.replace(with_points(cfg), boxes="gt", align_source="gt")
    parts, model = load_model(cfg, skeleton)
    predictor = Predictor(model, parts.network, parts.codec, parts.crop_spec, cfg.flip_test)
    if "val_annotations" in given or Path(cfg.val_annotations).exists():
        shown = validation_crops(read_people(cfg, parts, skeleton), parts, own.people)
    else:
        shown = random_crops(parts.crop_spec, 8)
        print(f"{cfg.val_annotations} not found: compared on made-up images, so there is no AP")
    learn_from = (
        record_crops(cfg, parts, skeleton, own.learn_from) if own.quantize == "int8" else None
    )
    told = written.write(
        own.format,
        own.output,
        own.quantize,
        own.with_decoder,
        predictor,
        parts,
        shown,
        learn_from,
        cfg,
    )
    print(told, end="")
    print(f"written: {own.output}; the table is {written.table_of(own.output)}")


if __name__ == "__main__":
    COMMAND.run(main)
