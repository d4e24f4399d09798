"""Command line: flags, grouped help, one-line errors and exit statuses. Only here is absl used."""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

from absl import flags as absl_flags

from tfcpn.config import FIELDS, REMOVED_FIELDS, RENAMED_FIELDS, Config, make_config
from tfcpn.utils.errors import EXIT_RESUMABLE, InputError, PeerLostError, Preempted

# Libraries that only some commands need, and the extra of setup.py that installs them.
EXTRAS = {"matplotlib": "report", "scipy": "report"}
# Flags of 1.x: their names in 2.0.
RENAMED = {
    **RENAMED_FIELDS,
    "least_score": "score_threshold",
    "memory": "track_timeout",
    "frames": "max_frames",
    "again": "overwrite",
    "most_megabytes": "max_upload_mb",
    "show_regions": "draw_regions",
    "joints": "skeleton",
    "joint_set": "skeleton",
    "analyse": "analyze",
    "most": "max_people",
    "min_joints": "min_keypoints",
}


@dataclass(frozen=True)
class Flag:
    """A flag of a command.

    Attributes:
        name: Name without dashes.
        kind: "string", "path", "boolean", "integer", "float", "string_list" or "enum".
        default: Default value.
        help: Help text.
        choices: Values of an enum.
        minimum, maximum: Limits of a number.
        required: Whether the command needs a value.
        advanced: Whether only --helpfull shows it.
    """

    name: str
    kind: str
    default: object
    help: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    required: bool = False
    advanced: bool = False


def string(name: str, default: str | None, help: str, **options) -> Flag:
    """Define a flag with a string."""
    return Flag(name, "string", default, help, **options)


def path(name: str, default: str | None, help: str, **options) -> Flag:
    """Define a flag with a file or folder; a leading ~ is expanded, also after the =."""
    return Flag(name, "path", default, help, **options)


def boolean(name: str, default: bool, help: str, **options) -> Flag:
    """Define a flag that is set by --name and unset by --noname."""
    return Flag(name, "boolean", default, help, **options)


def integer(name: str, default: int, help: str, **options) -> Flag:
    """Define a flag with an integer."""
    return Flag(name, "integer", default, help, **options)


def float_(name: str, default: float, help: str, **options) -> Flag:
    """Define a flag with a finite number."""
    return Flag(name, "float", default, help, **options)


def string_list(name: str, default: tuple[str, ...], help: str, **options) -> Flag:
    """Define a flag with comma-separated strings."""
    return Flag(name, "string_list", default, help, **options)


def enum(name: str, default: str | None, choices: Sequence[str], help: str, **options) -> Flag:
    """Define a flag with one of some strings."""
    return Flag(name, "enum", default, help, choices=tuple(choices), **options)


# Of every command that reads an annotation file.
SKELETON = path(
    "skeleton",
    "auto",
    "Keypoint definition: auto (from the file's category), a known one (coco, lsp, mediapipe, "
    "crowdpose, mpii, aic, halpe26, wholebody, ap10k, posetrack), or a .json file. Keypoints of "
    "another definition are converted by name.",
)
CATEGORY = string_list(
    "category",
    (),
    "Names or ids of the categories to use; empty: all that have the same keypoints.",
    advanced=True,
)
STRICT = boolean(
    "strict",
    False,
    "Refuse annotations that would be repaired or that look wrong.",
    advanced=True,
)
ANNOTATION_FLAGS = (SKELETON, CATEGORY, STRICT)


def _flag_of_field(name: str) -> Flag:
    """Return the flag of a field of Config."""
    field, metadata = FIELDS[name], FIELDS[name].metadata
    kinds = {"bool": "boolean", "int": "integer", "float": "float"}
    kinds["tuple[str, ...]"] = "string_list"
    kind = "enum" if metadata["choices"] else "path" if metadata["path"] else kinds.get(field.type)
    default = field.default
    if name == "input_size":
        default = "{}x{}".format(*default)
    elif field.type == "tuple[int, ...]":
        default = ",".join(map(str, default))
    return Flag(
        name,
        kind or "string",
        default,
        metadata["help"],
        choices=metadata["choices"],
        minimum=metadata["minimum"],
        maximum=metadata["maximum"],
        advanced=metadata["advanced"],
    )


# Lines of docs/configuration.md.
_PAGE_WRAPPER = textwrap.TextWrapper(
    100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
)
CONFIG_FLAGS = {name: _flag_of_field(name) for name in FIELDS}
# Sections of the help, in the order of the fields.
CONFIG_GROUPS: dict[str, list[Flag]] = {}
for _name, _field in FIELDS.items():
    CONFIG_GROUPS.setdefault(_field.metadata["group"], []).append(CONFIG_FLAGS[_name])


