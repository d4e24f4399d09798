import errno
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from support.tiny import build
from tfcpn.checkpoints.manager import CheckpointManager, TrainingPosition
from tfcpn.models.model import variables_by_name
from tfcpn.training.step import make_optimizer
from tfcpn.utils import files
from tfcpn.utils.errors import InputError


@pytest.fixture(scope="module")
def model():
    return build((64, 64), 17)


def randomize(model, optimizer=None):
    for v in [*model.weights, *(optimizer.variables() if optimizer else [])]:
        v.assign(tf.cast(tf.random.uniform(v.shape, maxval=9), v.dtype))


def values(model, optimizer=None):
    return [v.numpy() for v in [*model.weights, *(optimizer.variables() if optimizer else [])]]


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_weights_and_optimizer_are_restored(model, tmp_path, precision):
    optimizer = make_optimizer(1e-3, precision, model.trainable_variables)
    randomize(model, optimizer)
    saved = values(model, optimizer)
    assert len(saved) > 6 + 2 * 4
    CheckpointManager(tmp_path).save(TrainingPosition(3), variables_by_name(model), optimizer)
    randomize(model, optimizer)
    CheckpointManager(tmp_path).restore(TrainingPosition(3), variables_by_name(model), optimizer)
    for a, b in zip(saved, values(model, optimizer)):
        np.testing.assert_array_equal(a, b)


def test_weights_alone_can_be_read_for_evaluation(model, tmp_path):
    optimizer = make_optimizer(1e-3, "float32", model.trainable_variables)
    randomize(model)
    saved = values(model)
    CheckpointManager(tmp_path).save(TrainingPosition(1), variables_by_name(model), optimizer)
    randomize(model)
    CheckpointManager(tmp_path).restore(TrainingPosition(1), variables_by_name(model))
    for a, b in zip(saved, values(model)):
        np.testing.assert_array_equal(a, b)


def test_a_checkpoint_has_the_variable_names_of_tf_cpn(tmp_path):
    name = "resnet_v1_50/block1/unit_1/bottleneck_v1/conv1/weights"
    CheckpointManager(tmp_path).save(TrainingPosition(1), {name: tf.Variable(1.0)})
    names = [
        name
        for name, _ in tf.train.list_variables(str(tmp_path / "checkpoints/epoch_0001/variables"))
    ]
    assert any(
        "resnet_v1_50.Sblock1.Sunit_1.Sbottleneck_v1.Sconv1.Sweights" in name for name in names
    )


def test_a_damaged_checkpoint_is_named(model, tmp_path):
    checkpoints = CheckpointManager(tmp_path)
    checkpoints.save(TrainingPosition(4), variables_by_name(model))
    data = next(checkpoints.path(4).glob("*.data*"))
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(InputError, match="epoch_0004: is damaged"):
        checkpoints.restore(TrainingPosition(4), variables_by_name(model))


def test_training_does_not_resume_from_weights_alone(model, tmp_path):
    CheckpointManager(tmp_path).save(TrainingPosition(1), variables_by_name(model))
    with pytest.raises(InputError, match="has no optimizer state"):
        CheckpointManager(tmp_path).restore(
            TrainingPosition(1),
            variables_by_name(model),
            make_optimizer(1e-3, "float32", model.trainable_variables),
        )


def test_epochs_are_listed_and_parsed(tmp_path):
    checkpoints = CheckpointManager(tmp_path)
    with pytest.raises(InputError, match="no checkpoint to evaluate"):
        checkpoints.parse_epochs("latest")
    for epoch in (1, 2, 3, 7, 12000):
        checkpoints.path(epoch).mkdir(parents=True)
    (tmp_path / "checkpoints" / ".epoch_0008.tmp").mkdir()
    (tmp_path / "checkpoints" / "epoch_0009_step_4").mkdir()
    assert checkpoints.epochs() == [1, 2, 3, 7, 12000]
    assert checkpoints.parse_epochs("latest") == [12000] and checkpoints.parse_epochs("2, 7") == [
        2,
        7,
    ]
    with pytest.raises(
        InputError, match=r"epoch_0004 does not exist; there are epochs 1-3, 7, 12000"
    ):
        checkpoints.parse_epochs("4")
    with pytest.raises(InputError, match="--epoch=x"):
        checkpoints.parse_epochs("x")


