import dataclasses
import json
import math

import pytest

from support.parsing import parse
from tfcpn import builders
from tfcpn.checkpoints import run_config
from tfcpn.checkpoints.manager import CheckpointManager
from tfcpn.checkpoints.run_config import Run
from tfcpn.config import FIELDS, REMOVED_FIELDS, RENAMED_FIELDS, Config
from tfcpn.models.specs import SCOPES, UNITS
from tfcpn.skeleton import COCO, from_names, to_dict
from tfcpn.training.schedule import learning_rate
from tfcpn.utils.errors import InputError


def test_the_defaults_are_the_baseline():
    cfg, _ = parse()
    assert dataclasses.replace(cfg, experiment="", model_dir="") == Config()
    assert cfg.experiment == "resnet50_256x192" and cfg.model_dir == "runs/resnet50_256x192"
    assert cfg.heatmap_size == (64, 48)


def test_a_run_is_named_after_the_changed_settings():
    cfg, _ = parse("--heatmap_scale=1", "--align=square", "--input_size=256x256")
    assert cfg.experiment == "resnet50_256x256_scale1_square"


def test_the_learning_rate_halves_every_sixty_epochs():
    cfg = Config()
    rates = [learning_rate(cfg, 10 * (epoch - 1), 10) for epoch in (1, 60, 61, 120, 121, 400)]
    assert rates == [5e-4, 5e-4, 2.5e-4, 2.5e-4, 1.25e-4, 5e-4 / 64]


def test_the_cosine_schedule_falls_from_the_given_rate_to_0():
    cfg = Config(lr_cosine=True, learning_rate=4e-3, epochs=8)
    rates = [learning_rate(cfg, 10 * epoch + 9, 10) for epoch in range(8)]
    assert rates == sorted(rates, reverse=True)
    # In the middle of an epoch: a sixteenth of the half circle from either end.
    assert rates[0] == pytest.approx(2e-3 * (1 + math.cos(math.pi / 16)))
    assert rates[7] == pytest.approx(4e-3 - rates[0])
    assert sum(rates) / 8 == pytest.approx(2e-3)


@pytest.mark.parametrize(
    "word, message",
    [
        ("--input_size=250x192", "multiples of 32"),
        ("--input_size=256", "expected HEIGHTxWIDTH"),
        ("--batch_size=30", "multiple of 4"),
        ("--label_kernels=15,11,9", "four odd sizes"),
        ("--label_kernels=15,11,9,8", "four odd sizes"),
        ("--rescale_min=2", "--rescale_max is below"),
        ("--random_half_body=0.3", "use --views=1"),
    ],
)
def test_an_invalid_value_is_refused(word, message):
    with pytest.raises(InputError, match=message):
        parse(*word.split())


def test_a_config_is_read_back_from_the_file(tmp_path):
    cfg = Config(experiment="x", model_dir=str(tmp_path), input_size=(128, 96))
    run_config.save_run(Run(cfg))
    assert run_config.load_run(tmp_path) == Run(cfg)


def test_a_run_resumes_only_with_the_same_settings(tmp_path):
    cfg = Config(model_dir=str(tmp_path), mixed_precision="bfloat16", init_weights="none")
    run_config.save_run(Run(cfg))
    other = dataclasses.replace(cfg, backbone="resnet101", heatmap_scale=1.0)
    assert (
        run_config.resume_config(other) == other
    )  # a run without a checkpoint may be restarted with other settings
    (tmp_path / "checkpoints/epoch_0001").mkdir(parents=True)
    longer = dataclasses.replace(
        cfg, epochs=500, eval_every=1, mixed_precision="auto", init_weights="auto"
    )
    resumed = run_config.resume_config(longer)
    assert (resumed.epochs, resumed.mixed_precision, resumed.init_weights) == (
        500,
        "bfloat16",
        "none",
    )
    with pytest.raises(
        InputError, match=r"backbone: resnet50 -> resnet101; heatmap_scale: 255.0 -> 1.0"
    ):
        run_config.resume_config(other)


def test_a_cosine_run_resumes_only_with_the_same_epochs(tmp_path):
    cfg = Config(model_dir=str(tmp_path), lr_cosine=True, epochs=8)
    run_config.save_run(Run(cfg))
    (tmp_path / "checkpoints/epoch_0001").mkdir(parents=True)
    with pytest.raises(InputError, match="epochs: 8 -> 16, on which --lr_cosine depends"):
        run_config.resume_config(dataclasses.replace(cfg, epochs=16))


def test_evaluation_takes_the_architecture_of_the_run(tmp_path):
    run_config.save_run(
        Run(
            Config(
                model_dir=str(tmp_path),
                backbone="resnet101",
                val_images="val_folder",
                flip_test=True,
            )
        )
    )
    cfg, given = parse(f"--model_dir={tmp_path}", "--epoch=3", "--noflip_test", "--boxes=d.json")
    cfg = run_config.evaluation_config(cfg, given).config
    assert (cfg.backbone, cfg.val_images, cfg.epoch, cfg.flip_test, cfg.boxes) == (
        "resnet101",
        "val_folder",
        "3",
        False,
        "d.json",
    )
    cfg, given = parse(f"--model_dir={tmp_path}", "--backbone=resnet50")
    with pytest.raises(InputError, match="was trained with other settings"):
        run_config.evaluation_config(cfg, given)


