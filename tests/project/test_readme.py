"""The README keeps up with the code."""

import re

from support.commands import ROOT
from tfcpn.settings.config import FIELDS

README = (ROOT / "README.md").read_text()


def test_every_flag_is_explained():
    assert set(re.findall(r"^\| `--(\w+)` \|", README, re.MULTILINE)) == set(FIELDS)


def test_every_tool_is_listed_and_every_link_leads_somewhere():
    tools = {f"tools/{p.name}" for p in (ROOT / "tools").glob("*.py")}
    assert set(re.findall(r"^\| `(tools/\w+\.py)` \|", README, re.MULTILINE)) == tools
    for target in re.findall(r"\]\(((?!http|#)[^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_flagfile_has_its_row():
    for path in (ROOT / "flags").glob("*.cfg"):
        assert (
            path.stem in ("demo", "smoke", "photographs")
            or path.stem.startswith("drawn")
            or f"flags/{path.name}" in README
        )


def test_no_placeholder_is_left():
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        assert not re.findall(r"@[A-Z0-9]+@", path.read_text()), path
