"""Export a network to MediaPipe, TensorFlow Lite, ONNX or a SavedModel."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tfcpn.cli import Command, Options, boolean, enum, integer, path
from tfcpn.utils.console import import_tensorflow
from tfcpn.utils.errors import InputError

COMMAND = Command(
    "python tools/export.py",
    __doc__,
    {
        "File": [
            enum(
                "format",
                "mediapipe",
                ("mediapipe", "savedmodel", "tflite", "onnx"),
                "mediapipe: a copy of MediaPipe's .tflite file, or of a bundle, for its own "
                "runtime; savedmodel: a "
                "folder for TensorFlow and its servers; tflite, onnx: a file for TensorFlow Lite, "
                "for onnxruntime. "
                "All but the first take crops, uint8 BGR.",
            ),
            enum(
                "quantize",
                "none",
                ("none", "float16", "dynamic", "int8", "full_int8"),
                "tflite, onnx: weights in float16 (float16) or int8 (dynamic), or weights and "
                "activations in int8, calibrated on people of --train_records (int8). tflite: "
                "also input and output in int8, for accelerators (full_int8).",
            ),
            boolean(
                "with_decoder",
                False,
                "tflite, onnx: flip test and decoding inside, keypoints and scores out.",
            ),
            path(
                "template",
                "data/mediapipe/pose_landmark_full.tflite",
                "mediapipe: the file whose graph, names and types stay; with --task those of "
                "the bundle.",
            ),
            path(
                "task",
                "",
                "mediapipe: a .task bundle; a copy of it with the new network is written.",
            ),
            path("output", None, "File or folder to write.", required=True),
            boolean("overwrite", False, "Replace an existing file."),
            integer(
                "people",
                200,
                "Number of people of --val_annotations to compare the file on; 0: all.",
                minimum=0,
            ),
            integer(
                "learn_from",
                128,
                "int8, full_int8: number of people of --train_records to calibrate on.",
                minimum=1,
            ),
            "model_dir",
            "epoch",
        ]
    },
    uses_config=True,
)


# Flags that only some formats use.
_USED_BY = {
    "quantize": ("tflite", "onnx"),
    "with_decoder": ("tflite", "onnx"),
    "people": ("savedmodel", "tflite", "onnx"),
    "learn_from": ("tflite", "onnx"),
    "template": ("mediapipe",),
    "task": ("mediapipe",),
}


def _check(args, given: set[str]) -> None:
    """Raise InputError for a flag that would change nothing."""
    for name, formats in _USED_BY.items():
        if name in given and args.format not in formats:
            raise InputError(f"--{name} needs --format={' or '.join(formats)}, not {args.format}")
    if "learn_from" in given and "int8" not in args.quantize:
        raise InputError("--learn_from needs --quantize=int8 or full_int8")
    if args.quantize == "full_int8" and (args.format != "tflite" or args.with_decoder):
        raise InputError("--quantize=full_int8 needs --format=tflite, without --with_decoder")


def main(options: Options) -> None:
    args, cfg = options.args, options.config
    output = Path(args.output)
    if output.exists() and not args.overwrite:
        raise InputError(f"{output} already exists; --overwrite replaces it")
    if output.exists() and output.is_dir() != (args.format == "savedmodel"):
        raise InputError(
            f"{output} is {'a folder' if output.is_dir() else 'a file'}, and "
            f"--format={args.format} is not"
        )
    if output.is_dir() and not (output / "saved_model.pb").exists():
        raise InputError(
            f"{output} is a folder and no SavedModel, which --overwrite would remove; use another "
            "--output"
        )
    _check(args, options.explicit)
    import_tensorflow()
    from tfcpn.checkpoints import run_config
    from tfcpn.checkpoints.manager import INITIAL_EPOCH, CheckpointManager
    from tfcpn.skeleton import MEDIAPIPE, skeleton_from_flag
    from tfcpn.utils import device

    device.select_device(cfg.device)
    epochs = CheckpointManager(cfg.model_dir).parse_epochs(cfg.epoch)
    if len(epochs) > 1:
        raise InputError(f"--epoch={cfg.epoch}: expected one")
    has_run = (Path(cfg.model_dir) / run_config.FILE).exists()
    if epochs != [INITIAL_EPOCH] or (has_run and "init_weights" not in options.explicit):
        run = run_config.evaluation_config(cfg, options.explicit - {"train_records"})
        records = (
            cfg.train_records if "train_records" in options.explicit else run.config.train_records
        )
        cfg, skeleton = dataclasses.replace(run.config, train_records=records), run.skeleton
    else:
        skeleton = skeleton_from_flag(cfg.skeleton) or MEDIAPIPE
    cfg = dataclasses.replace(cfg, mixed_precision="float32")
    if args.format == "mediapipe":
        to_mediapipe(args, options.explicit, cfg, skeleton)
    else:
        to_other(args, options.explicit, cfg, skeleton)


def to_mediapipe(args, given: set[str], cfg, skeleton) -> None:
    from tfcpn.export.export import checked
    from tfcpn.inference.pose import load_model
    from tfcpn.models.blazepose.weights import (
        LANDMARK_MEMBER,
        export_landmark_model,
        replace_bundle_member,
    )
    from tfcpn.utils.files import write_atomically

    if cfg.network != "blazepose":
        raise InputError(
            f"--format=mediapipe needs --network=blazepose; {cfg.model_dir} is {cfg.network}"
        )
    if cfg.init_weights == "none":
        raise InputError(
            f"{cfg.model_dir} started from random weights, so z, visibility and presence were not "
            "trained, and MediaPipe would find no people"
        )
    _, model = load_model(cfg, skeleton)
    # A bundle's own network has metadata that MediaPipe's tasks need and the wheel's file lacks.
    template = args.task if args.task and "template" not in given else args.template
    content = export_landmark_model(model, template)
    median, worst = checked(content, model)
    write_atomically(
        Path(args.output),
        replace_bundle_member(args.task, LANDMARK_MEMBER, content) if args.task else content,
    )
    print(
        f"written: {args.output}; its landmarks are {median:.3f} crop pixels off those of Keras "
        "(median), "
        f"at most {worst:.3f}"
    )


def to_other(args, given: set[str], cfg, skeleton) -> None:
    from tfcpn.evaluation.evaluator import validation_set_of
    from tfcpn.evaluation.predictor import Predictor
    from tfcpn.export import export as written
    from tfcpn.export.graph import random_crops, record_crops, validation_crops
    from tfcpn.inference.pose import load_model, with_align_points

    # People as they are annotated: the file is judged by what it says of crops, not by who finds
    # them.
    cfg = dataclasses.replace(with_align_points(cfg), boxes="gt", align_source="gt")
    components, model = load_model(cfg, skeleton)
    predictor = Predictor(
        model, components.network, components.codec, components.crop_spec, flip_test=cfg.flip_test
    )
    if "val_annotations" in given or Path(cfg.val_annotations).exists():
        shown = validation_crops(
            validation_set_of(cfg, components, skeleton), components, args.people
        )
    else:
        shown = random_crops(components.crop_spec, 8)
        print(f"{cfg.val_annotations} not found: compared on random images, so there is no AP")
    learn_from = (
        record_crops(cfg, components, skeleton, args.learn_from)
        if "int8" in args.quantize
        else None
    )
    message = written.write(
        args.format,
        args.output,
        quantize=args.quantize,
        decoded=args.with_decoder,
        predictor=predictor,
        components=components,
        shown=shown,
        calibration=learn_from,
        cfg=cfg,
    )
    print(message, end="")
    print(f"written: {args.output}; the table is {written.table_of(args.output)}")


if __name__ == "__main__":
    COMMAND.run(main)
