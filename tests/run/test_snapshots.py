import errno
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from support.tiny import build
from tfcpn.base import files
from tfcpn.base.errors import InputError
from tfcpn.networks.variables import variables_by_name
from tfcpn.run.snapshots import Position, Snapshots
from tfcpn.training.step import make_optimizer


@pytest.fixture(scope="module")
def model():
    return build((64, 64), 17)


def randomize(model, optimizer=None):
    for v in [*model.weights, *(optimizer.variables() if optimizer else [])]:
        v.assign(tf.cast(tf.random.uniform(v.shape, maxval=9), v.dtype))


def values(model, optimizer=None):
    return [v.numpy() for v in [*model.weights, *(optimizer.variables() if optimizer else [])]]


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_weights_and_optimiser_come_back(model, tmp_path, precision):
    optimizer = make_optimizer(1e-3, precision, model.trainable_variables)
    randomize(model, optimizer)
    saved = values(model, optimizer)
    assert len(saved) > 6 + 2 * 4
    Snapshots(tmp_path).save(3, variables_by_name(model), optimizer)
    randomize(model, optimizer)
    Snapshots(tmp_path).restore(3, variables_by_name(model), optimizer)
    for a, b in zip(saved, values(model, optimizer)):
        np.testing.assert_array_equal(a, b)


def test_weights_alone_can_be_read_for_evaluation(model, tmp_path):
    optimizer = make_optimizer(1e-3, "float32", model.trainable_variables)
    randomize(model)
    saved = values(model)
    Snapshots(tmp_path).save(1, variables_by_name(model), optimizer)
    randomize(model)
    Snapshots(tmp_path).restore(1, variables_by_name(model))
    for a, b in zip(saved, values(model)):
        np.testing.assert_array_equal(a, b)


def test_a_snapshot_carries_the_originals_names(tmp_path):
    name = "resnet_v1_50/block1/unit_1/bottleneck_v1/conv1/weights"
    Snapshots(tmp_path).save(1, {name: tf.Variable(1.0)})
    names = [name for name, _ in tf.train.list_variables(str(tmp_path / "snapshots/snapshot_0001/variables"))]
    assert any("resnet_v1_50.Sblock1.Sunit_1.Sbottleneck_v1.Sconv1.Sweights" in name for name in names)


def test_a_damaged_snapshot_is_named(model, tmp_path):
    snapshots = Snapshots(tmp_path)
    snapshots.save(4, variables_by_name(model))
    data = next(snapshots.path(4).glob("*.data*"))
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(InputError, match="snapshot_0004: is damaged"):
        snapshots.restore(4, variables_by_name(model))


def test_training_cannot_go_on_from_weights_alone(model, tmp_path):
    Snapshots(tmp_path).save(1, variables_by_name(model))
    with pytest.raises(InputError, match="has no optimiser state"):
        Snapshots(tmp_path).restore(
            1, variables_by_name(model), make_optimizer(1e-3, "float32", model.trainable_variables)
        )


def test_epochs_are_found_and_asked_for(tmp_path):
    snapshots = Snapshots(tmp_path)
    with pytest.raises(InputError, match="no snapshot to evaluate"):
        snapshots.parse("latest")
    for epoch in (1, 2, 3, 7, 12000):
        snapshots.path(epoch).mkdir(parents=True)
    (tmp_path / "snapshots" / ".snapshot_0008.tmp").mkdir()
    (tmp_path / "snapshots" / "snapshot_0009_step_4").mkdir()
    assert snapshots.epochs() == [1, 2, 3, 7, 12000]
    assert snapshots.parse("latest") == [12000] and snapshots.parse("2, 7") == [2, 7]
    with pytest.raises(InputError, match=r"snapshot_0004 does not exist; there are epochs 1-3, 7, 12000"):
        snapshots.parse("4")
    with pytest.raises(InputError, match="--epoch=x"):
        snapshots.parse("x")


def test_pruning_keeps_the_newest_and_every_fiftieth(tmp_path):
    snapshots = Snapshots(tmp_path)
    for epoch in (49, 50, 51, 52, 53):
        snapshots.path(epoch).mkdir(parents=True)
    snapshots.prune(0)
    assert snapshots.epochs() == [49, 50, 51, 52, 53]
    snapshots.prune(2)
    assert snapshots.epochs() == [50, 52, 53]


def made(snapshots, *positions):
    """Small snapshots at (epoch, steps)."""
    value = tf.Variable([1.0, 2.0])
    for epoch, steps in positions:
        snapshots.save(epoch, {"w": value}, steps=steps, begun={"steps": steps} if steps else None)
    return value


def test_of_those_within_an_epoch_only_the_newest_of_all_stays(tmp_path):
    snapshots = Snapshots(tmp_path)
    made(snapshots, (0, 5), (0, 9))
    snapshots.prune(0)
    assert snapshots.positions() == [(0, 9)]
    made(snapshots, (1, 0), (1, 4))
    snapshots.prune(0)
    assert snapshots.positions() == [(1, 0), (1, 4)]
    made(snapshots, (2, 0))
    snapshots.prune(1)
    assert snapshots.positions() == [(2, 0)]


