"""docs/ keeps up with the code."""

import re

from support.commands import ROOT
from tfcpn.predict import COMMAND


def test_every_flag_of_predict_is_explained():
    text = (ROOT / "docs" / "predict.md").read_text()
    explained = dict(re.findall(r"^\| `--(\w+)` \| (?:`([^`]*)`)? ?\|", text, re.MULTILINE))
    expected = {
        flag.name: "" if flag.default is None else str(flag.default) for flag in COMMAND.own
    }
    assert explained == expected


def test_every_link_leads_somewhere():
    for page in (ROOT / "docs").glob("*.md"):
        for target in re.findall(r"\]\(((?!http|#)[^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
