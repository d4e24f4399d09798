import dataclasses
import json

import pytest

from support import parsing
from support.parsing import parse, parse_file, parse_row
from tfcpn.checkpoints import run_config
from tfcpn.checkpoints.run_config import Run
from tfcpn.config import FIELDS, REPORTED, Config, fields_of_scope

BASE = {
    "backbone": "resnet50",
    "input_size": (256, 192),
    "label_kernels": (15, 11, 9, 7),
    "batch_size": 32,
}
LARGE = {"input_size": (384, 288), "label_kernels": (23, 17, 13, 9), "batch_size": 24}
SCALE1 = {**BASE, "heatmap_scale": 1}
SQUARE = {**BASE, "align": "square", "input_size": (256, 256), "heatmap_scale": 255}
ALIGNED = {
    **BASE,
    "align": "blazepose",
    "input_size": (256, 256),
    "heatmap_scale": 255,
    "align_margin": 1.25,
}
LOGS_WAY = {**ALIGNED, "align_radius": "nose", "align_missing": "drop", "align_source": "gt"}
LOGS_WAY |= {
    "experiment": "align_blazepose_norotate",
    "align_rotate": False,
    "predict_align_points": False,
    "flip_test": True,
    "eval_people": "all",
}
NOFLIP = {"flip_test": False}
# One training, with three evaluations.
SHARED = {"experiment": "resnet50_256x192"}
LOG = {
    "tf_cpn": {
        **BASE,
        "heatmap_scale": 255,
        "epoch": "350",
    }
    | SHARED,
    "scale255": {**BASE, "heatmap_scale": 255, "boxes": "gt", "flip_test": True, "epoch": "350,400"}
    | SHARED,
    "scale1": {
        **SCALE1,
        "boxes": "gt",
        "scale_free": False,
        "epochs": 950,
        "epoch": "350,400,500,600,700,950",
    },
    "scale1_free": {**SCALE1, "scale_free": True, "epochs": 400},
    "square": {**SQUARE, "flip_test": True, "epoch": "350,400"},
    "square_noflip": {**SQUARE, **NOFLIP, "experiment": "square", "epoch": "350,400"},
    "norotate": {**LOGS_WAY, "epoch": "400"},
    "norotate_noflip": {**LOGS_WAY, **NOFLIP, "epoch": "200,350"},
    "norotate_alignable": {
        **{**LOGS_WAY, **NOFLIP},
        **{"eval_people": "alignable", "epoch": "200,350,400"},
    },
    "rotate": {**LOGS_WAY, "align_rotate": True, "experiment": "align_blazepose_rotate"},
    "points": {
        **{**LOGS_WAY, "align_rotate": True, "predict_align_points": True},
        "experiment": "align_blazepose_points",
    },
    "filtered": {
        **BASE,
        "filter_min_keypoints": 5,
        "filter_max_people": 10,
        "filter_min_area": 1024,
        "filter_require": (),
    },
    "align_blazepose": {
        **{**ALIGNED, "align_rotate": True, "align_radius": "body", "align_missing": "square"},
        **{
            "predict_align_points": True,
            "align_source": "two_pass",
            "first_pass_rotations": 4,
            "flip_test": True,
        },
    },
}
MODERN = {"heatmap_scale": 1, "scale_free": True, "views": 1, "lr_cosine": True, "decoder": "dark"}
MODERN |= {"late_upsampling": True}
ROWS = {
    **LOG,
    "resnet101_256x192": {**BASE, "backbone": "resnet101"},
    "resnet50_384x288": {**BASE, **LARGE},
    "resnet101_384x288": {**BASE, **LARGE, "backbone": "resnet101"},
    "mediapipe_finetune": {
        **{
            "network": "blazepose",
            "input_size": (256, 256),
            "align": "blazepose",
            "blazepose_norm": "scaled",
        },
        **{
            "views": 1,
            "lr_cosine": True,
            "weight_decay": 0,
            "flip_test": False,
            "refine_landmarks": True,
        },
    },
    "mediapipe_detector": {
        "network": "blazepose_detector",
        "input_size": (224, 224),
        "blazepose_freeze": 18,
        "any_rotation": 0.4,
        "lr_cosine": True,
    },
    "demo_faithful": {
        **{
            "experiment": "demo_faithful",
            "input_size": (128, 96),
            "heatmap_scale": 255,
            "rotation": 45,
            "views": 4,
        },
        **{
            "rescale_min": 0.7,
            "epochs": 28,
            "ema": 0,
            "decoder": "tf_cpn",
            "late_upsampling": False,
        },
    },
    "demo": {
        **{
            "experiment": "demo",
            "input_size": (96, 64),
            "epochs": 4,
            "batch_norm_momentum": 0.95,
            **MODERN,
        },
        **{"learning_rate": 4e-3, "hard_keypoints": 17, "rotation": 20, "warmup_steps": 40},
        **{"ema": 0.97, "batch_size": 8, "epoch_size": 640},
    },
    "demo_128x96": {
        **{
            "experiment": "demo_128x96",
            "input_size": (128, 96),
            "epochs": 7,
            "batch_norm_momentum": 0.95,
            **MODERN,
        },
        **{"learning_rate": 4e-3, "hard_keypoints": 17, "rotation": 20, "warmup_steps": 50},
        **{"ema": 0.98, "batch_size": 16, "epoch_size": 800},
    },
    "modern": {
        "experiment": "modern",
        "input_size": (256, 192),
        "epochs": 200,
        "warmup_steps": 500,
        **MODERN,
    },
}
RECIPE = {
    "heatmap_scale": 255,
    "align": "person",
    "epoch_size": 60000,
    "epochs": 400,
    "learning_rate": 5e-4,
}
RECIPE |= {
    "lr_halving": 60,
    "weight_decay": 1e-5,
    "rescale_min": 0.7,
    "rescale_max": 1.35,
    "rotation": 45,
}