def test_pruning_keeps_the_newest_and_every_fiftieth(tmp_path):
    checkpoints = CheckpointManager(tmp_path)
    for epoch in (49, 50, 51, 52, 53):
        checkpoints.path(epoch).mkdir(parents=True)
    checkpoints.prune(0)
    assert checkpoints.epochs() == [49, 50, 51, 52, 53]
    checkpoints.prune(2)
    assert checkpoints.epochs() == [50, 52, 53]


def made(checkpoints, *positions):
    """Small checkpoints at (epoch, steps)."""
    value = tf.Variable([1.0, 2.0])
    for epoch, steps in positions:
        checkpoints.save(
            TrainingPosition(epoch, steps),
            {"w": value},
            epoch_progress={"steps": steps} if steps else None,
        )
    return value


def test_only_the_newest_mid_epoch_checkpoint_is_kept(tmp_path):
    checkpoints = CheckpointManager(tmp_path)
    made(checkpoints, (0, 5), (0, 9))
    checkpoints.prune(0)
    assert checkpoints.positions() == [(0, 9)]
    made(checkpoints, (1, 0), (1, 4))
    checkpoints.prune(0)
    assert checkpoints.positions() == [(1, 0), (1, 4)]
    made(checkpoints, (2, 0))
    checkpoints.prune(1)
    assert checkpoints.positions() == [(2, 0)]


def test_epoch_progress_is_stored_exactly(tmp_path):
    checkpoints, numbers = CheckpointManager(tmp_path), [float(np.float32(0.1)), 1 / 3, 1e-300]
    checkpoints.save(
        TrainingPosition(2, 7),
        {"w": tf.Variable(1.0)},
        epoch_progress={"steps": 7, "totals": numbers},
    )
    assert checkpoints.latest_valid() == (2, 7)
    assert (
        checkpoints.epoch_progress(TrainingPosition(2, 7)) == {"steps": 7, "totals": numbers}
        and checkpoints.epoch_progress(TrainingPosition(2)) is None
    )


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage, printed",
    [
        (
            lambda folder: flip(next(folder.glob("*.data*"))),
            "variables.data-00000-of-00001 is not what was written",
        ),
        (
            lambda folder: flip(folder / "variables.index"),
            "variables.index is not what was written",
        ),
        (
            lambda folder: next(folder.glob("*.data*")).write_bytes(b""),
            "has 0 bytes, .* were written",
        ),
        (lambda folder: (folder / "variables.index").unlink(), "variables.index: No such file"),
        (
            lambda folder: (folder / "content.json").unlink(),
            "content.json does not describe the unfinished epoch",
        ),
        (
            lambda folder: (p := folder / "content.json").write_text(
                p.read_text().replace("3", "2")
            ),
            "content.json (is not what was written|does not describe)",
        ),
        (
            lambda folder: (folder / "content.json").write_text("{"),
            "content.json is not what was written",
        ),
        (
            lambda folder: (folder / "content.json").write_text("[]"),
            "content.json is not what was written",
        ),
    ],
)
def test_a_damaged_newest_checkpoint_is_reported_and_the_previous_one_is_used(
    tmp_path, caplog, monkeypatch, damage, printed
):
    checkpoints, said = CheckpointManager(tmp_path), []
    monkeypatch.setattr(
        "tfcpn.checkpoints.manager._log.warning", lambda *args: said.append(args[0] % args[1:])
    )
    made(checkpoints, (1, 0), (2, 0), (2, 3))
    damage(checkpoints.path(2, 3))
    assert checkpoints.latest_valid() == (2, 0)
    assert len(said) == 1 and re.search(
        rf"epoch_0002_step_3: is damaged \(.*{printed}.*\); resuming from", said[0]
    )
    # It is moved aside and not deleted.
    checkpoints.cleanup(TrainingPosition(2))
    assert checkpoints.positions() == [(1, 0), (2, 0)]
    assert (tmp_path / "checkpoints" / "epoch_0002_step_3.damaged").exists()


