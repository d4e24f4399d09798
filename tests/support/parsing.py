"""Flags and flagfiles -> Config, as tfcpn.train makes it."""

from __future__ import annotations

from support.commands import ROOT
from tfcpn.settings.config import Config
from tfcpn.train import COMMAND


def parse(*words) -> tuple[Config, set[str]]:
    """The Config of these flags, and the names of those that are given."""
    options = COMMAND.parse(words)
    return options.config, options.given


def parse_file(name: str, monkeypatch) -> Config:
    """The Config of flags/<name>.cfg, read from the root of the project as its files name each other."""
    monkeypatch.chdir(ROOT)
    return parse(f"--flagfile=flags/{name}.cfg")[0]
