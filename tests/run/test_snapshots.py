import numpy as np
import pytest
import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.networks.cpn import build_cpn
from tfcpn.networks.variables import variables_by_name
from tfcpn.run.snapshots import Snapshots
from tfcpn.training.step import make_optimizer


@pytest.fixture(scope="module")
def model():
    return build_cpn((64, 64), "resnet50", 17)


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
    assert len(saved) > 446 + 2 * 270
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


def test_a_snapshot_carries_the_originals_names(model, tmp_path):
    Snapshots(tmp_path).save(1, variables_by_name(model))
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
