"""Export a network to MediaPipe, TensorFlow Lite, ONNX or a SavedModel."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tfcpn.cli import Command, Options, boolean, enum, float_, integer, path
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
                "runtime; savedmodel: a folder for TensorFlow and its servers; tflite, onnx: a "
                "file for TensorFlow Lite, for onnxruntime. All but the first take crops, uint8 "
                "BGR.",
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
                "mediapipe: the file whose graph, names and types stay, or that is used itself if "
                "no run is given; with a bundle to copy, its own.",
            ),
            path(
                "task",
                "",
                "mediapipe: write a .task bundle of this network and of --detector for MediaPipe's "
                "PoseLandmarker. With --output: a bundle to copy with the new network, all else in "
                "it kept.",
            ),
            float_(
                "original_share",
                0.0,
                "mediapipe: share of the weights that the run started from in their mean with the "
                "trained ones. A half keeps most of what was learned and forgets less.",
                minimum=0.0,
                maximum=1.0,
            ),
            path("output", "", "File or folder to write."),
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
    "original_share": ("mediapipe",),
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
    if not args.output and not args.task:
        raise InputError(f"--output is missing; see {COMMAND.program} --help")
    output = Path(args.output or args.task)
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
    if args.format == "mediapipe" and not options.explicit & _OF_NETWORK:
        if "original_share" in options.explicit:
            raise InputError("--original_share has no effect here: give the run by --model_dir")
        shipped_bundle(args, cfg, output)
        return
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
        to_mediapipe(args, options.explicit, cfg, skeleton, output)
    else:
        to_other(args, options.explicit, cfg, skeleton)


# Flags of which one chooses a network of one's own.
_OF_NETWORK = {"model_dir", "experiment", "epoch", "init_weights", "network"}


def shipped_bundle(args, cfg, output: Path) -> None:
    """Write a bundle of MediaPipe's own files."""
    from tfcpn.checkpoints.detectors import read_detector_bytes
    from tfcpn.models.blazepose.bundle import make_bundle
    from tfcpn.models.blazepose.weights import LANDMARK_MEMBER, read_landmark_model
    from tfcpn.models.tflite import read_tflite_bytes
    from tfcpn.utils.files import write_atomically

    if not args.task or args.output:
        raise InputError("--model_dir is missing: which run is to be exported?")
    _, spec = read_landmark_model(args.template)
    landmarks = read_tflite_bytes(args.template, LANDMARK_MEMBER)
    detector = read_detector_bytes(cfg.detector)
    write_atomically(output, make_bundle(landmarks, detector))
    print(f"written: {output}; the {spec.name} network {args.template} and {cfg.detector} as is")


def to_mediapipe(args, given: set[str], cfg, skeleton, output: Path) -> None:
    """Write a network into MediaPipe's .tflite file or into a bundle."""
    from tfcpn.checkpoints.detectors import read_detector_bytes
    from tfcpn.export.export import checked
    from tfcpn.inference.pose import load_model
    from tfcpn.models.blazepose.bundle import make_bundle, replace_bundle_members
    from tfcpn.models.blazepose.detector import DETECTOR_MEMBER
    from tfcpn.models.blazepose.detector_model import export_detector
    from tfcpn.models.blazepose.weights import (
        LANDMARK_MEMBER,
        export_landmark_model,
        load_landmark_weights,
    )
    from tfcpn.utils.files import write_atomically

    if cfg.network == "blazepose_detector" and not args.task:
        if "template" in given:
            raise InputError("--template has no effect here: a detector keeps its own file's form")
        if "original_share" in given:
            raise InputError("--original_share has no effect here: it is for the landmark network")
        components, model = load_model(cfg, skeleton)
        write_atomically(output, export_detector(model, components.network.template))
        print(f"written: {output}, the detector of {cfg.model_dir}")
        return
    if cfg.network != "blazepose":
        raise InputError(
            f"--format=mediapipe needs --network=blazepose; {cfg.model_dir} is {cfg.network}; a "
            "bundle takes a detector by --detector"
        )
    if cfg.init_weights == "none":
        raise InputError(
            f"{cfg.model_dir} started from random weights, so z, visibility and presence were not "
            "trained, and MediaPipe would find no people"
        )
    components, model = load_model(cfg, skeleton)
    if args.original_share:
        original = components.network.find_weights(cfg.init_weights)
        load_landmark_weights(model, original, args.original_share)
    copied = bool(args.task and args.output)
    template = args.task if copied and "template" not in given else args.template
    content = export_landmark_model(model, template)
    median, worst = checked(content, model)
    detector = None
    if args.task and (not copied or "detector" in given):
        detector = read_detector_bytes(cfg.detector)
    if copied:
        members = {LANDMARK_MEMBER: content}
        if detector is not None:
            members[DETECTOR_MEMBER] = detector
        content = replace_bundle_members(args.task, members)
    elif args.task:
        content = make_bundle(content, detector)
    write_atomically(output, content)
    print(
        f"written: {output}; its landmarks are {median:.3f} crop pixels off those of Keras "
        f"(median), at most {worst:.3f}"
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
    if cfg.network == "blazepose_detector":
        raise InputError(f"{cfg.model_dir} is a detector: it takes --format=mediapipe")
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
