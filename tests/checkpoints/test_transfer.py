"""A new run starts from the weights of another one, also with other keypoints."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from support.small_run import flags, logged, weights
from support.tiny import tiny
from tfcpn.builders import build_components
from tfcpn.checkpoints import run_config
from tfcpn.checkpoints.manager import CheckpointManager, TrainingPosition
from tfcpn.checkpoints.transfer import Source, find_source, start_from, transfer_weights
from tfcpn.config import make_config
from tfcpn.models.cpn import cpn_network
from tfcpn.skeleton import COCO, KNOWN_SKELETONS
from tfcpn.utils.errors import InputError

SIZE = (64, 64)


def run_of(folder, skeleton=COCO, epochs=(1,), network=None, **values):
    """Write a run with checkpoints of random weights, and return the model of the last one."""
    cfg = make_config({"input_size": SIZE, "model_dir": str(folder), **values})
    run_config.save_run(run_config.Run(cfg, skeleton))
    network = network or tiny(cfg, skeleton)[0]
    model = network.build()
    for number, variable in enumerate(model.weights):
        random = np.random.default_rng(number)
        variable.assign(random.uniform(0.5, 1.5, variable.shape))
    for epoch in epochs:
        variables = network.variables(model)
        CheckpointManager(folder).save(TrainingPosition(epoch), variables)
    return model


def model_from(folder, skeleton=COCO, **values):
    """Return a new model that started from a run, and its values before."""
    cfg = make_config({"input_size": SIZE, **values})
    network, codec = tiny(cfg, skeleton)
    model = network.build()
    before = [v.numpy() for v in model.weights]
    source = find_source(str(folder))
    transfer_weights(model, network, source, skeleton, codec.scale)
    return model, before


def test_all_weights_of_a_run_are_taken(tmp_path):
    source = run_of(tmp_path / "run", epochs=(1, 2))
    model, _ = model_from(tmp_path / "run")
    for a, b in zip(source.weights, model.weights):
        np.testing.assert_array_equal(a, b)


def test_the_latest_checkpoint_of_a_run_or_a_given_one_is_found(tmp_path):
    run_of(tmp_path / "run", epochs=(1, 3))
    folder = tmp_path / "run/checkpoints"
    assert find_source(str(tmp_path / "run")).path == folder / "epoch_0003"
    assert find_source(str(folder)).path.samefile(folder / "epoch_0003")
    assert find_source(str(folder / "epoch_0001")).path == folder / "epoch_0001"
    (folder / "epoch_0001/variables.index").write_bytes(b"x")
    with pytest.raises(InputError, match="epoch_0001: is damaged"):
        find_source(str(folder / "epoch_0001"))


def test_folders_without_a_network_are_refused(tmp_path):
    with pytest.raises(InputError, match="neither a run, nor a checkpoint of one, nor a SavedMod"):
        find_source(str(tmp_path))
    cfg = make_config({"model_dir": str(tmp_path)})
    run_config.save_run(run_config.Run(cfg, COCO))
    with pytest.raises(InputError, match="the run has no checkpoint yet"):
        find_source(str(tmp_path))
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/saved_model.pb").write_bytes(b"x")
    with pytest.raises(InputError, match="saved: is no SavedModel of tfcpn export"):
        find_source(str(tmp_path / "saved"))


@pytest.mark.parametrize("skeleton", ["lsp", "aic", "wholebody"])
def test_keypoints_of_other_skeletons_are_taken_by_name(tmp_path, skeleton, caplog):
    caplog.set_level("INFO")
    skeleton = KNOWN_SKELETONS[skeleton]
    source = run_of(tmp_path / "run", COCO)
    model, before = model_from(tmp_path / "run", skeleton)
    shared = [name for name in skeleton.keypoints if name in COCO.keypoints]
    for old, new, initial in zip(source.weights, model.weights, before):
        for number, name in enumerate(skeleton.keypoints):
            value = new.numpy()[..., number]
            expected = initial[..., number]
            if name in shared:
                expected = old.numpy()[..., COCO.keypoints.index(name)]
            np.testing.assert_array_equal(value, expected, err_msg=f"{new.name}, {name}")
    assert f"keypoints: {len(shared)} of {skeleton.num_keypoints} taken by name" in caplog.text


def test_as_many_keypoints_in_another_order_are_taken_by_name(tmp_path):
    other = dataclasses.replace(COCO, keypoints=COCO.keypoints[::-1])
    source = run_of(tmp_path / "run", COCO)
    model, _ = model_from(tmp_path / "run", other)
    for old, new in zip(source.weights, model.weights):
        np.testing.assert_array_equal(old.numpy()[..., ::-1], new)


def test_outputs_are_scaled_to_the_new_peak(tmp_path):
    source = run_of(tmp_path / "run", heatmap_scale=255.0)
    model, _ = model_from(tmp_path / "run", heatmap_scale=1.0)
    old, new = (m.get_layer("norm") for m in (source, model))
    np.testing.assert_allclose(new.gamma, old.gamma / 255, rtol=1e-6)
    np.testing.assert_allclose(new.beta, old.beta / 255, rtol=1e-6)
    np.testing.assert_array_equal(new.moving_mean, old.moving_mean)


def test_a_network_of_which_nothing_fits_is_refused(tmp_path):
    run_of(tmp_path / "run")
    cfg = make_config({"input_size": SIZE})
    network, _ = tiny(cfg, COCO)
    other = network._replace(variables=lambda m: {f"other/{v.name}": v for v in m.weights})
    with pytest.raises(InputError, match="none of its 0 variables fits this network"):
        transfer_weights(other.build(), other, find_source(str(tmp_path / "run")), COCO)


def test_other_values_of_the_flag_leave_the_network_alone(tmp_path):
    components = build_components(make_config({"input_size": SIZE}), COCO)
    assert start_from(components, "none") is components
    assert start_from(components, str(tmp_path / "some.ckpt")) is components


@pytest.mark.slow
def test_a_run_that_starts_from_another_one_begins_with_its_evaluation(
    people, command, tiny_network, tmp_path
):
    arguments = ["--epochs=1", "--eval_every=1", "--views=1"]
    command("-m", "tfcpn.train", *flags(people, tmp_path / "a", *arguments))
    start = [*arguments, f"--init_weights={tmp_path / 'a'}", "--learning_rate=1e-9"]
    done = command("-m", "tfcpn.train", *flags(people, tmp_path / "b", *start))
    assert "checkpoints/epoch_0001: 6 of 6 variables taken" in done.err
    a, b = weights(tmp_path / "a", 1), weights(tmp_path / "b", 1)
    kernel = "model/only.Sweights/.ATTRIBUTES/VARIABLE_VALUE"
    np.testing.assert_allclose(a[kernel], b[kernel], atol=1e-6)
    kept = json.loads((tmp_path / "b/config.json").read_text())["init_weights"]
    assert kept == str(tmp_path / "a/checkpoints/epoch_0001")
    # The same command resumes, though the run that it names has gone on.
    command("-m", "tfcpn.train", *flags(people, tmp_path / "a", *arguments[1:], "--epochs=2"))
    command("-m", "tfcpn.train", *flags(people, tmp_path / "b", *start[1:], "--epochs=2"))
    assert len(logged(tmp_path / "b")) == 2


def test_other_records_of_a_run_are_refused_with_what_to_do(
    people, people_copy, command, tiny_network, tmp_path
):
    command("-m", "tfcpn.train", *flags(people, tmp_path / "a", "--epochs=1", "--eval_every=0"))
    other = tmp_path / "other"
    source = [f"--annotations={people_copy.train_annotations}", f"--images={people_copy.train}"]
    command("tools/make_records.py", *source, f"--output={other}", "--shards=3", "--workers=1")
    people_copy.records = other
    more = flags(people_copy, tmp_path / "a", "--epochs=2", "--eval_every=0")
    failed = command("-m", "tfcpn.train", *more, check=False)
    line = failed.err.strip().splitlines()[-1]
    assert line == (
        f"error: {tmp_path / 'a'} was trained on other records (images, --shards differ); to train "
        f"on from its weights: --init_weights={tmp_path / 'a'} and a new --model_dir"
    )


@pytest.mark.slow
def test_a_cpn_starts_from_an_exported_saved_model(people, command, tmp_path):
    """Its folded batch norms come back neutral, and are calibrated before the first step."""
    network = cpn_network(SIZE, "resnet50", 17)
    run_of(tmp_path / "run", epochs=(), flip_test=False)
    model = network.build()
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            for variable in layer.weights:
                variable.assign(variable + random.uniform(0, 0.2, variable.shape))
    CheckpointManager(tmp_path / "run").save(TrainingPosition(1), network.variables(model))
    data = [f"--val_images={people.val}", f"--val_annotations={people.val_annotations}"]
    out = f"--output={tmp_path / 'saved'}"
    export = ["--format=savedmodel", f"--model_dir={tmp_path / 'run'}", *data, out]
    command("tools/export.py", *export)
    source = find_source(str(tmp_path / "saved"))
    assert source == Source(tmp_path / "saved", COCO, None, True)
    other = network.build()
    transfer_weights(other, network, source, COCO)
    images = tf.constant(np.random.default_rng(0).normal(size=(2, *SIZE, 3)), tf.float32)
    before, after = (m(images, training=False).refine.numpy() for m in (model, other))
    assert np.abs(before - after).max() < 1e-4 * np.abs(before).max()
    components = build_components(make_config({"input_size": SIZE}), COCO)
    prepared = start_from(components, str(tmp_path / "saved")).network
    prepared.prepare(other, [np.random.default_rng(n).normal(size=(4, *SIZE, 3)) for n in (0, 1)])
    again = other(images, training=False).refine.numpy()
    assert np.abs(before - again).max() < 1e-3 * np.abs(before).max()
    norm = other.get_layer("resnet_v1_50/conv1/BatchNorm")
    assert np.ptp(norm.moving_variance) > 0
