"""The command `tfcpn`: subcommands, help, version and completion."""

import importlib

import pytest

from tfcpn.__main__ import PROGRAMS, complete, help_text, load, main


@pytest.fixture(autouse=True)
def program_names(monkeypatch):
    """Restore the names of the commands after a test."""
    for module in PROGRAMS.values():
        command = importlib.import_module(module).COMMAND
        monkeypatch.setattr(command, "program", command.program)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_subcommand_has_help_under_its_name(name, capsys):
    main([*name.split(), "--help"])
    assert f"usage: tfcpn {name}" in capsys.readouterr().out


def test_the_help_has_a_line_for_each_subcommand():
    lines = help_text().splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert [line.split("  ")[1] for line in lines if line.startswith("  ")] == list(PROGRAMS)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["dance"], "error: tfcpn dance: no such subcommand; see tfcpn --help"),
        (["draw"], "error: tfcpn draw: expected one of batch, crops, poses, people, video"),
        (["draw", "dance"], "error: tfcpn draw: expected one of batch"),
        (["train", "--learn=1"], "error: --learn: tfcpn train has no such flag"),
    ],
)
def test_an_invalid_command_line_is_named_in_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    printed = stopped.value.code if isinstance(stopped.value.code, str) else ""
    assert (printed + capsys.readouterr().err).startswith(message)


def test_the_version_is_that_of_the_package(capsys, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"2.0 of {name}")
    main(["--version"])
    assert capsys.readouterr().out == "tfcpn 2.0 of tfcpn\n"


@pytest.mark.parametrize(
    "line, found",
    [
        ("dr", ["draw"]),
        ("draw p", ["people", "poses"]),
        ("data records --out", ["--output="]),
        ("train --scale", ["--scale_free"]),
        ("train runs", []),
        ("draw dance ", []),
    ],
)
def test_completion_knows_subcommands_and_flags(line, found):
    assert complete(line) == found


def test_completion_prints_a_script_for_bash(capsys):
    main(["completion"])
    assert "complete -o default -F _tfcpn tfcpn" in capsys.readouterr().out


def test_a_subcommand_runs_its_program():
    command, program = load("data records")
    assert program is importlib.import_module("tfcpn.commands.make_records").main
    assert command.program == "tfcpn data records"
