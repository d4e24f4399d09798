"""What every command of the project does alike: flags, grouped help, and a user's mistake told in one line."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from types import SimpleNamespace
from typing import NamedTuple

from absl import flags

from tfcpn.base.errors import EXIT_RESUMABLE, InputError, PeerLostError, Preempted
from tfcpn.settings import config
from tfcpn.settings.config import Config
from tfcpn.settings.flag import Flag, define, value_of

# Libraries that only some commands want, and the extra of setup.py that has them.
EXTRAS = {"matplotlib": "report", "scipy": "report"}


class Options(NamedTuple):
    """What a command was called with. own: values of the flags that are its own, by name. config: of those that all
    share. given: names of the flags that the command line or a flagfile sets. words: the rest of the command line.
    """

    own: SimpleNamespace
    config: Config | None
    given: set[str]
    words: list[str]


class Command:
    """A program of the project: its name, what it is for, and its flags by group.

    groups: flags of its own; a text stands for the flag of that name in Config, to be shown there. shared: whether
    the command takes all flags of Config, and `Options.config` is made of them. choices: words of which it wants one.
    words: what else may stand on its command line, for the help; empty: nothing.
    """

    def __init__(
        self,
        program: str,
        summary: str,
        groups: dict[str, list[Flag | str]] | None = None,
        *,
        shared: bool = False,
        choices: Sequence[str] = (),
        words: str = "",
    ):
        self.program, self.summary, self.choices, self.shared = (
            program,
            summary,
            tuple(choices),
            shared,
        )
        self.words = words
        named = (
            {flag.name: flag for group in config.GROUPS.values() for flag in group}
            if shared
            else {}
        )
        own = {title: [named.get(f, f) for f in group] for title, group in (groups or {}).items()}
        self.groups: dict[str, list[Flag]] = {**own, **(config.GROUPS if shared else {})}
        self.own = [flag for group in own.values() for flag in group if flag.name not in named]

    def help(self) -> str:
        what = f" {'|'.join(self.choices) or self.words}" if self.choices or self.words else ""
        lines = [
            self.summary.strip(),
            "",
            f"usage: {self.program}{what} [--flag=value ...] [--flagfile=FILE ...]",
        ]
        for group, members in self.groups.items():
            lines += ["", f"{group}:"]
            for flag in members:
                title = f"  --{'[no]' if flag.kind == 'switch' else ''}{flag.name}"
                if flag.choices:
                    title += f"={'|'.join(flag.choices)}"
                default = ",".join(flag.default) if flag.kind == "words" else flag.default
                lines += [title, f"      {flag.help} [{default}]"]
        return "\n".join(lines)

    def parse(self, arguments: Sequence[str]) -> Options:
        """Raises InputError for a flag that there is not, or a value that cannot be."""
        values = flags.FlagValues()
        for flag in {f.name: f for group in self.groups.values() for f in group}.values():
            define(flag, values)
        try:
            words = values([self.program, *arguments])[1:]
        except flags.UnrecognizedFlagError as error:
            hint = str(error).partition("Did you mean:")[2].strip(" ?").split(",")[0]
            hint = f"; did you mean --{hint}?" if hint else f"; see {self.program} --help"
            raise InputError(
                f"--{error.flagname}: {self.program} has no such flag{hint}"
            ) from error
        except flags.Error as error:
            raise InputError(str(error).removeprefix("ERROR:: ")) from error
        if self.choices and (len(words) != 1 or words[0] not in self.choices):
            raise InputError(f"want one of {', '.join(self.choices)}; see {self.program} --help")
        if words and not (self.choices or self.words):
            raise InputError(f"unexpected argument {words[0]!r}; see {self.program} --help")
        for flag in (flag for group in self.groups.values() for flag in group):
            if flag.required and not values[flag.name].value:
                raise InputError(f"--{flag.name} is missing; see {self.program} --help")
        own = SimpleNamespace(**{flag.name: value_of(flag, values) for flag in self.own})
        given = {name for name in values if values[name].present}
        return Options(own, config.from_values(values) if self.shared else None, given, words)

    def run(self, main: Callable[[Options], None], arguments: Sequence[str] | None = None) -> None:
        """Parse, call `main`; exit with status 1 and one line for an InputError, 130 when interrupted."""
        arguments = sys.argv[1:] if arguments is None else arguments
        # Their own handler, so that a second command in the same process writes to the standard error of its time.
        handler = logging.StreamHandler(sys.stderr)
        logger = logging.getLogger("tfcpn")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        before, logger.handlers = logger.handlers, [handler]
        try:
            if {"--help", "-help", "-h", "--helpfull"} & set(arguments):
                print(self.help(), flush=True)
            else:
                main(self.parse(arguments))
        except PeerLostError as error:
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            sys.exit(EXIT_RESUMABLE)
        except InputError as error:
            _fail(str(error))
        except ModuleNotFoundError as error:
            extra = EXTRAS.get((error.name or "").split(".")[0])
            if extra is None:
                raise
            _fail(f"this wants {error.name.split('.')[0]}: pip install 'tfcpn[{extra}]'")
        except BrokenPipeError:
            # The reader, such as `head`, has seen enough; Python must not try again when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            _fail(f"{error.filename or self.program}: {error.strerror or error}")
        except BrokenExecutor:
            _fail(
                "a worker process died, perhaps for want of memory; the same command goes on, --workers=1 needs least"
            )
        except Preempted as stop:
            print(f"{stop}; what was done is saved, the same command goes on", file=sys.stderr)
            sys.exit(EXIT_RESUMABLE)
        except KeyboardInterrupt:
            print(
                "\ninterrupted; what was finished is kept, the same command does the rest",
                file=sys.stderr,
            )
            sys.exit(130)
        except Exception as error:
            # TensorFlow's, of a command that has imported it.
            operation_failed = getattr(sys.modules.get("tensorflow"), "errors", None)
            if operation_failed is None or not isinstance(error, operation_failed.OpError):
                raise
            _fail(error.message.split("\n")[0])
        finally:
            logger.handlers = before


def _fail(message: str) -> None:
    sys.exit(f"error: {' '.join(message.split())}")
