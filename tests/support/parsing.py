"""Flags and flagfiles -> Config, as tfcpn.train makes it."""

from __future__ import annotations

import re

from support.commands import ROOT
from tfcpn.config import Config
from tfcpn.train import COMMAND


def parse(*arguments) -> tuple[Config, set[str]]:
    """The Config of these flags, and the names of the given flags."""
    options = COMMAND.parse(arguments)
    return options.config, options.explicit


def parse_file(name: str, monkeypatch) -> Config:
    """The Config of flags/<name>.cfg, read from the root of the project, since flagfiles name each
    other.
    """
    monkeypatch.chdir(ROOT)
    return parse(f"--flagfile=flags/{name}.cfg")[0]


# The rows of docs/reproduce.md: names and flags.
ROWS = dict(
    re.findall(
        r"^\| `(\w+)` \|.*\| `(--flagfile[^`]*)` \|$",
        (ROOT / "docs/reproduce.md").read_text(),
        re.MULTILINE,
    )
)


def parse_row(name: str, monkeypatch) -> tuple[Config, set[str]]:
    """The Config of a row of docs/reproduce.md, and the names of the flags of the row."""
    monkeypatch.chdir(ROOT)
    return parse(*ROWS[name].split())
