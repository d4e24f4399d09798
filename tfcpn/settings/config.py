"""The frozen Config of a run. Each of its fields is a flag, with its help and its limits."""

from __future__ import annotations

import dataclasses
import math
import os
import re

from tfcpn.base.errors import InputError
from tfcpn.geometry.alignment import MODES, RADII
from tfcpn.networks.resnet_table import STRIDE, UNITS
from tfcpn.settings.flag import Flag, value_of
from tfcpn.settings.recipe import TF_CPN_SCALE, VIEWS

RUN, NETWORK, ALIGNMENT, DATA = "Run", "Network and labels", "Alignment", "Data and augmentation"
TRAINING, MACHINE, EVALUATION = "Training", "Machine", "Evaluation"
NETWORKS = ["cpn", "blazepose"]
# What --network=blazepose has where no flag says otherwise: the only size it takes, the region it was made for, no
# decay of weights that were good when training began.
BLAZEPOSE = {"input_size": (256, 256), "align": "blazepose", "weight_decay": 0.0, "views": 1}


def _flag(
    group: str, default, help: str, *, choices=(), least=None, most=None, free=False, path=False
):
    """A field of Config that is also a flag of the same name.

    free: a run may be continued with another value, since it does not change what is learnt.
    """
    metadata = {
        "group": group,
        "help": help,
        "choices": tuple(choices),
        "least": least,
        "most": most,
    }
    return dataclasses.field(default=default, metadata={**metadata, "free": free, "path": path})


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of a run. Sizes are (height, width) in pixels."""

    experiment: str = _flag(
        RUN, "", "Name of the run; empty: made from what it changes of the baseline.", free=True
    )
    model_dir: str = _flag(
        RUN, "", "Folder of the run; empty: runs/<experiment>.", free=True, path=True
    )
    seed: int = _flag(RUN, 0, "Decides first weights, order of the data and augmentation.", least=0)

    skeleton: str = _flag(
        NETWORK,
        "auto",
        "The keypoints: auto, those that the records tell; coco, lsp, mediapipe or a .json file: theirs, under the same "
        "names, with what it says of pairs, limbs, roles and tolerances.",
        path=True,
    )
    network: str = _flag(
        NETWORK,
        "cpn",
        "What is trained: tf-cpn's Cascaded Pyramid Network, or MediaPipe's pose landmark network.",
        choices=NETWORKS,
    )
    backbone: str = _flag(NETWORK, "resnet50", "The CPN's feature extractor.", choices=list(UNITS))
    input_size: tuple[int, int] = _flag(
        NETWORK, (256, 192), "HEIGHTxWIDTH of a crop, multiples of 32; 256x256 for BlazePose."
    )
    blazepose_size: str = _flag(
        NETWORK, "full", "Which of MediaPipe's networks.", choices=["full", "lite"]
    )
    blazepose_norm: str = _flag(
        NETWORK,
        "auto",
        "How to replace the batch norms that are folded into MediaPipe's weights: scaled (per-channel weight "
        "scaling) or batch (trainable batch norms); auto: scaled for MediaPipe's weights, batch for random ones.",
        choices=["auto", "scaled", "batch"],
    )
    blazepose_freeze: int = _flag(
        NETWORK,
        0,
        "BlazePose: so many of its first convolutions keep their weights; 11 are those down to a quarter of the "
        "size, which take most of a step's time.",
        least=0,
        most=96,
    )
    distillation_weight: float = _flag(
        NETWORK,
        0.1,
        "BlazePose: factor of the distance to the shipped network's word on what is not labeled.",
        least=0,
    )
    heatmap_weight: float = _flag(
        NETWORK, 2.0, "BlazePose: factor of the loss of labeled keypoints' heatmaps.", least=0
    )
    heatmap_scale: float = _flag(
        NETWORK, TF_CPN_SCALE, "Peak of a label heatmap; 255 is tf-cpn's.", least=1e-6
    )
    scale_free: bool = _flag(
        NETWORK,
        False,
        "At any heatmap scale, begin as at 255: data losses times (255/scale)^2, output batch norms' gain times "
        "scale/255.",
    )
    batch_norm_momentum: float = _flag(
        NETWORK,
        0.99,
        "CPN: what its batch norms' statistics keep of themselves in a step; short runs may want less.",
        least=0,
        most=0.9999,
    )
    late_upsampling: bool = _flag(
        NETWORK,
        False,
        "CPN: 1x1 convolutions come before the upsampling and not behind it, so that they see coarser maps: the same "
        "function to rounding, with less work. Half precision and prediction always do so.",
        free=True,
    )
    hard_keypoints: int = _flag(
        NETWORK,
        8,
        "CPN: the refine loss is that of each crop's so many worst keypoints (tf-cpn's OHKM).",
        least=1,
    )
    label_kernels: tuple[int, ...] = _flag(
        NETWORK,
        (15, 11, 9, 7),
        "Gaussians of the labels, in heatmap pixels; the last is the refine output's.",
    )

    align: str = _flag(
        ALIGNMENT,
        "person",
        "Region cut for a person: the box, a square about it, or BlazePose's square about the mid-hip.",
        choices=MODES,
    )
    align_rotate: bool = _flag(
        ALIGNMENT, True, "Turn BlazePose's region until the body is upright."
    )
    align_margin: float = _flag(
        ALIGNMENT,
        1.25,
        "Side of BlazePose's region over the diameter of the body's circle.",
        least=0.1,
    )
    align_radius: str = _flag(
        ALIGNMENT,
        "body",
        "The body's circle reaches to the farthest keypoint or outline point; to 1.15 times the farthest keypoint; or "
        "to 1.3 times the nose, the log's rule.",
        choices=RADII,
    )
    align_missing: str = _flag(
        ALIGNMENT,
        "square",
        "People whose keypoints do not tell BlazePose's region: left out, or cut by the square box.",
        choices=["drop", "square"],
    )
    predict_align_points: bool = _flag(
        ALIGNMENT,
        False,
        "Predict mid-hip and the point above it on the circle as two more keypoints.",
    )

    train_records: str = _flag(
        DATA,
        "data/coco/records",
        "Folders made by tools/make_records.py, with commas between them; a:2,b:1 has everyone of a twice a pass.",
        free=True,
        path=True,
    )
    val_images: str = _flag(
        DATA, "data/coco/val2017", "Folder of the validation images.", free=True, path=True
    )
    val_annotations: str = _flag(
        DATA,
        "data/coco/annotations/person_keypoints_val2017.json",
        "COCO annotations of those images.",
        free=True,
        path=True,
    )
    filter_min_keypoints: int = _flag(
        DATA, 1, "Train on people with at least so many labeled keypoints.", least=1
    )
    filter_require: tuple[str, ...] = _flag(
        DATA,
        (),
        "Train on people who have these keypoints labeled, such as nose,left_hip,right_hip.",
    )
    filter_max_people: int = _flag(
        DATA, 0, "Train on images with at most so many labeled people; 0: any number.", least=0
    )
    filter_min_area: float = _flag(
        DATA,
        0.0,
        "Train on people of at least this area in square pixels; COCO's medium starts at 1024.",
        least=0,
    )
    shuffle_buffer: int = _flag(
        DATA, 2048, "People mixed at a time, besides the shards; a crop of memory each.", least=1
    )
    views: int = _flag(
        DATA,
        VIEWS,
        "Views of each person in a step: tf-cpn's 4 (zoomed, mirrored, twice turned), or 1, which is zoomed, turned "
        "and, half of the time, mirrored, so that a step sees four times as many people.",
        least=1,
        most=VIEWS,
    )
    rescale_min: float = _flag(
        DATA, 0.7, "Least zoom of a training view; from 1.25 on it is the whole crop.", least=0.1
    )
    rescale_max: float = _flag(DATA, 1.35, "Greatest zoom of a training view.", least=0.1)
    rotation: float = _flag(
        DATA, 45.0, "The turned views turn by up to this, in degrees either way.", least=0, most=180
    )
    shift: float = _flag(
        DATA,
        0.0,
        "With --views=1: the middle of a view lies off that of the region by up to so much of its side, either way "
        "along both axes, as a detector's does.",
        least=0,
        most=0.5,
    )
    shift_exponent: float = _flag(
        DATA,
        1.0,
        "How much more often --shift is small than large: it is the greatest one times a number between 0 and 1 to "
        "this power; 1: all are alike.",
        least=1,
        most=10,
    )
    random_half_body: float = _flag(
        DATA,
        0.0,
        "With --views=1: share of the views that show the upper or the lower half.",
        least=0,
        most=1,
    )
    random_erasing: float = _flag(
        DATA,
        0.0,
        "Share of the views in which a rectangle of one color is in front.",
        least=0,
        most=1,
    )
    color_jitter: float = _flag(
        DATA,
        0.0,
        "Contrast and saturation of a view change by up to so much, its brightness by half of it; 0.3 shows.",
        least=0,
        most=1,
    )

    batch_size: int = _flag(
        TRAINING, 32, "Crops per replica and step, --views of them of each person.", least=1
    )
    epoch_size: int = _flag(TRAINING, 60000, "Crops per epoch.", least=1)
    epochs: int = _flag(TRAINING, 400, "Train up to this epoch.", least=1, free=True)
    learning_rate: float = _flag(TRAINING, 5e-4, "Adam's rate in the first epochs.", least=0)
    lr_halving: int = _flag(TRAINING, 60, "The rate halves after every so many epochs.", least=1)
    lr_cosine: bool = _flag(
        TRAINING,
        False,
        "Instead, the rate falls to 0 at --epochs along half a cosine, epoch by epoch.",
    )
    warmup_steps: int = _flag(
        TRAINING,
        0,
        "The rate grows in a line from 0 over so many first steps, to what it would be.",
        least=0,
    )
    weight_decay: float = _flag(
        TRAINING, 1e-5, "Factor of the L2 loss over the convolution kernels.", least=0
    )
    ema: float = _flag(
        TRAINING,
        0.0,
        "Evaluate, keep and export a running mean of the weights, which keeps so much of itself in a step, such as "
        "0.99; 0: the weights themselves.",
        least=0,
        most=0.99999,
    )
    init_weights: str = _flag(
        TRAINING,
        "auto",
        "TensorFlow 1 checkpoint that starts the CPN's backbone; keras: ImageNet weights of tf.keras.applications; "
        "none: random weights; auto: slim's checkpoint in data/imagenet if it is there, else random and a warning. "
        "BlazePose: MediaPipe's .tflite or .task file; auto: data/mediapipe/pose_landmark_full.tflite.",
        path=True,
    )
    keep_checkpoints: int = _flag(
        TRAINING,
        10,
        "Keep the newest so many checkpoints and every 50th (0.3 GB each, a third more with --ema; of 400 epochs 6 "
        "GB); 0: all.",
        least=0,
        free=True,
    )
    checkpoint_minutes: float = _flag(
        TRAINING,
        10.0,
        "Save within an epoch too, whenever so many minutes have passed since the last save; 0: never.",
        least=0,
        free=True,
    )
    eval_every: int = _flag(
        TRAINING, 10, "Validate after every so many epochs; 0: never.", least=0, free=True
    )

    mixed_precision: str = _flag(
        MACHINE,
        "float32",
        "Arithmetic of the layers; auto: the fastest that this machine has in hardware; tf32: float32 with shortened "
        "products on NVIDIA GPUs from the A100 on.",
        choices=["float32", "tf32", "bfloat16", "float16", "auto"],
    )
    xla: bool = _flag(
        MACHINE,
        False,
        "Compile the network's part of a step with XLA: for a GPU, where benchmark.py gpu tells what it gains; on a "
        "CPU it is slower.",
        free=True,
    )
    device: str = _flag(
        MACHINE,
        "auto",
        "auto: the GPU, and an error where there is an NVIDIA card that TensorFlow cannot use; else the CPU; cpu: it "
        "in any case; gpu: an error without one.",
        choices=["auto", "cpu", "gpu"],
        free=True,
    )
    strategy: str = _flag(
        MACHINE,
        "one",
        "One device, all GPUs of the machine, or those of all machines in TF_CONFIG.",
        choices=["one", "mirrored", "multi_worker"],
    )
    data_service: str = _flag(
        MACHINE,
        "",
        "host:port of a tf.data service (tools/data_service.py) whose workers read, decode and crop; empty: this "
        "process does.",
        free=True,
    )
    deterministic: bool = _flag(
        MACHINE,
        False,
        "The same bits on every run; slower, on a CPU by the number of cores, on a GPU since its layouts and fusions "
        "are off.",
        free=True,
    )

    epoch: str = _flag(
        EVALUATION, "latest", "Checkpoints: a number, several with commas, or latest.", free=True
    )
    boxes: str = _flag(
        EVALUATION,
        "gt",
        "gt: annotated boxes; else a detector's COCO results file.",
        free=True,
        path=True,
    )
    align_source: str = _flag(
        EVALUATION,
        "gt",
        "Where BlazePose's alignment points come from: the annotation (an upper bound), the file in --boxes, a first "
        "pass of the network over the square box, or MediaPipe's detector over the whole image.",
        choices=["gt", "detections", "two_pass", "detector"],
        free=True,
    )
    detector: str = _flag(
        EVALUATION,
        "data/mediapipe/pose_detection.tflite",
        "With --align_source=detector: MediaPipe's .tflite or .task file.",
        free=True,
        path=True,
    )
    first_pass_rotations: int = _flag(
        EVALUATION,
        1,
        "With two_pass: quarter turns of the square box that are tried; the one the network is surest of counts.",
        least=1,
        most=4,
        free=True,
    )
    eval_people: str = _flag(
        EVALUATION,
        "all",
        "People that count: all, or those who have the keypoints of the alignment points.",
        choices=["all", "alignable"],
        free=True,
    )
    pck_norm: str = _flag(
        EVALUATION,
        "auto",
        "PCK is relative to the torso (left shoulder to right hip), the head (neck to its top) or the longer side of "
        "the box; auto: the torso, where the keypoints tell it, else the box.",
        choices=["auto", "torso", "head", "box"],
        free=True,
    )
    flip_test: bool = _flag(
        EVALUATION, True, "Average each prediction with that of the mirror image.", free=True
    )
    decoder: str = _flag(
        EVALUATION,
        "tf_cpn",
        "CPN: how a heatmap's peak is found to less than a pixel: tf_cpn, a quarter of a pixel towards the second "
        "peak; dark, a Newton step on the log of the heatmap.",
        choices=["tf_cpn", "dark"],
        free=True,
    )
    result_nms: str = _flag(
        EVALUATION,
        "none",
        "Results of one image that are of the same person: all stay; those above --nms_oks of a surer one go "
        "(OKS-NMS); or scores fall with how alike they are to a surer one (Soft-NMS).",
        choices=["none", "oks", "soft"],
        free=True,
    )
    nms_oks: float = _flag(
        EVALUATION,
        0.9,
        "--result_nms=oks: OKS of two results above which they are of one person.",
        least=0.0,
        most=1.0,
        free=True,
    )
    refine_landmarks: bool = _flag(
        EVALUATION,
        False,
        "BlazePose: move each keypoint to the mean of its heatmap about it, as MediaPipe's graph does.",
        free=True,
    )
    eval_batch_size: int = _flag(EVALUATION, 32, "Crops per forward pass.", least=1, free=True)

    @property
    def heatmap_size(self) -> tuple[int, int]:
        return (self.input_size[0] // STRIDE, self.input_size[1] // STRIDE)

    @property
    def output_gain(self) -> float:
        """Initial gain of the output batch norms; 1 is tf-cpn's."""
        return self.heatmap_scale / TF_CPN_SCALE if self.scale_free else 1.0

    @property
    def data_loss_weight(self) -> float:
        """Factor of the data losses. Squared errors grow with the square of the heatmap scale."""
        return (TF_CPN_SCALE / self.heatmap_scale) ** 2 if self.scale_free else 1.0

    def learning_rate_at(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of a step: the only place that decides it.

        Args:
            step: Counted from 0 over all epochs.
            steps_per_epoch: Steps of an epoch.

        Returns:
            A rate that is halved after every `lr_halving` epochs, or a cosine's at the middles of the epochs; over
            the first `warmup_steps` steps times a factor that grows in a line to 1.
        """
        epoch = step // steps_per_epoch
        if self.lr_cosine:
            rate = self.learning_rate * (1 + math.cos(math.pi * (epoch + 0.5) / self.epochs)) / 2
        else:
            rate = self.learning_rate * 0.5 ** (epoch // self.lr_halving)
        return rate * min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else rate


FIELDS = {field.name: field for field in dataclasses.fields(Config)}
# What an evaluation tells of its settings: all that decides the weights, and how they were evaluated.
REPORTED = [
    name
    for name, field in FIELDS.items()
    if not field.metadata["free"]
    or (field.metadata["group"] == EVALUATION and name not in ("epoch", "eval_batch_size"))
]
REPORTED += ["val_annotations", "val_images"]
_KINDS = {"bool": "switch", "int": "whole", "float": "number", "tuple[str, ...]": "words"}


def _as_flag(field: dataclasses.Field) -> Flag:
    m, default = field.metadata, field.default
    kind = "choice" if m["choices"] else "path" if m["path"] else _KINDS.get(field.type, "text")
    if field.name == "input_size":
        default = "{}x{}".format(*default)
    elif field.type == "tuple[int, ...]":
        default = ",".join(map(str, default))
    return Flag(field.name, kind, default, m["help"], m["choices"], m["least"], m["most"])


FLAGS = {name: _as_flag(field) for name, field in FIELDS.items()}
GROUPS = {
    group: [FLAGS[name] for name, field in FIELDS.items() if field.metadata["group"] == group]
    for group in (RUN, NETWORK, ALIGNMENT, DATA, TRAINING, MACHINE, EVALUATION)
}


def _parse_input_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    size = tuple(int(n) for n in match.groups()) if match else (0, 0)
    if not all(n > 0 and n % 32 == 0 for n in size):
        raise InputError(
            f"--input_size={text}: want HEIGHTxWIDTH in multiples of 32, such as 256x192"
        )
    return size


def _parse_kernels(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if len(words) != 4 or not all(word.isdigit() and int(word) % 2 for word in words):
        raise InputError(f"--label_kernels={text}: want four odd sizes, such as 15,11,9,7")
    return tuple(int(word) for word in words)


def _default_experiment(values: dict) -> str:
    """The baseline's network and size, and what else makes the run a different experiment."""
    if values["network"] == "blazepose":
        return f"blazepose_{values['blazepose_size']}" + (
            "_scratch" if values["init_weights"] == "none" else ""
        )
    name = "{}_{}x{}".format(values["backbone"], *values["input_size"])
    if values["heatmap_scale"] != FIELDS["heatmap_scale"].default:
        name += f"_scale{values['heatmap_scale']:g}" + ("_free" if values["scale_free"] else "")
    if values["align"] != FIELDS["align"].default:
        name += f"_{values['align']}"
    if values["align"] == "blazepose" and not values["align_rotate"]:
        name += "_norotate"
    if values["predict_align_points"]:
        name += "_points"
    return name


def from_values(parsed) -> Config:
    """The Config of parsed flags. Raises InputError for a value that no run can have."""
    values = {name: value_of(flag, parsed) for name, flag in FLAGS.items()}
    values["input_size"] = _parse_input_size(values["input_size"])
    values["label_kernels"] = _parse_kernels(values["label_kernels"])
    if values["network"] == "blazepose":
        values |= {name: value for name, value in BLAZEPOSE.items() if not parsed[name].present}
        if values["input_size"] != BLAZEPOSE["input_size"]:
            raise InputError("--network=blazepose: takes --input_size=256x256 only")
        if values["blazepose_norm"] == "auto":
            values["blazepose_norm"] = "batch" if values["init_weights"] == "none" else "scaled"
        if values["blazepose_freeze"] and values["init_weights"] == "none":
            raise InputError(
                "--init_weights=none: random weights are not to be kept, want --blazepose_freeze=0"
            )
        if values["blazepose_norm"] != "batch" and values["init_weights"] == "none":
            raise InputError(
                "--init_weights=none wants --blazepose_norm=batch: nothing else learns from random weights"
            )
    if values["align"] == "blazepose" and values["input_size"][0] != values["input_size"][1]:
        raise InputError(
            "--align=blazepose: its region is a square, want such as --input_size=256x256"
        )
    if values["views"] not in (1, VIEWS):
        raise InputError(f"--views={values['views']}: want {VIEWS} or 1")
    if values["shift"] and values["views"] == VIEWS:
        raise InputError(
            f"--shift={values['shift']:g}: tf-cpn's {VIEWS} views are not moved; want --views=1"
        )
    if values["random_half_body"] and values["views"] == VIEWS:
        raise InputError(
            f"--random_half_body={values['random_half_body']:g}: tf-cpn's {VIEWS} views show all; want --views=1"
        )
    if values["shift_exponent"] != 1 and not values["shift"]:
        raise InputError(f"--shift_exponent={values['shift_exponent']:g} wants a --shift")
    if values["batch_size"] % values["views"]:
        raise InputError(
            f"--batch_size={values['batch_size']}: want a multiple of {values['views']}, the views of a person"
        )
    if values["data_service"] and not re.fullmatch(r"[^:/\s]+:\d+", values["data_service"]):
        raise InputError(
            f"--data_service={values['data_service']}: want host:port, such as localhost:5050"
        )
    if values["data_service"] and values["deterministic"]:
        raise InputError(
            "--data_service gives people in the order in which its workers finish: not --deterministic"
        )
    if values["rescale_max"] < values["rescale_min"]:
        raise InputError("--rescale_max is below --rescale_min")
    values["experiment"] = values["experiment"] or _default_experiment(values)
    values["model_dir"] = values["model_dir"] or os.path.join("runs", values["experiment"])
    return Config(**values)
