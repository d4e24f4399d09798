from pathlib import Path

import pytest
from test_config import parse

from tfcpn.config import Config

FLAGS = Path(__file__).parent.parent / "flags"
BASE = {"backbone": "resnet50", "input_size": (256, 192), "label_kernels": (15, 11, 9, 7), "batch_size": 32}
LARGE = {"input_size": (384, 288), "label_kernels": (23, 17, 13, 9), "batch_size": 24}
ROWS = {
    "resnet50_256x192": BASE,
    "resnet101_256x192": {**BASE, "backbone": "resnet101"},
    "resnet50_384x288": {**BASE, **LARGE},
    "resnet101_384x288": {**BASE, **LARGE, "backbone": "resnet101"},
    "demo": {"experiment": "demo", "input_size": (128, 96), "heatmap_scale": 255, "rotation": 45, "rescale_min": 0.7},
    "smoke": {"experiment": "smoke", "input_size": (64, 64), "epochs": 2, "train_records": "data/demo/records"},
}
RECIPE = {"heatmap_scale": 255, "align": "person", "epoch_size": 60000, "epochs": 400, "learning_rate": 5e-4}
RECIPE |= {"lr_halving": 60, "weight_decay": 1e-5, "rescale_min": 0.7, "rescale_max": 1.35, "rotation": 45}


def parse_file(name, monkeypatch):
    monkeypatch.chdir(FLAGS.parent)
    return parse(f"--flagfile=flags/{name}.cfg")[0]


def test_every_flagfile_is_in_the_table():
    assert {path.stem for path in FLAGS.iterdir()} == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_a_flagfile_makes_its_experiment(name, monkeypatch):
    cfg = parse_file(name, monkeypatch)
    for field, value in ROWS[name].items():
        assert getattr(cfg, field) == value, field


@pytest.mark.parametrize("name", [name for name in ROWS if name.startswith("resnet")])
def test_a_flagfile_of_tf_cpn_keeps_the_recipe_and_names_its_run_after_itself(name, monkeypatch):
    cfg = parse_file(name, monkeypatch)
    assert {field: getattr(cfg, field) for field in RECIPE} == RECIPE
    assert cfg.experiment == name


def test_the_baselines_file_says_what_the_defaults_are(monkeypatch):
    assert parse_file("resnet50_256x192", monkeypatch) == parse()[0]
    assert Config().heatmap_scale == 255
