"""Checkpoints of the original: written in TensorFlow 1 with the listed variable names, then
converted."""

import json

import numpy as np
import pytest
import tensorflow as tf

from support import recipe
from support.parsing import parse
from support.small_run import weights
from support.tf1_files import write_tf1
from tfcpn.checkpoints import run_config
from tfcpn.checkpoints.manager import CheckpointManager, TrainingPosition
from tfcpn.models import pretrained
from tfcpn.models.cpn import build_cpn, cpn_network
from tfcpn.models.model import variables_by_name
from tfcpn.utils.errors import InputError


def original(backbone="50", size="256x192"):
    """Return the variables of an original checkpoint, with the values of the recipe, and the slots
    of Adam.
    """
    listed = json.loads(
        (recipe.GOLDEN / f"network_res{backbone}_{size}_variables.json").read_text()
    )
    variables = {v["name"]: recipe.weight(v["name"], v["shape"]) for v in listed}
    some = listed[0]["name"]
    slots = {f"{some}/Adam": variables[some], f"{some}/Adam_1": variables[some]}
    return variables, {
        **slots,
        "beta1_power": np.float32(0.9),
        "beta2_power": np.float32(0.9),
        "Variable": np.float32(5e-4),
        "global_step": np.int64(7),
    }


CONFIGURATIONS = [
    pytest.param("50", "256x192", 1, [], marks=pytest.mark.slow),
    pytest.param(
        "101",
        "384x288",
        2,
        ["--flagfile=flags/resnet50_384x288.cfg", "--backbone=resnet101"],
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize("backbone, listing, version, arguments", CONFIGURATIONS)
def test_an_original_checkpoint_is_converted_and_converted_back(
    command, tmp_path, backbone, listing, version, arguments
):
    variables, slots = original(backbone, listing)
    path, model_dir, back = (
        tmp_path / "snapshot_350.ckpt",
        tmp_path / "run",
        tmp_path / "back" / "snapshot_350.ckpt",
    )
    write_tf1(path, {**variables, **slots}, version)
    tool = ["tools/convert_checkpoint.py", f"--model_dir={model_dir}", "--epoch=350"]
    done = command(*tool, f"--tf1_checkpoint={path}", *arguments)
    assert f"all {len(variables)} variables" in done.out
    written = json.loads((model_dir / "config.json").read_text())
    assert written["backbone"] == f"resnet{backbone}"
    assert written["input_size"] == ([384, 288] if "384x288" in "".join(arguments) else [256, 192])

    kept = weights(model_dir, 350)
    assert len(kept) == len(variables)
    for name, value in variables.items():
        np.testing.assert_array_equal(
            kept[f"model/{name.replace('/', '.S')}/.ATTRIBUTES/VARIABLE_VALUE"], value
        )

    command(*tool, f"--tf1_checkpoint={back}", "--to_tf1")
    assert back.with_name("snapshot_350.ckpt.meta").exists(), "tf-cpn looks for it"
    reader = tf.compat.v1.train.NewCheckpointReader(str(back))
    assert set(reader.get_variable_to_shape_map()) == set(variables)
    for name, value in variables.items():
        np.testing.assert_array_equal(reader.get_tensor(name), value)


def test_missing_extra_and_misshapen_variables_are_listed(command, tmp_path):
    variables, slots = original()
    del variables["merge/res3/biases"]
    variables["refine_out/weights"] = np.zeros((3, 3, 256, 19), np.float32)
    variables["extra"] = np.zeros(3, np.float32)
    path = tmp_path / "odd.ckpt"
    write_tf1(path, {**variables, **slots}, 2)
    arguments = [
        "tools/convert_checkpoint.py",
        f"--tf1_checkpoint={path}",
        f"--model_dir={tmp_path / 'run'}",
        "--epoch=350",
    ]
    failed = command(*arguments, check=False)
    assert failed.status == 1 and "3 variables are listed above" in failed.err
    assert failed.out.splitlines() == [
        "missing: merge/res3/biases (256,)",
        "left over: extra (3,)",
        "shape: refine_out/weights is (3, 3, 256, 19), expected (3, 3, 256, 17)",
    ]
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_program_is_refused(command, tmp_path):
    write_tf1(tmp_path / "other", {"w": np.zeros(3, np.float32)}, 2)
    arguments = ["tools/convert_checkpoint.py", f"--model_dir={tmp_path / 'run'}", "--epoch=350"]
    failed = command(*arguments, f"--tf1_checkpoint={tmp_path / 'other'}", check=False)
    assert failed.status == 1 and "is it a tf-cpn checkpoint?" in failed.err
    failed = command(*arguments, "--tf1_checkpoint=nowhere.ckpt", check=False)
    assert failed.status == 1 and "nowhere.ckpt not found" in failed.err


def test_only_names_of_the_optimizer_are_ignored():
    matches = pretrained._OPTIMIZER.fullmatch
    for name in (
        "a/weights/Adam",
        "a/weights/Adam_1",
        "beta1_power",
        "tower_0/beta2_power_1",
        "global_step",
        "Variable",
    ):
        assert matches(name), name
    for name in ("merge/res3/biases", "resnet_v1_50/conv1/weights", "Adamant/weights"):
        assert not matches(name), name


@pytest.fixture(scope="module")
def model():
    return build_cpn((64, 64), "resnet50", 17)


def randomize(model):
    for v in model.weights:
        v.assign(tf.random.uniform(v.shape, maxval=9))


@pytest.mark.parametrize("version", [1, 2])
def test_slims_checkpoint_initializes_only_the_backbone(model, tmp_path, version):
    randomize(model)
    by_name = variables_by_name(model)
    before = {name: v.numpy() for name, v in by_name.items()}
    slim = {
        n: recipe.weight(n, v.shape) for n, v in by_name.items() if n.startswith("resnet_v1_50")
    }
    missing_keypoints = "resnet_v1_50/block4/unit_3/bottleneck_v1/conv3/weights"
    del slim[missing_keypoints]
    extra = {
        "resnet_v1_50/logits/weights": np.zeros((1, 1, 2048, 1000), np.float32),
        "global_step": np.int64(5),
    }
    path = tmp_path / "resnet_v1_50.ckpt"
    write_tf1(path, {**slim, **extra}, version)
    assert pretrained.checkpoint_exists(path)
    restored, missing = pretrained.init_from_tf1(model, path)
    assert set(restored) == set(slim) and missing == [missing_keypoints]
    for name, variable in by_name.items():
        np.testing.assert_array_equal(variable, slim.get(name, before[name]))


def test_a_checkpoint_of_something_else_is_refused(model, tmp_path):
    write_tf1(tmp_path / "other", {"w": np.zeros(3, np.float32)}, 2)
    with pytest.raises(InputError, match="none of its 1 variables belongs to this network"):
        pretrained.init_from_tf1(model, tmp_path / "other")
    (tmp_path / "text").write_text("x")
    with pytest.raises(InputError, match="cannot be read as a TensorFlow checkpoint"):
        pretrained.init_from_tf1(model, tmp_path / "text")


@pytest.mark.slow
def test_existing_checkpoints_are_not_overwritten_by_default(command, tmp_path):
    variables, _ = original()
    path, back = tmp_path / "snapshot_350.ckpt", tmp_path / "back.ckpt"
    write_tf1(path, variables, 2)
    tool = ["tools/convert_checkpoint.py", f"--model_dir={tmp_path / 'run'}", "--epoch=350"]
    command(*tool, f"--tf1_checkpoint={path}")
    before = (tmp_path / "run/checkpoints/epoch_0350/variables.index").stat().st_mtime_ns
    failed = command(*tool, f"--tf1_checkpoint={path}", check=False)
    assert (
        failed.status == 1
        and "epoch_0350 is already there: give another --epoch, or --overwrite" in failed.err
    )
    assert (tmp_path / "run/checkpoints/epoch_0350/variables.index").stat().st_mtime_ns == before
    failed = command(*tool, f"--tf1_checkpoint={path}", "--to_tf1", check=False)
    assert failed.status == 1 and "snapshot_350.ckpt is already there" in failed.err
    command(*tool, f"--tf1_checkpoint={path}", "--overwrite")
    assert (tmp_path / "run/checkpoints/epoch_0350/variables.index").stat().st_mtime_ns > before
    back.write_text("an older one")
    command(*tool, f"--tf1_checkpoint={back}", "--to_tf1", "--overwrite")
    assert (
        pretrained.compare_tf1_variables(
            cpn_network((64, 64), "resnet50", 17).build(), pretrained.open_tf1_checkpoint(back)
        )
        == []
    )


@pytest.mark.slow
def test_a_network_with_alignment_points_is_converted_back(command, tmp_path):
    network = cpn_network((64, 64), "resnet50", 19)
    run = tmp_path / "run"
    cfg, _ = parse(
        "--input_size=64x64", "--predict_align_points", f"--model_dir={run}", "--align=blazepose"
    )
    run_config.save_run(run_config.Run(cfg))
    CheckpointManager(run).save(TrainingPosition(1), network.variables(network.build()))
    path = tmp_path / "nineteen.ckpt"
    tool = ["tools/convert_checkpoint.py", f"--model_dir={run}", f"--tf1_checkpoint={path}"]
    command(*tool, "--epoch=1", "--to_tf1")
    command(*tool, "--epoch=2")
    a, b = weights(run, 1), weights(run, 2)
    assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
