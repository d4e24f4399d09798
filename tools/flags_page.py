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

This page lists every flag of `train`, `eval` and `predict`. It is written by
`python tools/flags_page.py`; the text is that of `--helpfull`.

- A value comes from the command line, otherwise from the named flagfiles, otherwise from the
  default in parentheses. The last value of a flag is used.
- `--name` sets a boolean flag, `--noname` unsets it.
- `train` and `eval` take the same flags, so one flagfile serves both. A flag that would have no
  effect is refused in one line.
- MediaPipe's networks have other defaults. `--network=blazepose`: `--input_size=256x256
  --align=blazepose --weight_decay=0 --views=1`. `--network=blazepose_detector`:
  `--input_size=224x224 --align=image --align_missing=drop --weight_decay=0 --views=1`.
- A run stores its settings in `config.json`. `train` refuses to resume it with other settings,
  except for how it is evaluated, where its data are, how long it is and how often it saves, and
  the machine (but not `--mixed_precision` and `--strategy`). `eval` uses the settings of the run
  by default.

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
