"""The settings of a run. Every field of `Config` is also a flag, see `cli`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection

from tfcpn.config_rules import (
    CONFLICTS,
    NETWORK_DEFAULTS,
    REGIONS,
    REQUIREMENTS,
    VIEWS,
    check_value,
    other_regions,
)
from tfcpn.models.specs import DEFAULT_DETECTION_MODEL, STRIDE, UNITS
from tfcpn.transforms.alignment import MODES, RADII
from tfcpn.utils.errors import InputError

# Side of a training crop over that of the view made from it, which leaves room for rescaling.
TRAINING_MARGIN = 1.25
# Peak of tf-cpn's label heatmaps.
TF_CPN_SCALE = 255.0
# How much further the regions of --regions other than the annotated one reach.
REGIONS_MARGIN = 1.2

RUN, NETWORK, ALIGNMENT, DATA = "Run", "Network and labels", "Alignment", "Data and augmentation"
TRAINING, MACHINE, EVALUATION = "Training", "Machine", "Evaluation"

# Flags of 1.x: their names in 2.0.
RENAMED_FIELDS = {
    "held_weight": "distillation_weight",
    "blazepose_frozen": "blazepose_freeze",
    "norm_momentum": "batch_norm_momentum",
    "filter_min_joints": "filter_min_keypoints",
    "half_body": "random_half_body",
    "occlusion": "random_erasing",
    "colour": "color_jitter",
    "keep_snapshots": "keep_checkpoints",
    "first_pass_turns": "first_pass_rotations",
}
# Flags of 1.x that no longer exist, and the values with which a run is still the same.
REMOVED_FIELDS = {
    "output_gain": 1.0,
    "data_loss_weight": 1.0,
    "decoupled_decay": False,
    "subpixel_labels": False,
    "heatmap_epochs": 0,
}
# Removed flags of how views were drawn. A run with them can still be evaluated.
AUGMENTATION_FIELDS = ("shift_peak", "shift_exponent")


def _flag(
    group: str,
    scope: str,
    default,
    help: str,
    *,
    choices: Collection[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    path: bool = False,
    advanced: bool = False,
    in_eval: bool = False,
):
    """Declare a field of `Config` that is also a flag.

    Args:
        group: Title of its section in the help.
        scope: "model": part of the network, fixed for the life of a run. "train": fixed while a run
            is trained. "eval": how a run is evaluated. "machine": where and how long it runs; may
            change whenever a run is resumed.
        default: Default value.
        help: Help text.
        choices: Allowed strings.
        minimum: Smallest allowed number.
        maximum: Largest allowed number.
        path: Whether it is a file or folder.
        advanced: Whether only --helpfull shows it.
        in_eval: Whether an evaluation may differ from the run in this "train" setting.
    """
    metadata = {"group": group, "scope": scope, "help": help, "choices": tuple(choices)}
    metadata |= {"minimum": minimum, "maximum": maximum, "path": path}
    metadata |= {"advanced": advanced, "in_eval": in_eval or scope == "eval"}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of a run. Sizes are (height, width) in pixels.

    Raises:
        InputError: On construction, for values that no run can have.
    """

    experiment: str = _flag(
        RUN, "machine", "", "Name of the run; empty: made from its differences to the baseline."
    )
    model_dir: str = _flag(
        RUN, "machine", "", "Folder of the run; empty: runs/<experiment>.", path=True
    )
    seed: int = _flag(
        RUN, "train", 0, "Seed of initial weights, data order and augmentation.", minimum=0
    )

    skeleton: str = _flag(
        NETWORK,
        "model",
        "auto",
        "Keypoint definition: auto (from the records), a known one (coco, lsp, mediapipe, "
        "crowdpose, mpii, aic, halpe26, wholebody, ap10k, posetrack), or a .json file with flip "
        "pairs, limbs and OKS sigmas.",
        path=True,
    )
    network: str = _flag(
        NETWORK,
        "model",
        "cpn",
        "cpn: tf-cpn's Cascaded Pyramid Network; blazepose: MediaPipe's pose landmark network; "
        "blazepose_detector: the detector that finds people for it in whole images.",
        choices=["cpn", *NETWORK_DEFAULTS],
    )
    backbone: str = _flag(NETWORK, "model", "resnet50", "CPN: backbone.", choices=list(UNITS))
    input_size: tuple[int, int] = _flag(
        NETWORK,
        "model",
        (256, 192),
        "HEIGHTxWIDTH of a crop, multiples of 32; 256x256 for BlazePose.",
    )
    heatmap_scale: float = _flag(
        NETWORK,
        "model",
        TF_CPN_SCALE,
        "CPN: peak of the label heatmaps; 255 is tf-cpn's.",
        minimum=1e-6,
    )
    scale_free: bool = _flag(
        NETWORK,
        "model",
        False,
        "CPN: at any heatmap scale, start training as at 255: data losses times (255/scale)^2, "
        "gain of the output batch norms times scale/255.",
    )
    label_kernels: tuple[int, ...] = _flag(
        NETWORK,
        "model",
        (15, 11, 9, 7),
        "CPN: Gaussian sizes of the labels in heatmap pixels; the last is the refine output's.",
    )
    hard_keypoints: int = _flag(
        NETWORK,
        "model",
        8,
        "CPN: number of hardest keypoints per crop in the refine loss (OHKM).",
        minimum=1,
    )
    batch_norm_momentum: float = _flag(
        NETWORK,
        "model",
        0.99,
        "CPN: batch-norm momentum (decay of the moving averages). Lower it for short runs.",
        minimum=0,
        maximum=0.9999,
        advanced=True,
    )
    late_upsampling: bool = _flag(
        NETWORK,
        "machine",
        False,
        "CPN: apply 1x1 convolutions before upsampling instead of after: the same function up to "
        "rounding, with less work. Always on in half precision and prediction.",
        advanced=True,
    )
    blazepose_size: str = _flag(
        NETWORK, "model", "full", "BlazePose: size of the network.", choices=["full", "lite"]
    )
    blazepose_norm: str = _flag(
        NETWORK,
        "model",
        "auto",
        "BlazePose: how to replace the batch norms that are folded into MediaPipe's weights: "
        "scaled (per-channel weight scaling) or batch (trainable batch norms); auto: scaled for "
        "MediaPipe's weights, batch for random ones.",
        choices=["auto", "scaled", "batch"],
        advanced=True,
    )
    blazepose_freeze: int = _flag(
        NETWORK,
        "model",
        0,
        "BlazePose and its detector: number of leading convolutions to freeze. 11 of BlazePose are "
        "everything up to stride 4, most of the cost of a step; 18 of the detector, up to stride "
        "8.",
        minimum=0,
        maximum=96,
    )
    distillation_weight: float = _flag(
        NETWORK,
        "model",
        0.1,
        "BlazePose: weight of the distillation loss that keeps unlabeled outputs close to the "
        "original MediaPipe model.",
        minimum=0,
        advanced=True,
    )
    heatmap_weight: float = _flag(
        NETWORK,
        "model",
        2.0,
        "BlazePose: weight of the heatmap loss of labeled keypoints.",
        minimum=0,
        advanced=True,
    )
    presence_weight: float = _flag(
        NETWORK,
        "model",
        0.0,
        "BlazePose: weight of the loss of the presence score: 1 for views of labeled people, 0 for "
        "those of background (--regions). 0 keeps the original's score, which MediaPipe drops "
        "people by.",
        minimum=0,
        advanced=True,
    )
    positive_weight: float = _flag(
        NETWORK,
        "model",
        1.0,
        "BlazePose's detector: weight of people over background in the loss of scores.",
        minimum=0,
        advanced=True,
    )

    align: str = _flag(
        ALIGNMENT,
        "model",
        "person",
        "Region cropped for a person: the box, a square about it, BlazePose's square about the "
        "mid-hip, or, for its detector, the whole image.",
        choices=MODES,
    )
    align_rotate: bool = _flag(
        ALIGNMENT, "model", True, "Rotate BlazePose's region until the body is upright."
    )
    align_margin: float = _flag(
        ALIGNMENT,
        "model",
        1.25,
        "Side of BlazePose's region over the diameter of the circle around the body.",
        minimum=0.1,
        advanced=True,
    )
    align_radius: str = _flag(
        ALIGNMENT,
        "model",
        "body",
        "Radius of the circle around the body: to the farthest keypoint or outline point (body), "
        "1.15 times the farthest keypoint (keypoints), or 1.3 times the distance to the nose, the "
        "rule of tf-cpn's experiment log (nose).",
        choices=RADII,
        advanced=True,
    )
    align_missing: str = _flag(
        ALIGNMENT,
        "train",
        "square",
        "People whose keypoints do not define BlazePose's region: drop them, or crop the square "
        "box.",
        choices=["drop", "square"],
        in_eval=True,
    )
    regions: tuple[str, ...] = _flag(
        ALIGNMENT,
        "train",
        REGIONS[:1],
        "Regions that training views show, one drawn for each view: annotation; detector, what "
        "--detector finds in the training image; landmarks, that of the initial network's own "
        "landmarks, as in tracking. With background, up to a tenth of the views shows a part of "
        "the image without people instead, for --presence_weight.",
    )
    unmirror_labels: bool = _flag(
        ALIGNMENT,
        "train",
        False,
        "Exchange left and right of people whose labels clearly fit the initial network's "
        "keypoints only when they are exchanged.",
    )
    predict_align_points: bool = _flag(
        ALIGNMENT,
        "model",
        False,
        "Predict the mid-hip and the point above it on the circle as two more keypoints.",
    )

    train_records: str = _flag(
        DATA,
        "machine",
        "data/coco/records",
        "Folders of records, comma-separated; a:2,b:1 repeats the people of a twice in each pass.",
        path=True,
    )
    val_images: str = _flag(
        DATA, "eval", "data/coco/val2017", "Folder of the validation images.", path=True
    )
    val_annotations: str = _flag(
        DATA,
        "eval",
        "data/coco/annotations/person_keypoints_val2017.json",
        "COCO annotations of the validation images.",
        path=True,
    )
    strict: bool = _flag(
        DATA,
        "eval",
        False,
        "Refuse annotations and detections that would be repaired or that look wrong.",
        advanced=True,
    )
    filter_min_keypoints: int = _flag(
        DATA,
        "train",
        1,
        "Minimum number of labeled keypoints of a training person.",
        minimum=1,
        advanced=True,
    )
    filter_require: tuple[str, ...] = _flag(
        DATA,
        "train",
        (),
        "Keypoints that a training person must have labeled, such as nose,left_hip,right_hip.",
        advanced=True,
    )
    filter_max_people: int = _flag(
        DATA,
        "train",
        0,
        "Maximum number of labeled people in a training image; 0: any.",
        minimum=0,
        advanced=True,
    )
    filter_min_area: float = _flag(
        DATA,
        "train",
        0.0,
        "Minimum area of a training person in square pixels; COCO's medium starts at 1024.",
        minimum=0,
        advanced=True,
    )
    shuffle_buffer: int = _flag(
        DATA,
        "train",
        2048,
        "Size of the shuffle buffer in people; one crop of memory each.",
        minimum=1,
        advanced=True,
    )
    views: int = _flag(
        DATA,
        "train",
        VIEWS,
        "Views of each person in a step: tf-cpn's 4 (rescaled, mirrored, twice rotated), or 1 that "
        "is rescaled, rotated and randomly mirrored, for four times as many people per step.",
        minimum=1,
        maximum=VIEWS,
    )
    rescale_min: float = _flag(
        DATA,
        "train",
        0.7,
        "Minimum scale of the region shown in a view; the whole crop is shown from 1.25 on.",
        minimum=0.1,
        advanced=True,
    )
    rescale_max: float = _flag(
        DATA,
        "train",
        1.35,
        "Maximum scale of the region shown in a view.",
        minimum=0.1,
        advanced=True,
    )
    rotation: float = _flag(
        DATA,
        "train",
        45.0,
        "Maximum rotation of a view in degrees, in either direction.",
        minimum=0,
        maximum=180,
        advanced=True,
    )
    any_rotation: float = _flag(
        DATA,
        "train",
        0.0,
        "With --views=1: probability that a view is rotated by any angle instead.",
        minimum=0,
        maximum=1,
        advanced=True,
    )
    background_views: float = _flag(
        DATA,
        "train",
        0.0,
        "BlazePose's detector: probability that a view is zoomed to the widest part of the image "
        "without people.",
        minimum=0,
        maximum=1,
        advanced=True,
    )
    shift: float = _flag(
        DATA,
        "train",
        0.0,
        "With --views=1: maximum shift of a view along each axis, as a fraction of the region's "
        "side. Imitates a detector's errors.",
        minimum=0,
        maximum=0.5,
        advanced=True,
    )
    random_half_body: float = _flag(
        DATA,
        "train",
        0.0,
        "With --views=1: probability that a view shows only the upper or the lower body.",
        minimum=0,
        maximum=1,
        advanced=True,
    )
    random_erasing: float = _flag(
        DATA,
        "train",
        0.0,
        "Probability that a view is covered by a rectangle of one color.",
        minimum=0,
        maximum=1,
        advanced=True,
    )
    color_jitter: float = _flag(
        DATA,
        "train",
        0.0,
        "Maximum relative change of a view's contrast and saturation; brightness changes by up to "
        "half of it.",
        minimum=0,
        maximum=1,
        advanced=True,
    )

    batch_size: int = _flag(
        TRAINING, "train", 32, "Crops per replica and step, --views of each person.", minimum=1
    )
    epoch_size: int = _flag(
        TRAINING,
        "train",
        60000,
        "Crops per epoch. An epoch is a fixed number of steps, not a pass over the data.",
        minimum=1,
    )
    epochs: int = _flag(TRAINING, "machine", 400, "Number of epochs to train.", minimum=1)
    learning_rate: float = _flag(
        TRAINING, "train", 5e-4, "Initial learning rate of Adam.", minimum=0
    )
    lr_halving: int = _flag(
        TRAINING, "train", 60, "Epochs after which the learning rate is halved.", minimum=1
    )
    lr_cosine: bool = _flag(
        TRAINING,
        "train",
        False,
        "Cosine learning-rate decay to 0 at --epochs, instead of step decay.",
    )
    warmup_steps: int = _flag(
        TRAINING, "train", 0, "Steps of linear learning-rate warm-up from 0.", minimum=0
    )
    weight_decay: float = _flag(
        TRAINING,
        "train",
        1e-5,
        "Factor of the L2 loss over the convolution kernels.",
        minimum=0,
        advanced=True,
    )
    ema: float = _flag(
        TRAINING,
        "train",
        0.0,
        "Decay of the exponential moving average of the weights, e.g. 0.999; the average is what "
        "is evaluated, saved and exported. 0 disables it.",
        minimum=0,
        maximum=0.99999,
    )
    init_weights: str = _flag(
        TRAINING,
        "train",
        "auto",
        "Initial weights. A run, a checkpoint of one, or a SavedModel of tfcpn export: all its "
        "weights, those of keypoints by name. CPN: a TensorFlow 1 checkpoint of the backbone; "
        "keras: ImageNet weights of tf.keras.applications; none: random; auto: slim's checkpoint "
        "in data/imagenet if it exists, else random with a warning. BlazePose and its detector: "
        "MediaPipe's .tflite or .task file; auto: that of make models.",
        path=True,
    )
    keep_checkpoints: int = _flag(
        TRAINING,
        "machine",
        10,
        "Number of newest checkpoints to keep, besides every 50th; 0: all. A CPN's takes 0.3 GB, a "
        "third more with --ema.",
        minimum=0,
    )
    checkpoint_minutes: float = _flag(
        TRAINING,
        "machine",
        10.0,
        "Minutes between checkpoints within an epoch; 0: none.",
        minimum=0,
        advanced=True,
    )
    eval_every: int = _flag(
        TRAINING, "machine", 10, "Epochs between validations; 0: never.", minimum=0
    )

    mixed_precision: str = _flag(
        MACHINE,
        "train",
        "float32",
        "Precision of the layers; auto: the fastest that the hardware supports natively; tf32: "
        "float32 with shortened products on NVIDIA GPUs from the A100 on.",
        choices=["float32", "tf32", "bfloat16", "float16", "auto"],
        in_eval=True,
    )
    xla: bool = _flag(
        MACHINE,
        "machine",
        False,
        "Compile the network's part of a step with XLA, for GPUs (benchmark.py gpu measures the "
        "gain); slower on a CPU.",
        advanced=True,
    )
    device: str = _flag(
        MACHINE,
        "machine",
        "auto",
        "auto: GPU if available, else CPU (fails if an NVIDIA card is present but unusable); cpu; "
        "gpu: fail without a GPU.",
        choices=["auto", "cpu", "gpu"],
    )
    strategy: str = _flag(
        MACHINE,
        "train",
        "one",
        "one: one device; mirrored: all GPUs of the machine; multi_worker: those of all machines "
        "in TF_CONFIG.",
        choices=["one", "mirrored", "multi_worker"],
        in_eval=True,
    )
    data_service: str = _flag(
        MACHINE,
        "machine",
        "",
        "host:port of a tf.data service whose workers read, decode and crop; empty: this process "
        "does.",
        advanced=True,
    )
    deterministic: bool = _flag(
        MACHINE,
        "machine",
        False,
        "Produce the same bits in every run. Slower: on a CPU by the number of cores, on a GPU "
        "because layout optimization and fusion are off.",
        advanced=True,
    )

    epoch: str = _flag(
        EVALUATION, "eval", "latest", "Epochs to evaluate: numbers, comma-separated, or latest."
    )
    boxes: str = _flag(
        EVALUATION,
        "eval",
        "gt",
        "gt: annotated boxes; else a detector's results file in COCO format.",
        path=True,
    )
    align_source: str = _flag(
        EVALUATION,
        "eval",
        "gt",
        "Source of BlazePose's alignment points: the annotation (gt, an upper bound), the file in "
        "--boxes (detections), a first pass of the network over the square box (two_pass), or "
        "MediaPipe's detector on the whole image (detector).",
        choices=["gt", "detections", "two_pass", "detector"],
    )
    detector: str = _flag(
        EVALUATION,
        "eval",
        DEFAULT_DETECTION_MODEL,
        "With --align_source=detector or --regions=detector or background: MediaPipe's .tflite or "
        ".task file, or the run of a --network=blazepose_detector.",
        path=True,
        advanced=True,
    )
    first_pass_rotations: int = _flag(
        EVALUATION,
        "eval",
        1,
        "With --align_source=two_pass: number of quarter turns of the square box to try; the most "
        "confident one is used.",
        minimum=1,
        maximum=4,
        advanced=True,
    )
    eval_people: str = _flag(
        EVALUATION,
        "eval",
        "all",
        "People that count: all, or those with the keypoints of the alignment points.",
        choices=["all", "alignable"],
        advanced=True,
    )
    pck_norm: str = _flag(
        EVALUATION,
        "eval",
        "auto",
        "Reference length of PCK: torso (left shoulder to right hip), head (neck to head top) or "
        "the box's longer side; auto: the torso if the keypoints define it, else the box.",
        choices=["auto", "torso", "head", "box"],
        advanced=True,
    )
    flip_test: bool = _flag(
        EVALUATION, "eval", True, "Average each prediction with that of the mirrored crop."
    )
    decoder: str = _flag(
        EVALUATION,
        "eval",
        "tf_cpn",
        "CPN: sub-pixel decoding of heatmaps: tf_cpn, a quarter of a pixel towards the second "
        "peak; dark, a Newton step on the logarithm of the heatmap.",
        choices=["tf_cpn", "dark"],
    )
    result_nms: str = _flag(
        EVALUATION,
        "eval",
        "none",
        "Suppress duplicate poses: none, oks (OKS-NMS at --nms_oks) or soft (Soft-NMS).",
        choices=["none", "oks", "soft"],
        advanced=True,
    )
    nms_oks: float = _flag(
        EVALUATION,
        "eval",
        0.9,
        "OKS threshold of --result_nms=oks.",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )
    refine_landmarks: bool = _flag(
        EVALUATION,
        "eval",
        False,
        "BlazePose: move each keypoint to the mean of its heatmap around it, as MediaPipe's graph "
        "does.",
    )
    eval_batch_size: int = _flag(
        EVALUATION, "eval", 32, "Crops per forward pass.", minimum=1, advanced=True
    )

    def __post_init__(self):
        self.validate()

    def validate(self) -> None:
        """Check every value by itself and the values against each other.

        Raises:
            InputError: Naming the flag, its value and what is expected.
        """
        for field in dataclasses.fields(self):
            check_value(field, getattr(self, field.name))
        for is_wrong, message in CONFLICTS:
            if is_wrong(self):
                raise InputError(message(self) if callable(message) else message)

    @property
    def heatmap_size(self) -> tuple[int, int]:
        """(height, width) of the CPN's heatmaps."""
        return (self.input_size[0] // STRIDE, self.input_size[1] // STRIDE)

    @property
    def output_gain(self) -> float:
        """Initial gain of the CPN's output batch norms; 1 is tf-cpn's."""
        return self.heatmap_scale / TF_CPN_SCALE if self.scale_free else 1.0

    @property
    def data_loss_weight(self) -> float:
        """Factor of the data losses. Squared errors grow with the square of the heatmap scale."""
        return (TF_CPN_SCALE / self.heatmap_scale) ** 2 if self.scale_free else 1.0

    @property
    def training_margin(self) -> float:
        """Side of a training crop over that of the region. Shifted views reach further."""
        if self.align == "image":
            return 1.0  # there is nothing outside
        margin = TRAINING_MARGIN * (1 + 2 * self.shift)
        return REGIONS_MARGIN * margin if other_regions(self.regions) else margin


FIELDS = {field.name: field for field in dataclasses.fields(Config)}


def fields_of_scope(*scopes: str) -> list[str]:
    """Return the names of the fields of some scopes, see `_flag`."""
    return [name for name, field in FIELDS.items() if field.metadata["scope"] in scopes]


# The settings that metrics.json reports: all that decides the weights and their evaluation.
REPORTED = [
    name
    for name in fields_of_scope("model", "train", "eval")
    if name not in ("epoch", "eval_batch_size", "strict")
]


# An evaluation takes the flags of a training, so that both take the same flagfile.
_TRAINING_ONLY = ("xla", "data_service")


def _default(cfg: Config, name: str):
    return NETWORK_DEFAULTS.get(cfg.network, {}).get(name, FIELDS[name].default)


def check_flags_apply(cfg: Config, explicit: Collection[str], evaluating: bool = False) -> None:
    """Refuse flags that would have no effect.

    Args:
        cfg: The settings in use, those of an earlier run included.
        explicit: Names of the flags that the command line or a flagfile sets. Flags that are set to
            their defaults are accepted.
        evaluating: Whether nothing is trained.

    Raises:
        InputError: Naming the first flag without effect and what it is for.
    """
    for requirement in REQUIREMENTS:
        for name in sorted(set(explicit) & set(requirement.flags)):
            if getattr(cfg, name) != _default(cfg, name) and not requirement.is_met(cfg):
                raise InputError(f"--{name} has no effect here: it needs {requirement.needs}")
    for name in sorted(set(explicit) & set(_TRAINING_ONLY)) if evaluating else ():
        if getattr(cfg, name) != FIELDS[name].default:
            raise InputError(f"--{name} has no effect here: it is for training")


def default_experiment(values: dict) -> str:
    """Return the name of a run by its differences to the baseline.

    Args:
        values: The values of a Config by name.
    """
    if values["network"] == "blazepose_detector":
        return values["network"]
    if values["network"] == "blazepose":
        suffix = "_scratch" if values["init_weights"] == "none" else ""
        return f"blazepose_{values['blazepose_size']}{suffix}"
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


def make_config(values: dict, explicit: Collection[str] = ()) -> Config:
    """Complete the values of flags to a Config.

    Args:
        values: Values by name; missing ones have their defaults.
        explicit: Names of the values that were set by the user. The others get the defaults of the
            network.

    Raises:
        InputError: For values that no run can have.
    """
    values = {name: field.default for name, field in FIELDS.items()} | values
    if values["network"] in NETWORK_DEFAULTS:
        defaults = NETWORK_DEFAULTS[values["network"]].items()
        values |= {name: value for name, value in defaults if name not in explicit}
    if values["network"] == "blazepose" and values["blazepose_norm"] == "auto":
        values["blazepose_norm"] = "batch" if values["init_weights"] == "none" else "scaled"
    values["experiment"] = values["experiment"] or default_experiment(values)
    values["model_dir"] = values["model_dir"] or os.path.join("runs", values["experiment"])
    return Config(**values)
