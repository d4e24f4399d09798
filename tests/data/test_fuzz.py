"""The readers of external files, on files that hypothesis damages; docs/notes/reliability.md has
the result of a longer run."""

import pytest

from support import fuzz


@pytest.mark.parametrize("name", fuzz.NAMES)
def test_a_damaged_file_is_refused_in_one_line_or_gives_valid_values(name):
    assert fuzz.run(name, 5 if name == "records" else 60, the_same=True) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzz.NAMES)
def test_the_same_with_more_files(name):
    assert fuzz.run(name, 60 if name == "records" else 500, the_same=True) >= 30
