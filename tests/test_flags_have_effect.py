"""Every flag has an effect in every mode that accepts it, or is refused in one line."""

import dataclasses

import pytest

from support.commands import ROOT
from support.parsing import parse
from tfcpn.config import _TRAINING_ONLY as TRAINING_ONLY
from tfcpn.config import EVALUATION, FIELDS, Config, check_flags_apply
from tfcpn.config_rules import NETWORK_DEFAULTS
from tfcpn.utils.errors import InputError

# A value other than the default, for every flag.
OTHER = {
    **{"experiment": "x", "model_dir": "x", "seed": 1, "skeleton": "lsp", "network": "blazepose"},
    **{
        "backbone": "resnet101",
        "input_size": (64, 64),
        "blazepose_size": "lite",
        "blazepose_norm": "batch",
    },
    **{
        "blazepose_freeze": 11,
        "distillation_weight": 0.5,
        "heatmap_weight": 1.0,
        "heatmap_scale": 1.0,
    },
    **{"scale_free": True, "presence_weight": 0.1, "positive_weight": 2.0},
    **{"regions": ("annotation", "detector"), "unmirror_labels": True},
    **{
        "batch_norm_momentum": 0.9,
        "late_upsampling": True,
        "hard_keypoints": 17,
        "label_kernels": (9, 7, 5, 3),
    },
    **{"align": "square", "align_rotate": False, "align_margin": 1.5, "align_radius": "nose"},
    **{
        "align_missing": "drop",
        "predict_align_points": True,
        "train_records": "x",
        "val_images": "x",
    },
    **{
        "val_annotations": "x",
        "strict": True,
        "filter_min_keypoints": 5,
        "filter_require": ("nose",),
        "filter_max_people": 3,
    },
    **{
        "filter_min_area": 9.0,
        "shuffle_buffer": 9,
        "views": 1,
        "rescale_min": 0.9,
        "rescale_max": 1.2,
    },
    **{
        "rotation": 5.0,
        "shift": 0.1,
        "any_rotation": 0.3,
        "background_views": 0.2,
        "random_half_body": 0.1,
        "random_erasing": 0.1,
        "color_jitter": 0.1,
    },
    **{
        "batch_size": 4,
        "epoch_size": 8,
        "epochs": 9,
        "learning_rate": 0.1,
        "lr_halving": 3,
        "lr_cosine": True,
    },
    **{"warmup_steps": 3, "weight_decay": 0.1, "ema": 0.9, "init_weights": "keras"},
    **{
        "keep_checkpoints": 3,
        "checkpoint_minutes": 1.0,
        "eval_every": 3,
        "mixed_precision": "bfloat16",
    },
    **{
        "xla": True,
        "device": "cpu",
        "strategy": "mirrored",
        "data_service": "a:1",
        "deterministic": True,
    },
    **{
        "epoch": "3",
        "boxes": "x",
        "align_source": "two_pass",
        "detector": "x",
        "first_pass_rotations": 4,
    },
    **{"eval_people": "alignable", "pck_norm": "box", "flip_test": False, "decoder": "dark"},
    **{"result_nms": "oks", "nms_oks": 0.5, "refine_landmarks": True, "eval_batch_size": 3},
}
CPN = {"backbone", "heatmap_scale", "scale_free"}
CPN |= {"label_kernels", "batch_norm_momentum", "late_upsampling", "hard_keypoints"}
OF_BLAZEPOSE = {
    "blazepose_size",
    "blazepose_norm",
    "blazepose_freeze",
    "distillation_weight",
    "heatmap_weight",
    "presence_weight",
    "unmirror_labels",
}
OF_BLAZEPOSE |= {"refine_landmarks"}
OF_DETECTOR = {"positive_weight", "background_views"}
REGION = {"align_rotate", "align_margin", "align_missing", "align_source", "align_radius"}
REGION |= {"regions"}
OF_KEYPOINTS = {"boxes", "decoder", "eval_batch_size", "eval_people", "flip_test", "pck_norm"}
OF_KEYPOINTS |= {"predict_align_points", "random_half_body", "result_nms"}
UNASKED = {"first_pass_rotations", "detector", "nms_oks"}  # of settings not requested directly
MEDIAPIPE = {"network": "blazepose", **NETWORK_DEFAULTS["blazepose"]}
DETECTOR = {"network": "blazepose_detector", **NETWORK_DEFAULTS["blazepose_detector"]}
SQUARE_REGION = {"align": "blazepose", "input_size": (256, 256)}
# Flags that other flags need, and flags that MediaPipe's network excludes.
COMPANIONS = {
    "shift": {"views": 1},
    "any_rotation": {"views": 1},
    "regions": {"views": 1},
    "random_half_body": {"views": 1},
}
IMPOSSIBLE = {
    "mediapipe": {"input_size", "decoder"},
    "mediapipe, random": {"input_size", "decoder", "blazepose_freeze"},
    "detector": {"input_size"},
}
# Mode: settings, and refused flags.
MODES = {
    "cpn": ({}, OF_BLAZEPOSE | REGION | UNASKED),
    "cpn, square": ({"align": "square"}, OF_BLAZEPOSE | REGION | UNASKED),
    "cpn, aligned": (SQUARE_REGION, OF_BLAZEPOSE | UNASKED),
    "cpn, its points": (
        {"predict_align_points": True},
        OF_BLAZEPOSE | REGION - {"align_radius"} | UNASKED,
    ),
    "cpn, two passes": (
        {**SQUARE_REGION, "align_source": "two_pass"},
        OF_BLAZEPOSE | UNASKED - {"first_pass_rotations"},
    ),
    "cpn, detector": (
        {**SQUARE_REGION, "align_source": "detector"},
        OF_BLAZEPOSE | UNASKED - {"detector"},
    ),
    "cpn, nms": ({"result_nms": "oks"}, OF_BLAZEPOSE | REGION | UNASKED - {"nms_oks"}),
    "cpn, cosine": ({"lr_cosine": True}, OF_BLAZEPOSE | REGION | UNASKED | {"lr_halving"}),
    "mediapipe": (MEDIAPIPE, CPN | UNASKED),
    "mediapipe, random": (
        {**MEDIAPIPE, "init_weights": "none"},
        CPN | UNASKED | {"distillation_weight", "unmirror_labels"},
    ),
}
MODES = {mode: (given, refused | OF_DETECTOR) for mode, (given, refused) in MODES.items()}
MODES["detector"] = (
    DETECTOR,
    CPN | OF_BLAZEPOSE - {"blazepose_freeze"} | REGION - {"align_missing"} | UNASKED | OF_KEYPOINTS,
)
# Flags that define the mode.
DECIDING = {
    "network",
    "align",
    "align_source",
    "result_nms",
    "lr_cosine",
    "predict_align_points",
    "init_weights",
    "epochs",
}


