"""Every flag, and the frozen Config that the flags become. Only this file and the mains touch FLAGS."""

from __future__ import annotations

import dataclasses
import os
import re

from absl import flags

from tfcpn.align import MODES, RADII, Alignment, alignment_joints
from tfcpn.cpn import STRIDE
from tfcpn.errors import InputError
from tfcpn.filters import Filter
from tfcpn.resnet import UNITS
from tfcpn.skeleton import JOINTS, num_joints, parse_joints

FLAGS = flags.FLAGS

TF_CPN_SCALE = 255.0
RUN, NETWORK, ALIGNMENT, DATA = "Run", "Network and labels", "Alignment", "Data and augmentation"
TRAINING, MACHINE, EVALUATION = "Training", "Machine", "Evaluation"


def _flag(group: str, default, help: str, *, choices=None, least=None, most=None, free=False):
    """A field of Config that is also a flag of the same name.

    free: a run may be continued with another value, since it does not change what is learnt.
    """
    metadata = {"group": group, "help": help, "choices": choices, "least": least, "most": most, "free": free}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of a run. Sizes are (height, width) in pixels."""

    experiment: str = _flag(RUN, "", "Name of the run; empty: made from what it changes of the baseline.", free=True)
    model_dir: str = _flag(RUN, "", "Folder of the run; empty: runs/<experiment>.", free=True)
    seed: int = _flag(RUN, 0, "Decides first weights, order of the data and augmentation.", least=0)

    backbone: str = _flag(NETWORK, "resnet50", "Feature extractor.", choices=list(UNITS))
    input_size: tuple[int, int] = _flag(NETWORK, (256, 192), "HEIGHTxWIDTH of a crop, multiples of 32.")
    heatmap_scale: float = _flag(NETWORK, TF_CPN_SCALE, "Peak of a label heatmap; 255 is tf-cpn's.", least=1e-6)
    scale_free: bool = _flag(
        NETWORK,
        False,
        "At any heatmap scale, begin as at 255: data losses times (255/scale)^2, output batch norms' gain times "
        "scale/255.",
    )
    data_loss_weight: float = _flag(
        NETWORK, 1.0, "Factor of the global and the refine loss; weight decay keeps its own.", least=1e-9
    )
    output_gain: float = _flag(
        NETWORK, 1.0, "First gain of the batch norms that the network ends in; 1 is tf-cpn's.", least=0
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
    align_rotate: bool = _flag(ALIGNMENT, True, "Turn BlazePose's region until the body is upright.")
    align_margin: float = _flag(
        ALIGNMENT, 1.25, "Side of BlazePose's region over the diameter of the body's circle.", least=0.1
    )
    align_radius: str = _flag(
        ALIGNMENT,
        "body",
        "The body's circle reaches to the farthest joint or outline point; to 1.15 times the farthest joint; or "
        "to 1.3 times the nose, the log's rule.",
        choices=RADII,
    )
    align_missing: str = _flag(
        ALIGNMENT,
        "square",
        "People whose joints do not tell BlazePose's region: left out, or cut by the square box.",
        choices=["drop", "square"],
    )
    predict_align_points: bool = _flag(
        ALIGNMENT, False, "Predict mid-hip and the point above it on the circle as joints 18 and 19."
    )

    train_records: str = _flag(DATA, "data/coco/records", "Folder made by tools/make_records.py.", free=True)
    val_images: str = _flag(DATA, "data/coco/val2017", "Folder of the validation images.", free=True)
    val_annotations: str = _flag(
        DATA,
        "data/coco/annotations/person_keypoints_val2017.json",
        "COCO annotations of those images.",
        free=True,
    )
    filter_min_joints: int = _flag(DATA, 1, "Train on people with at least so many labelled joints.", least=1)
    filter_require: tuple[str, ...] = _flag(
        DATA, (), "Train on people who have these joints labelled, such as nose,left_hip,right_hip."
    )
    filter_max_people: int = _flag(
        DATA, 0, "Train on images with at most so many labelled people; 0: any number.", least=0
    )
    filter_min_area: float = _flag(
        DATA, 0.0, "Train on people of at least this area in square pixels; COCO's medium starts at 1024.", least=0
    )
    shuffle_buffer: int = _flag(
        DATA, 2048, "People mixed at a time, besides the shards; a crop of memory each.", least=1
    )
    rescale_min: float = _flag(
        DATA, 0.7, "Least zoom of a training view; from 1.25 on it is the whole crop.", least=0.1
    )
    rescale_max: float = _flag(DATA, 1.35, "Greatest zoom of a training view.", least=0.1)
    rotation: float = _flag(
        DATA, 45.0, "The turned views turn by up to this, in degrees either way.", least=0, most=180
    )

    batch_size: int = _flag(TRAINING, 32, "Crops per replica and step, four of them views of one person.", least=4)
    epoch_size: int = _flag(TRAINING, 60000, "Crops per epoch.", least=4)
    epochs: int = _flag(TRAINING, 400, "Train up to this epoch.", least=1, free=True)
    learning_rate: float = _flag(TRAINING, 5e-4, "Adam's rate in the first epochs.", least=0)
    lr_halving: int = _flag(TRAINING, 60, "The rate halves after every so many epochs.", least=1)
    weight_decay: float = _flag(TRAINING, 1e-5, "Factor of the L2 loss over the convolution kernels.", least=0)
    init_weights: str = _flag(
        TRAINING,
        "auto",
        "TensorFlow 1 checkpoint that starts the backbone; keras: ImageNet weights of tf.keras.applications; none: "
        "random weights; auto: slim's checkpoint in data/imagenet if it is there, else random and a warning.",
    )
    keep_snapshots: int = _flag(
        TRAINING,
        0,
        "Keep the newest so many snapshots and every 50th; 0: all (0.3 GB each).",
        least=0,
        free=True,
    )
    eval_every: int = _flag(TRAINING, 10, "Validate after every so many epochs; 0: never.", least=0, free=True)

    mixed_precision: str = _flag(
        MACHINE,
        "float32",
        "Arithmetic of the layers; auto: the fastest that this machine has in hardware; tf32: float32 with shortened "
        "products on NVIDIA GPUs from the A100 on.",
        choices=["float32", "tf32", "bfloat16", "float16", "auto"],
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
        MACHINE, False, "The same bits on every run; slower, on a CPU by the number of cores.", free=True
    )

    epoch: str = _flag(EVALUATION, "latest", "Snapshots: a number, several with commas, or latest.", free=True)
    boxes: str = _flag(EVALUATION, "gt", "gt: annotated boxes; else a detector's COCO results file.", free=True)
    align_source: str = _flag(
        EVALUATION,
        "gt",
        "Where BlazePose's alignment points come from: the annotation (an upper bound), the detector's file, or a "
        "first pass of the network over the square box.",
        choices=["gt", "detections", "two_pass"],
        free=True,
    )
    first_pass_turns: int = _flag(
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
        "People that count: all, or those who have the joints of the alignment points.",
        choices=["all", "alignable"],
        free=True,
    )
    flip_test: bool = _flag(EVALUATION, True, "Average each prediction with that of the mirror image.", free=True)
    eval_batch_size: int = _flag(EVALUATION, 32, "Crops per forward pass.", least=1, free=True)

    @property
    def heatmap_size(self) -> tuple[int, int]:
        return (self.input_size[0] // STRIDE, self.input_size[1] // STRIDE)

    @property
    def alignment(self) -> Alignment:
        return Alignment(self.align, self.align_rotate, self.align_margin, self.align_radius, self.align_missing)

    @property
    def training_filter(self) -> Filter:
        """Who is trained on: the filters, and with --align_missing=drop who can be aligned."""
        required = {JOINTS.index(name) for name in self.filter_require}
        if self.align == "blazepose" and self.align_missing == "drop":
            required |= set(alignment_joints(self.align_radius))
        rules = self.filter_min_joints, tuple(sorted(required)), self.filter_max_people, self.filter_min_area
        return Filter(*rules)

    @property
    def num_joints(self) -> int:
        return num_joints(self.predict_align_points)

    def effective_output_gain(self) -> float:
        """What the gain of the output batch norms starts at."""
        return self.output_gain * (self.heatmap_scale / TF_CPN_SCALE if self.scale_free else 1)

    def effective_data_loss_weight(self) -> float:
        """The factor of the data losses. Squared errors go with the square of the labels' scale."""
        return self.data_loss_weight * ((TF_CPN_SCALE / self.heatmap_scale) ** 2 if self.scale_free else 1)

    def learning_rate_at(self, epoch: int) -> float:
        """The rate of epoch 1, 2, ...: halved after every `lr_halving` epochs."""
        return self.learning_rate * 0.5 ** ((epoch - 1) // self.lr_halving)


FIELDS = {field.name: field for field in dataclasses.fields(Config)}
GROUPS: dict[str, list[str]] = {}


def _define_flags() -> None:
    for name, field in FIELDS.items():
        m, default = field.metadata, field.default
        GROUPS.setdefault(m["group"], []).append(name)
        limits = {"lower_bound": m["least"], "upper_bound": m["most"]}
        if m["choices"]:
            flags.DEFINE_enum(name, default, m["choices"], m["help"])
        elif field.type == "bool":
            flags.DEFINE_bool(name, default, m["help"])
        elif field.type == "int":
            flags.DEFINE_integer(name, default, m["help"], **limits)
        elif field.type == "float":
            flags.DEFINE_float(name, default, m["help"], **limits)
        elif name == "input_size":
            flags.DEFINE_string(name, "{}x{}".format(*default), m["help"])
        elif field.type.startswith("tuple"):
            flags.DEFINE_string(name, ",".join(map(str, default)), m["help"])
        else:
            flags.DEFINE_string(name, default, m["help"])


_define_flags()


def _parse_input_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    size = tuple(int(n) for n in match.groups()) if match else (0, 0)
    if not all(n > 0 and n % 32 == 0 for n in size):
        raise InputError(f"--input_size={text}: want HEIGHTxWIDTH in multiples of 32, such as 256x192")
    return size


def _parse_kernels(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if len(words) != 4 or not all(word.isdigit() and int(word) % 2 for word in words):
        raise InputError(f"--label_kernels={text}: want four odd sizes, such as 15,11,9,7")
    return tuple(int(word) for word in words)


def _default_experiment(values: dict) -> str:
    """The baseline's network and size, and what else makes the run a different experiment."""
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


def from_flags() -> Config:
    """The Config of the parsed flags. Raises InputError for a value that no run can have."""
    values = {name: FLAGS[name].value for name in FIELDS}
    values["input_size"] = _parse_input_size(values["input_size"])
    values["label_kernels"] = _parse_kernels(values["label_kernels"])
    values["filter_require"] = parse_joints(values["filter_require"], "filter_require")
    if values["align"] == "blazepose" and values["input_size"][0] != values["input_size"][1]:
        raise InputError("--align=blazepose: its region is a square, want such as --input_size=256x256")
    if values["batch_size"] % 4:
        raise InputError(f"--batch_size={values['batch_size']}: must be a multiple of 4, the views of one person")
    if values["data_service"] and not re.fullmatch(r"[^:/\s]+:\d+", values["data_service"]):
        raise InputError(f"--data_service={values['data_service']}: want host:port, such as localhost:5050")
    if values["data_service"] and values["deterministic"]:
        raise InputError("--data_service gives people in the order in which its workers finish: not --deterministic")
    if values["rescale_max"] < values["rescale_min"]:
        raise InputError("--rescale_max is below --rescale_min")
    values["experiment"] = values["experiment"] or _default_experiment(values)
    values["model_dir"] = values["model_dir"] or os.path.join("runs", values["experiment"])
    return Config(**values)


def given_flags() -> set[str]:
    """Names of the flags that the command line or a flagfile sets."""
    return {name for name in FIELDS if FLAGS[name].present}