def test_training_does_not_restart_if_all_checkpoints_are_damaged(tmp_path):
    checkpoints = CheckpointManager(tmp_path)
    assert checkpoints.latest_valid() == (0, 0)
    made(checkpoints, (1, 0))
    flip(next(checkpoints.path(1).glob("*.data*")))
    with pytest.raises(
        InputError, match="all 1 checkpoints are damaged; delete the folder to start anew"
    ):
        checkpoints.latest_valid()


def test_temporary_files_of_dead_processes_are_deleted(tmp_path):
    checkpoints = CheckpointManager(tmp_path)
    made(checkpoints, (1, 0))
    for name in (".epoch_0002.77.tmp", ".epoch_0001.5.old.tmp"):
        (tmp_path / "checkpoints" / name).mkdir()
        (tmp_path / "checkpoints" / name / "variables.index").write_text("half")
    evaluated = tmp_path / "eval" / "epoch_0001"
    evaluated.mkdir(parents=True)
    for path in (
        tmp_path / ".config.json.7.tmp",
        evaluated / ".results.json.7.tmp",
        evaluated / ".metrics.json.7.tmp",
    ):
        path.write_text("half")
    os.utime(evaluated / ".results.json.7.tmp", (0, 0))
    checkpoints.cleanup(TrainingPosition(1))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["epoch_0001"]
    assert not (tmp_path / ".config.json.7.tmp").exists()
    # A recent one may belong to an evaluation that is still writing.
    assert [path.name for path in evaluated.iterdir()] == [".metrics.json.7.tmp"]


def test_a_failed_save_keeps_the_last_checkpoint_and_leaves_no_partial_one(tmp_path, monkeypatch):
    checkpoints = CheckpointManager(tmp_path)
    made(checkpoints, (1, 0))

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tfcpn.utils.files.fsync_path", full)
    with pytest.raises(
        InputError, match="epoch_0002: cannot be written .No space left.* checkpoint is .*_0001"
    ):
        made(checkpoints, (2, 0))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["epoch_0001"]
    assert checkpoints.latest_valid() == (1, 0)


def test_files_are_synced_before_the_rename_and_renamed_before_old_ones_are_deleted(
    tmp_path, monkeypatch
):
    """Sync the files, the folder and the rename before deleting the old checkpoint."""
    checkpoints, done = CheckpointManager(tmp_path), []
    made(checkpoints, (1, 0))
    sync, rename, remove = files.fsync_path, type(tmp_path).rename, shutil.rmtree
    monkeypatch.setattr(
        files, "fsync_path", lambda path: (done.append(("sync", path.name)), sync(path))
    )
    monkeypatch.setattr(
        type(tmp_path), "rename", lambda a, b: (done.append(("name", b.name)), rename(a, b))[1]
    )
    monkeypatch.setattr(
        shutil,
        "rmtree",
        lambda path, **how: (done.append(("delete", path.name)), remove(path, **how)),
    )
    made(checkpoints, (2, 0))
    checkpoints.prune(1)
    names = [step for step in done if not step[1].endswith(".tmp") or step[0] == "sync"]
    at = names.index(("name", "epoch_0002"))
    synced = [name for what, name in names[:at] if what == "sync"]
    assert {"variables.index", "variables.data-00000-of-00001", "content.json"} < set(synced)
    assert synced[-1].startswith(".epoch_0002.")
    assert names[at + 1] == ("sync", "checkpoints")
    old = [at for at, (_, name) in enumerate(done) if "epoch_0001" in name]
    assert [done[at][0] for at in old] == ["name", "delete"]  # moved aside in one step
    assert min(old) > done.index(("sync", "checkpoints"), done.index(("name", "epoch_0002")))
    assert checkpoints.positions() == [(2, 0)]