def _define(flag: Flag, values: absl_flags.FlagValues) -> None:
    """Register a flag with absl."""
    name, default, help = flag.name, flag.default, flag.help
    limits = {"lower_bound": flag.minimum, "upper_bound": flag.maximum}
    if flag.kind == "enum":
        absl_flags.DEFINE_enum(name, default, list(flag.choices), help, flag_values=values)
    elif flag.kind == "boolean":
        absl_flags.DEFINE_bool(name, default, help, flag_values=values)
    elif flag.kind == "integer":
        absl_flags.DEFINE_integer(name, default, help, flag_values=values, **limits)
    elif flag.kind == "float":
        absl_flags.DEFINE_float(name, default, help, flag_values=values, **limits)
    else:
        text = ",".join(default) if flag.kind == "string_list" else default
        absl_flags.DEFINE_string(name, text, help, flag_values=values)


def _default_text(flag: Flag) -> str:
    """Return the default of a flag as the command line takes it."""
    if flag.kind == "string_list":
        return ",".join(flag.default)
    if flag.kind == "boolean":
        return "true" if flag.default else "false"
    return "" if flag.default is None else str(flag.default)


def _parsed_value(flag: Flag, values: absl_flags.FlagValues):
    """Return the value of a flag: a tuple for a list, a path with the home folder expanded."""
    value = values[flag.name].value
    if flag.kind == "float" and value is not None and not math.isfinite(value):
        raise InputError(f"--{flag.name}={value}: expected a number")
    if flag.kind == "string_list":
        return tuple(word.strip() for word in value.split(",") if word.strip())
    if flag.kind == "path" and value:
        return os.path.expanduser(value)
    return value


def _parse_input_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise InputError(
            f"--input_size={text}: expected HEIGHTxWIDTH in multiples of 32, such as 256x192"
        )
    return tuple(int(n) for n in match.groups())


def _parse_kernels(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdigit() for word in words):
        raise InputError(f"--label_kernels={text}: expected four odd sizes, such as 15,11,9,7")
    return tuple(int(word) for word in words)


def _config_from_flags(parsed: absl_flags.FlagValues) -> Config:
    """Return the Config of parsed flags. Raises InputError for values that no run can have."""
    values = {name: _parsed_value(flag, parsed) for name, flag in CONFIG_FLAGS.items()}
    values["input_size"] = _parse_input_size(values["input_size"])
    values["label_kernels"] = _parse_kernels(values["label_kernels"])
    return make_config(values, {name for name in FIELDS if parsed[name].present})


class Options(NamedTuple):
    """A parsed command line.

    Attributes:
        args: Values of the command's own flags.
        config: Config of the shared flags; None for a command that does not take them.
        explicit: Names of the flags that the command line or a flagfile sets.
        positional: Arguments that are not flags.
    """

    args: SimpleNamespace
    config: Config | None
    explicit: set[str]
    positional: list[str]