def test_a_run_goes_on_with_what_its_detector_found_although_that_trained_on(tmp_path, caplog):
    started = {"records": {"annotations_sha256": "a"}, "detector": "0001"}
    assert run_config.check_same_data(tmp_path, COCO, started) == started
    run_config.save_run(Run(Config(model_dir=str(tmp_path)), COCO, started))
    (tmp_path / "checkpoints/epoch_0001").mkdir(parents=True)
    assert run_config.check_same_data(tmp_path, COCO, started) == started
    assert not caplog.messages
    now = {**started, "detector": "0002"}
    assert run_config.check_same_data(tmp_path, COCO, now) == started
    assert "--detector has changed" in caplog.text
    with pytest.raises(InputError, match="trained on other records .annotations differ."):
        run_config.check_same_data(tmp_path, COCO, {"records": {"annotations_sha256": "b"}})


def test_settings_that_do_not_change_the_function_may_change_in_a_run(tmp_path):
    run_config.save_run(Run(Config(model_dir=str(tmp_path))))
    (tmp_path / "checkpoints/epoch_0001").mkdir(parents=True)
    cfg, given = parse(f"--model_dir={tmp_path}", "--late_upsampling")
    assert run_config.resume_config(cfg, given).late_upsampling
    run_config.evaluation_config(cfg, given)


def test_a_folder_without_a_run_and_a_damaged_config_are_named(tmp_path):
    with pytest.raises(InputError, match="contains no run"):
        run_config.load_run(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"nonsense": 1}))
    with pytest.raises(InputError, match="not the config.json of a run"):
        run_config.load_run(tmp_path)


def test_a_resumed_run_keeps_checkpoints_as_before_by_default(tmp_path):
    """The run may be older than the default that deletes some."""
    run_config.save_run(Run(Config(model_dir=str(tmp_path), keep_checkpoints=0)))
    (tmp_path / "checkpoints/epoch_0001").mkdir(parents=True)
    cfg, given = parse(f"--model_dir={tmp_path}")
    assert run_config.resume_config(cfg, given).keep_checkpoints == 0
    cfg, given = parse(f"--model_dir={tmp_path}", "--keep_checkpoints=3")
    assert run_config.resume_config(cfg, given).keep_checkpoints == 3


def test_a_run_stores_the_skeleton_and_older_runs_use_coco(tmp_path):
    animal = from_names("animal", ("jaw", "left_wing", "right_wing"))
    run_config.save_run(Run(Config(model_dir=str(tmp_path)), animal))
    assert run_config.load_run(tmp_path).skeleton == animal
    values = json.loads((tmp_path / "config.json").read_text())
    del values["keypoints"], values["skeleton"], values["network"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert run_config.load_run(tmp_path).skeleton == COCO


def test_a_path_may_begin_with_the_home_directory(monkeypatch):
    monkeypatch.setenv("HOME", "/home/user")
    cfg, _ = parse("--model_dir=~/runs/a", "--val_images=~/val", "--boxes=~/d.json")
    assert (cfg.model_dir, cfg.val_images) == ("/home/user/runs/a", "/home/user/val")
    assert cfg.boxes == "/home/user/d.json"
    assert parse()[0].boxes == "gt"


def test_choices_of_flags_equal_the_registered_builders():
    assert tuple(builders.NETWORK_BUILDERS) == FIELDS["network"].metadata["choices"]
    assert builders.build_components(parse()[0], COCO).network.name == "cpn"
    assert list(UNITS) == list(SCOPES)


def test_a_run_of_1_x_is_read(tmp_path):
    values = dataclasses.asdict(Config(model_dir=str(tmp_path), distillation_weight=0.5))
    values["held_weight"] = values.pop("distillation_weight")
    values |= {"align_radius": "joints", "output_gain": 1.0, "heatmap_epochs": 0}
    values["joints"] = {**to_dict(COCO), "joints": list(COCO.keypoints)}
    del values["joints"]["keypoints"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    run = run_config.load_run(tmp_path)
    assert (run.config.distillation_weight, run.config.align_radius) == (0.5, "keypoints")
    assert run.skeleton == COCO
    (tmp_path / "snapshots/snapshot_0003").mkdir(parents=True)
    assert CheckpointManager(tmp_path).epochs() == [3]


def test_a_run_of_1_x_with_a_removed_flag_is_refused(tmp_path):
    values = {**dataclasses.asdict(Config()), "decoupled_decay": True}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"--decoupled_decay was removed in 2.0; use tfcpn 1.0"):
        run_config.load_run(tmp_path)


@pytest.mark.parametrize("old, new", [*RENAMED_FIELDS.items()])
def test_a_renamed_flag_reports_the_new_name(old, new):
    with pytest.raises(InputError, match=f"^--{old} is now --{new}$"):
        parse(f"--{old}=1")


@pytest.mark.parametrize("name", REMOVED_FIELDS)
def test_a_removed_flag_is_reported(name):
    with pytest.raises(
        InputError, match=f"^--{name} was removed in 2.0; docs/notes/experiments.md"
    ):
        parse(f"--{name}=1")
