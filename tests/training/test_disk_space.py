"""What a run will write is compared with what is free before it writes."""

from collections import namedtuple

import pytest

from tfcpn.training import trainer
from tfcpn.training.trainer import check_disk_space
from tfcpn.utils.errors import InputError

Usage = namedtuple("Usage", "free")


@pytest.fixture
def free(monkeypatch):
    return lambda size: monkeypatch.setattr(trainer.shutil, "disk_usage", lambda path: Usage(size))


def test_without_room_for_two_nothing_begins(free, tmp_path):
    free(1_999)
    with pytest.raises(
        InputError, match="MB are free; .* at least .*; free some, or give another --model_dir"
    ):
        check_disk_space(str(tmp_path), size=1_000, existing=0, epochs=10, keep=10, at_least=2)


@pytest.mark.parametrize(
    "size, there, epochs, keep, printed",
    [
        (12_000, 0, 10, 10, False),  # ten, one within an epoch and one on its way
        (11_999, 0, 10, 10, True),
        (9_000, 3, 10, 10, False),  # three are there
        (15_000, 0, 400, 5, False),  # five, eight fiftieth ones, and two
        (14_999, 0, 400, 5, True),
        (5_999, 0, 4, 0, True),
    ],
)
def test_it_is_reported_when_not_all_will_fit(
    free, tmp_path, caplog, monkeypatch, size, there, epochs, keep, printed
):
    free(size)
    said = []
    monkeypatch.setattr(trainer._log, "warning", lambda *words: said.append(words[0] % words[1:]))
    check_disk_space(
        str(tmp_path), size=1_000, existing=there, epochs=epochs, keep=keep, at_least=2
    )
    assert bool(said) == printed
    assert not printed or f"by epoch {epochs}; --keep_checkpoints=N keeps fewer" in said[0]
