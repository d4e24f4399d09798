"""Behavior common to all commands."""

import pytest

from support.commands import ROOT, run_process
from tfcpn.cli import Command, boolean, enum, integer, path, string_list
from tfcpn.utils.errors import InputError

COMMAND = Command(
    "python x.py",
    "Do something.",
    {
        "What": [
            path("output", None, "A file.", required=True),
            integer("count", 3, "How many.", minimum=1),
            enum("kind", "a", ("a", "b"), "Which."),
            boolean("loud", True, "Or not."),
            string_list("names", ("x", "y"), "Of things."),
        ]
    },
)


def test_values_have_their_types_and_defaults():
    own = COMMAND.parse(["--output=o", "--count=5", "--noloud"]).args
    assert vars(own) == {"output": "o", "count": 5, "kind": "a", "loud": False, "names": ("x", "y")}
    assert COMMAND.parse(["--output=o", "--names=p, q"]).explicit == {"output", "names"}


def test_a_flagfile_is_read_and_the_last_value_counts(tmp_path):
    (tmp_path / "f.cfg").write_text("# a comment\n--count=7\n--kind=b\n")
    args = COMMAND.parse(["--output=o", f"--flagfile={tmp_path / 'f.cfg'}", "--count=8"]).args
    assert (args.count, args.kind) == (8, "b")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--output is missing; see python x.py --help"),
        (["--output=o", "--count=0"], "--count=0"),
        (["--output=o", "--count=many"], "--count=many"),
        (["--output=o", "--kind=c"], "--kind=c: value should be one of <a|b>"),
        (
            ["--output=o", "--ouput=3"],
            "--ouput: python x.py has no such flag; did you mean --output?",
        ),
        (["--output=o", "--rotation=3"], "--rotation: python x.py has no such flag"),
        (["--output=o", "more"], "unexpected argument 'more'"),
        (["--flagfile=nowhere.cfg"], "nowhere.cfg"),
    ],
)
def test_an_invalid_flag_is_named(arguments, message):
    with pytest.raises(InputError, match=message.replace("|", r"\|").replace("?", r"\?")):
        COMMAND.parse(arguments)


@pytest.mark.parametrize(
    "error, status, line",
    [
        (InputError("a file\n  is bad"), "error: a file is bad", ""),
        (
            OSError(28, "No space left on device", "/there"),
            "error: /there: No space left on device",
            "",
        ),
        (
            KeyboardInterrupt(),
            130,
            "interrupted; finished work is kept, rerun the same command",
        ),
    ],
)
def test_an_error_is_reported_in_one_line_with_an_exit_status(error, status, line, capsys):
    def main(options):
        raise error

    with pytest.raises(SystemExit) as stopped:
        COMMAND.run(main, ["--output=o"])
    assert stopped.value.code == status and capsys.readouterr().err.strip() == line


def test_tensorflows_errors_are_reported_by_their_first_line():
    import tensorflow as tf

    def main(options):
        raise tf.errors.ResourceExhaustedError(None, None, "no memory\nand a page of text")

    with pytest.raises(SystemExit) as stopped:
        COMMAND.run(main, ["--output=o"])
    assert stopped.value.code == "error: no memory"


@pytest.mark.parametrize("library", ["matplotlib", "scipy"])
def test_a_missing_library_is_reported_with_the_extra(monkeypatch, library):
    import importlib
    import sys

    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SystemExit) as stopped:
        COMMAND.run(lambda options: importlib.import_module(library), ["--output=o"])
    assert stopped.value.code == f"error: {library} is not installed: pip install 'tfcpn[report]'"


def test_an_internal_error_keeps_the_traceback():
    with pytest.raises(ZeroDivisionError):
        COMMAND.run(lambda options: 1 / 0, ["--output=o"])


def test_help_shows_every_flag_by_group(command):
    out = command("-m", "tfcpn.train", "--help").out
    for text in (
        "Network and labels:",
        "--backbone=resnet50|resnet101",
        "Evaluation:",
        "--[no]flip_test",
    ):
        assert text in out


ENTRY_POINTS = [["-m", "tfcpn.train"], ["-m", "tfcpn.eval"]]
ENTRY_POINTS += [
    [f"tools/{p.name}"] for p in sorted((ROOT / "tools").glob("*.py")) if p.stem != "check_gpu"
]


@pytest.mark.parametrize("arguments", ENTRY_POINTS, ids=lambda arguments: arguments[-1])
def test_every_command_starts_as_a_program(arguments):
    assert "usage: python" in run_process(*arguments, "--help").out
    failed = run_process(*arguments, "--nonsense=1", check=False)
    assert (
        failed.status == 1
        and failed.err.startswith("error: --nonsense: ")
        and failed.err.count("\n") == 1
    )
