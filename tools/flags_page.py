"""Write docs/configuration.md: every flag of train, eval and predict, from the code."""

from __future__ import annotations

from pathlib import Path

from tfcpn import predict, train
from tfcpn.cli import Command, Options, path

COMMAND = Command(
    "python tools/flags_page.py",
    __doc__,
    {"Output": [path("output", "docs/configuration.md", "The page.")]},
)
INTRODUCTION = """# Configuration

After this page you can set every flag of `train`, `eval` and `predict`. It is written by
`python tools/flags_page.py`; the text is that of `--helpfull`.

- A value comes from the command line, else from the flagfiles it names, else from the default
  in parentheses. Of two values the last one counts.
- `--name` sets a boolean flag, `--noname` unsets it.
- `train` and `eval` take the same flags, so one flagfile serves both. A flag that would have no
  effect is refused in one line.
- A run keeps its settings in `config.json`. `train` refuses to resume it with other ones, except
  those of the sections Machine and Evaluation, files, and how long and how often. `eval` takes
  what is not set from the run.

## train and eval

"""


def page() -> str:
    """Return the text of the page."""
    train_flags = train.COMMAND.reference()
    return f"{INTRODUCTION}{train_flags}\n## predict\n\n{predict.COMMAND.reference()}"


def main(options: Options) -> None:
    """Write the page."""
    Path(options.args.output).write_text(page())


if __name__ == "__main__":
    COMMAND.run(main)