def test_the_table_has_every_flag():
    assert set(OTHER) == set(FIELDS)
    assert all(getattr(Config(), name) != value for name, value in OTHER.items())


@pytest.mark.parametrize("evaluating", [False, True], ids=["train", "eval"])
@pytest.mark.parametrize("mode", MODES)
def test_a_flag_acts_or_is_refused(mode, evaluating):
    settings, refused = MODES[mode]
    refused = refused | set(TRAINING_ONLY) if evaluating else refused
    for name in sorted(set(FIELDS) - (DECIDING - refused)):
        changes = {**COMPANIONS.get(name, {}), name: OTHER[name]}
        if name in IMPOSSIBLE.get(mode, ()):
            with pytest.raises(InputError, match="^--"):
                dataclasses.replace(Config(**settings), **changes)
            continue
        cfg = dataclasses.replace(Config(**settings), **changes)
        if name not in refused:
            check_flags_apply(cfg, {name}, evaluating)
            continue
        with pytest.raises(InputError, match=f"^--{name} has no effect here: it (needs|is for) "):
            check_flags_apply(cfg, {name}, evaluating)
        # Setting the default value, or keeping that of a run, is accepted.
        check_flags_apply(cfg, set(), evaluating)
        check_flags_apply(Config(**settings), {name}, evaluating)


