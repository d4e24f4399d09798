"""The disk space needed by a run is compared with the free space before writing."""

from collections import namedtuple

import pytest

from tfcpn.training import trainer
from tfcpn.training.trainer import check_disk_space
from tfcpn.utils.errors import InputError

Usage = namedtuple("Usage", "free")


@pytest.fixture
def free(monkeypatch):
    return lambda size: monkeypatch.setattr(trainer.shutil, "disk_usage", lambda path: Usage(size))


def test_a_run_does_not_start_without_space_for_two_checkpoints(free, tmp_path):
    free(1_999)
    with pytest.raises(
        InputError, match="MB are free; .* at least .*; free some, or give another --model_dir"
    ):
        check_disk_space(str(tmp_path), size=1_000, existing=0, epochs=10, keep=10, at_least=2)


@pytest.mark.parametrize(
    "size, there, epochs, keep, warned",
    [
        (12_000, 0, 10, 10, False),  # ten, one mid-epoch and one being written
        (11_999, 0, 10, 10, True),
        (9_000, 3, 10, 10, False),  # three exist
        (15_000, 0, 400, 5, False),  # five, eight of every 50th epoch, and two
        (14_999, 0, 400, 5, True),
        (5_999, 0, 4, 0, True),
    ],
)
def test_a_run_that_will_not_fit_is_reported(
    free, tmp_path, caplog, monkeypatch, size, there, epochs, keep, warned
):
    free(size)
    said = []
    monkeypatch.setattr(trainer._log, "warning", lambda *args: said.append(args[0] % args[1:]))
    check_disk_space(
        str(tmp_path), size=1_000, existing=there, epochs=epochs, keep=keep, at_least=2
    )
    assert bool(said) == warned
    assert not warned or f"by epoch {epochs}; --keep_checkpoints=N keeps fewer" in said[0]
