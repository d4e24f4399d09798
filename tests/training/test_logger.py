"""A damaged log is named, and nothing else is lost."""

import pytest

from tfcpn.training.logger import TrainingLogger, columns
from tfcpn.utils.errors import InputError

NAMES = columns(("global", "refine"), ("AP",))


def log(folder, *rows):
    (folder / "metrics.csv").write_text("\n".join([",".join(NAMES), *rows]) + "\n")
    return TrainingLogger(folder, NAMES, resumed_epoch=9)


def test_rows_are_read_back(tmp_path):
    assert [row["epoch"] for row in log(tmp_path, "1,50,3.0", "2,100,2.0").rows] == ["1", "2"]


@pytest.mark.parametrize(
    "rows",
    [
        ["1,50,3.0", "x,100,2.0"],
        ["1,50,3.0", "2,,2.0"],
        ["1,50,3.0", "2"],
        ["\0"],
        ["1,100,3.0", "2,50,2.0"],
    ],
)
def test_a_damaged_log_is_named(tmp_path, rows):
    with pytest.raises(
        InputError, match=r"metrics.csv: (not the log of a run|its steps are not ascending)"
    ):
        log(tmp_path, *rows)


def test_a_log_of_other_columns_is_named(tmp_path):
    (tmp_path / "metrics.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"metrics.csv: not the log of a run"):
        TrainingLogger(tmp_path, NAMES, resumed_epoch=9)