@pytest.mark.parametrize("path", sorted((ROOT / "flags").glob("*.cfg")), ids=lambda path: path.stem)
@pytest.mark.parametrize("evaluating", [False, True], ids=["train", "eval"])
def test_no_flagfile_has_a_flag_without_effect(path, evaluating, monkeypatch):
    monkeypatch.chdir(ROOT)
    check_flags_apply(*parse(f"--flagfile=flags/{path.name}"), evaluating)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_values_that_are_not_numbers_are_refused(value):
    numbers = [name for name, field in FIELDS.items() if field.type == "float"]
    assert len(numbers) > 15
    for name in numbers:
        with pytest.raises(InputError, match=f"--{name}="):
            parse(f"--{name}={value}")


def test_commands_refuse_them_before_anything_is_read(command, tmp_path):
    failed = command(
        "-m", "tfcpn.train", "--refine_landmarks", f"--model_dir={tmp_path / 'run'}", check=False
    )
    assert failed.status == 1
    assert (
        failed.err.strip()
        == "error: --refine_landmarks has no effect here: it needs --network=blazepose"
    )


@pytest.mark.parametrize(
    "arguments, printed",
    [
        (
            ["--draw_regions", "--nodraw"],
            "--draw_regions has no effect here: it is for drawn files",
        ),
        (["--port=9000"], "--port has no effect here: it is for --serve"),
        (["--max_upload_mb=3"], "--max_upload_mb has no effect here: it is for --serve"),
        (["--boxes=image", "--nonms"], "--nms has no effect here: it is for --boxes=detect"),
        (["--boxes=image", "--tiles=2"], "--tiles has no effect here: it is for --boxes=detect"),
        (["--serve", "--csv"], "--csv has no effect here: it is for files, not for --serve"),
        (["--serve", "--nodraw"], "--draw has no effect here: it is for files, not for --serve"),
        (
            ["--serve", "--overwrite"],
            "--overwrite has no effect here: it is for files, not for --serve",
        ),
        (["--serve", "--draw_regions"], "--draw_regions has no effect here: it is for drawn files"),
    ],
)
def test_flags_of_predict_act_or_are_refused(command, people, tmp_path, arguments, printed):
    place = [] if "--serve" in arguments else [f"--output={tmp_path / 'out'}", people.val]
    failed = command("-m", "tfcpn.predict", *arguments, *place, check=False)
    assert failed.status == 1 and printed in failed.err, failed.err


def test_a_score_threshold_without_results_is_refused(command, people):
    arguments = [
        f"--annotations={people.val_annotations}",
        f"--images={people.val}",
        "--score_threshold=0.5",
    ]
    failed = command("tools/draw_poses.py", *arguments, check=False)
    assert failed.status == 1 and "--score_threshold=0.5 needs --results" in failed.err


@pytest.mark.parametrize(
    "tool", ["tools/export.py --output=x", "tools/show_batch.py --output=x.png"]
)
def test_a_missing_device_is_reported_by_every_command(
    command, tool, people, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    arguments = [
        *tool.split(),
        "--device=gpu",
        f"--train_records={people.records}",
        f"--model_dir={tmp_path}",
    ]
    failed = command(*arguments, check=False)
    assert failed.status == 1 and "--device=gpu: there is no GPU here" in failed.err, failed.err


def test_every_flag_of_evaluation_is_in_a_group():
    assert {name for name, field in FIELDS.items() if field.metadata["group"] == EVALUATION} <= set(
        OTHER
    )