class Command:
    """A program with flags in groups, help, and errors in one line."""

    def __init__(
        self,
        program: str,
        summary: str,
        groups: dict[str, list[Flag | str]] | None = None,
        *,
        uses_config: bool = False,
        choices: Sequence[str] = (),
        positional: str = "",
    ):
        """Define a command.

        Args:
            program: How it is called.
            summary: What it does.
            groups: Its own flags by section. A string stands for the flag of Config of that name.
            uses_config: Whether it takes all flags of Config.
            choices: Positional arguments of which it needs exactly one.
            positional: Name of its positional arguments in the help; "" if it takes none.
        """
        self.program, self.summary = program, summary
        self.choices, self.uses_config, self.positional = tuple(choices), uses_config, positional
        shared = CONFIG_FLAGS if uses_config else {}
        own = {
            title: [shared[f] if isinstance(f, str) else f for f in group]
            for title, group in (groups or {}).items()
        }
        listed = {flag.name for group in own.values() for flag in group}
        rest = {t: [f for f in g if f.name not in listed] for t, g in CONFIG_GROUPS.items()}
        self.groups: dict[str, list[Flag]] = {**own, **(rest if uses_config else {})}
        self.own_flags = [f for group in own.values() for f in group if f.name not in shared]

    def help(self, full: bool = True) -> str:
        """Return the help text.

        Args:
            full: Include flags that few people set.
        """
        words = "|".join(self.choices) or self.positional
        words = f" {words}" if words else ""
        lines = [self.summary.strip(), ""]
        lines.append(f"usage: {self.program}{words} [--flag=value ...] [--flagfile=FILE ...]")
        hidden = 0
        for title, group in self.groups.items():
            shown = [flag for flag in group if full or not flag.advanced]
            hidden += len(group) - len(shown)
            lines += ["", f"{title}:"] if shown else []
            for flag in shown:
                name = f"  --{'[no]' if flag.kind == 'boolean' else ''}{flag.name}"
                if flag.choices:
                    name += f"={'|'.join(flag.choices)}"
                lines += [name, f"      {flag.help} [{_default_text(flag)}]"]
        if hidden:
            lines += ["", f"{hidden} more flags: {self.program} --helpfull"]
        return "\n".join(lines)

    def reference(self) -> str:
        """Return all flags as Markdown, for docs/configuration.md."""
        lines = []
        for title, group in self.groups.items():
            lines += [f"### {title}", ""]
            for flag in group:
                values = f"={'|'.join(flag.choices)}" if flag.choices else ""
                default = _default_text(flag)
                default = f" (`{default}`)" if default else ""
                text = f"- `--{flag.name}{values}`{default}: {flag.help}"
                lines += _PAGE_WRAPPER.wrap(text)
            lines.append("")
        return "\n".join(lines).rstrip() + "\n"

    def parse(self, arguments: Sequence[str]) -> Options:
        """Parse a command line without the program's name.

        Raises:
            InputError: For unknown flags, impossible values and wrong positional arguments.
        """
        values = absl_flags.FlagValues()
        for flag in {f.name: f for group in self.groups.values() for f in group}.values():
            _define(flag, values)
        try:
            positional = values([self.program, *arguments])[1:]
        except absl_flags.UnrecognizedFlagError as error:
            raise InputError(self._unknown_flag(error)) from error
        except absl_flags.Error as error:
            raise InputError(str(error).removeprefix("ERROR:: ")) from error
        help_hint = f"see {self.program} --help"
        if self.choices and (len(positional) != 1 or positional[0] not in self.choices):
            raise InputError(f"expected one of {', '.join(self.choices)}; {help_hint}")
        if positional and not (self.choices or self.positional):
            raise InputError(f"unexpected argument {positional[0]!r}; {help_hint}")
        for flag in (flag for group in self.groups.values() for flag in group):
            if flag.required and not values[flag.name].value:
                raise InputError(f"--{flag.name} is missing; {help_hint}")
        args = SimpleNamespace(**{f.name: _parsed_value(f, values) for f in self.own_flags})
        explicit = {name for name in values if values[name].present}
        config = _config_from_flags(values) if self.uses_config else None
        return Options(args, config, explicit, positional)

    def _unknown_flag(self, error: absl_flags.UnrecognizedFlagError) -> str:
        name = error.flagname
        base = name.removeprefix("no")
        for old in (name, base):
            new = RENAMED.get(old)
            if new and any(flag.name == new for group in self.groups.values() for flag in group):
                return f"--{old} is now --{new}"
            if old in REMOVED_FIELDS:
                return f"--{old} was removed in 2.0; docs/notes/experiments.md has its effect"
        hint = str(error).partition("Did you mean:")[2].strip(" ?").split(",")[0]
        hint = f"did you mean --{hint}?" if hint else f"see {self.program} --help"
        return f"--{name}: {self.program} has no such flag; {hint}"

    def run(self, main: Callable[[Options], None], arguments: Sequence[str] | None = None) -> None:
        """Parse the command line, call `main`, and exit with a message if that fails.

        Exit statuses: 1 for an error, `EXIT_RESUMABLE` if the same command resumes the work, 130
        for a keyboard interrupt.

        Args:
            main: The program.
            arguments: Command line without the program's name; None for the process's own.
        """
        arguments = sys.argv[1:] if arguments is None else arguments
        # A new handler each time, so that a second command in a process uses its standard error.
        handler = logging.StreamHandler(sys.stderr)
        logger = logging.getLogger("tfcpn")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        before, logger.handlers = logger.handlers, [handler]
        try:
            if "--helpfull" in arguments:
                print(self.help(), flush=True)
            elif {"--help", "-help", "-h"} & set(arguments):
                print(self.help(full=False), flush=True)
            else:
                main(self.parse(arguments))
        except PeerLostError as error:
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            sys.exit(EXIT_RESUMABLE)
        except InputError as error:
            _fail(str(error))
        except ModuleNotFoundError as error:
            module = (error.name or "").split(".")[0]
            if module not in EXTRAS:
                raise
            _fail(f"{module} is not installed: pip install 'tfcpn[{EXTRAS[module]}]'")
        except BrokenPipeError:
            # The reader, such as `head`, is gone; Python must not flush to it at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            _fail(f"{error.filename or self.program}: {error.strerror or error}")
        except BrokenExecutor:
            _fail(
                "a worker process died, perhaps out of memory; rerun the same command to resume; "
                "--workers=1 needs the least memory"
            )
        except Preempted as stop:
            print(f"{stop}; progress saved, rerun the same command to resume", file=sys.stderr)
            sys.exit(EXIT_RESUMABLE)
        except KeyboardInterrupt:
            print("\ninterrupted; finished work is kept, rerun the same command", file=sys.stderr)
            sys.exit(130)
        except Exception as error:
            # An error of TensorFlow, if the command has imported it.
            tf_errors = getattr(sys.modules.get("tensorflow"), "errors", None)
            if tf_errors is None or not isinstance(error, tf_errors.OpError):
                raise
            _fail(error.message.split("\n")[0])
        finally:
            logger.handlers = before


def _fail(message: str) -> None:
    sys.exit(f"error: {' '.join(message.split())}")