# Settings that a run cannot change.
FIXED = fields_of_scope("model", "train")


def test_every_row_of_the_page_is_in_the_table():
    assert set(parsing.ROWS) == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_each_row_gives_the_settings_of_the_table(name, monkeypatch):
    cfg, _ = parse_row(name, monkeypatch)
    for field, value in ROWS[name].items():
        assert getattr(cfg, field) == value, field


@pytest.mark.parametrize("name", LOG)
def test_a_row_of_the_log_differs_from_the_baseline_only_as_in_the_table(name, monkeypatch):
    cfg, _ = parse_row(name, monkeypatch)
    changed = {field for field in FIELDS if getattr(cfg, field) != getattr(parse()[0], field)}
    assert changed <= set(ROWS[name]) | {"experiment", "model_dir", "epoch"}
    expected = ROWS[name].get("experiment", name)
    assert (cfg.experiment, cfg.model_dir) == (expected, f"runs/{expected}")


@pytest.mark.parametrize("name", [name for name in ROWS if name.startswith("resnet")])
def test_a_row_of_tf_cpn_keeps_the_recipe_and_is_the_name_of_the_run(name, monkeypatch):
    cfg, _ = parse_row(name, monkeypatch)
    assert {field: getattr(cfg, field) for field in RECIPE} == RECIPE
    assert cfg.experiment == name


def test_the_baseline_file_equals_the_defaults(monkeypatch):
    assert parse_file("resnet50_256x192", monkeypatch) == parse()[0]
    assert Config().heatmap_scale == 255


def test_the_smoke_run_takes_seconds(monkeypatch):
    cfg = parse_file("smoke", monkeypatch)
    assert (cfg.experiment, cfg.input_size, cfg.epochs) == ("smoke", (64, 64), 2)
    assert cfg.epoch_size == 32 and cfg.train_records == "data/demo/records"


def test_an_evaluation_by_a_row_does_not_depend_on_the_row_that_trained_the_run(
    monkeypatch, tmp_path
):
    """Rows that share a folder must each set the values that the other rows change."""
    parsed = {name: parse_row(name, monkeypatch) for name in ROWS}
    shared = 0
    for name, (cfg, given) in parsed.items():
        found = set()
        for sibling, (other, _) in parsed.items():
            if other.model_dir == cfg.model_dir and not run_config.differences(cfg, other, FIXED):
                place = str(tmp_path / name / sibling)
                run_config.save_run(Run(dataclasses.replace(other, model_dir=place)))
                run = run_config.evaluation_config(dataclasses.replace(cfg, model_dir=place), given)
                evaluated = {
                    n: v for n, v in dataclasses.asdict(run.config).items() if n in REPORTED
                }
                found.add(json.dumps(evaluated, default=str))
                shared += sibling != name
        assert len(found) == 1, name
    assert shared >= 10