def test_what_an_epoch_had_come_to_is_kept_to_the_last_bit(tmp_path):
    snapshots, numbers = Snapshots(tmp_path), [float(np.float32(0.1)), 1 / 3, 1e-300]
    snapshots.save(2, {"w": tf.Variable(1.0)}, steps=7, begun={"steps": 7, "sums": numbers})
    assert snapshots.newest() == (2, 7)
    assert snapshots.begun(Position(2, 7)) == {"steps": 7, "sums": numbers} and snapshots.begun(Position(2)) is None


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage, told",
    [
        (lambda folder: flip(next(folder.glob("*.data*"))), "variables.data-00000-of-00001 is not what was written"),
        (lambda folder: flip(folder / "variables.index"), "variables.index is not what was written"),
        (lambda folder: next(folder.glob("*.data*")).write_bytes(b""), "has 0 bytes, .* were written"),
        (lambda folder: (folder / "variables.index").unlink(), "variables.index: No such file"),
        (lambda folder: (folder / "content.json").unlink(), "content.json does not tell what the epoch had come to"),
        (
            lambda folder: (p := folder / "content.json").write_text(p.read_text().replace("3", "2")),
            "content.json (is not what was written|does not tell)",
        ),
        (lambda folder: (folder / "content.json").write_text("{"), "content.json is not what was written"),
        (lambda folder: (folder / "content.json").write_text("[]"), "content.json is not what was written"),
    ],
)
def test_a_damaged_newest_snapshot_is_told_and_the_one_before_taken(tmp_path, caplog, monkeypatch, damage, told):
    snapshots, said = Snapshots(tmp_path), []
    monkeypatch.setattr("tfcpn.run.snapshots._log.warning", lambda *words: said.append(words[0] % words[1:]))
    made(snapshots, (1, 0), (2, 0), (2, 3))
    damage(snapshots.path(2, 3))
    assert snapshots.newest() == (2, 0)
    assert len(said) == 1 and re.search(rf"snapshot_0002_step_3: is damaged \(.*{told}.*\); going on from", said[0])
    # It is out of the way of what comes next, and not lost.
    snapshots.tidy(Position(2))
    assert snapshots.positions() == [(1, 0), (2, 0)]
    assert (tmp_path / "snapshots" / "snapshot_0002_step_3.damaged").exists()


def test_nothing_begins_anew_because_all_snapshots_are_damaged(tmp_path):
    snapshots = Snapshots(tmp_path)
    assert snapshots.newest() == (0, 0)
    made(snapshots, (1, 0))
    flip(next(snapshots.path(1).glob("*.data*")))
    with pytest.raises(InputError, match="all 1 snapshots are damaged; delete the folder to begin anew"):
        snapshots.newest()


def test_leftovers_of_dead_processes_are_swept(tmp_path):
    snapshots = Snapshots(tmp_path)
    made(snapshots, (1, 0))
    for name in (".snapshot_0002.77.tmp", ".snapshot_0001.5.old.tmp"):
        (tmp_path / "snapshots" / name).mkdir()
        (tmp_path / "snapshots" / name / "variables.index").write_text("half")
    evaluated = tmp_path / "eval" / "epoch_0001"
    evaluated.mkdir(parents=True)
    for path in (
        tmp_path / ".config.json.7.tmp",
        evaluated / ".results.json.7.tmp",
        evaluated / ".metrics.json.7.tmp",
    ):
        path.write_text("half")
    os.utime(evaluated / ".results.json.7.tmp", (0, 0))
    snapshots.tidy(Position(1))
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["snapshot_0001"]
    assert not (tmp_path / ".config.json.7.tmp").exists()
    # One that is young may be an evaluation's that is writing now.
    assert [path.name for path in evaluated.iterdir()] == [".metrics.json.7.tmp"]


def test_a_snapshot_that_cannot_be_written_leaves_the_last_one_and_nothing_half(tmp_path, monkeypatch):
    snapshots = Snapshots(tmp_path)
    made(snapshots, (1, 0))

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tfcpn.base.files.sync", full)
    with pytest.raises(InputError, match="snapshot_0002: cannot be written .No space left.* snapshot is .*_0001"):
        made(snapshots, (2, 0))
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["snapshot_0001"]
    assert snapshots.newest() == (1, 0)


def test_content_is_on_the_disk_before_its_name_and_that_before_anything_is_deleted(tmp_path, monkeypatch):
    """What comes when the power fails: files, their folder, the name, the name's folder, and only then the old."""
    snapshots, done = Snapshots(tmp_path), []
    made(snapshots, (1, 0))
    sync, rename, remove = files.sync, type(tmp_path).rename, shutil.rmtree
    monkeypatch.setattr(files, "sync", lambda path: (done.append(("sync", path.name)), sync(path)))
    monkeypatch.setattr(type(tmp_path), "rename", lambda a, b: (done.append(("name", b.name)), rename(a, b))[1])
    monkeypatch.setattr(
        shutil, "rmtree", lambda path, **how: (done.append(("delete", path.name)), remove(path, **how))
    )
    made(snapshots, (2, 0))
    snapshots.prune(1)
    names = [step for step in done if not step[1].endswith(".tmp") or step[0] == "sync"]
    at = names.index(("name", "snapshot_0002"))
    synced = [name for what, name in names[:at] if what == "sync"]
    assert {"variables.index", "variables.data-00000-of-00001", "content.json"} < set(synced)
    assert synced[-1].startswith(".snapshot_0002.")
    assert names[at + 1] == ("sync", "snapshots")
    old = [at for at, (_, name) in enumerate(done) if "snapshot_0001" in name]
    assert [done[at][0] for at in old] == ["name", "delete"]  # out of the way in one step
    assert min(old) > done.index(("sync", "snapshots"), done.index(("name", "snapshot_0002")))
    assert snapshots.positions() == [(2, 0)]
