"""One flag of a command, as a value, and how absl parses it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from absl import flags

from tfcpn.base.errors import InputError


@dataclass(frozen=True)
class Flag:
    """kind: "text", "path", "switch", "whole", "number", "words" (with commas between them) or "choice".

    least, most: limits of a number. required: the command needs a value, and says so if there is none.
    """

    name: str
    kind: str
    default: object
    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    required: bool = False


def text(name: str, default: str | None, help: str, **more) -> Flag:
    return Flag(name, "text", default, help, **more)


def path(name: str, default: str | None, help: str, **more) -> Flag:
    """A file or folder; a leading ~ is the user's home, also behind the = where a shell leaves it."""
    return Flag(name, "path", default, help, **more)


def switch(name: str, default: bool, help: str) -> Flag:
    return Flag(name, "switch", default, help)


def whole(
    name: str, default: int, help: str, least: int | None = None, most: int | None = None
) -> Flag:
    return Flag(name, "whole", default, help, least=least, most=most)


def number(
    name: str, default: float, help: str, least: float | None = None, most: float | None = None
) -> Flag:
    return Flag(name, "number", default, help, least=least, most=most)


def words(name: str, default: tuple[str, ...], help: str, **more) -> Flag:
    return Flag(name, "words", default, help, **more)


def choice(name: str, default: str | None, choices, help: str, **more) -> Flag:
    return Flag(name, "choice", default, help, choices=tuple(choices), **more)


# Of every command that reads an annotation file.
SKELETON = path(
    "skeleton",
    "auto",
    "auto: the keypoints that the file's category tells; or coco, lsp, mediapipe, or a .json file's.",
)


def define(flag: Flag, values: flags.FlagValues) -> None:
    """Let absl know the flag."""
    limits = {"lower_bound": flag.least, "upper_bound": flag.most}
    if flag.kind == "choice":
        flags.DEFINE_enum(
            flag.name, flag.default, list(flag.choices), flag.help, flag_values=values
        )
    elif flag.kind == "switch":
        flags.DEFINE_bool(flag.name, flag.default, flag.help, flag_values=values)
    elif flag.kind == "whole":
        flags.DEFINE_integer(flag.name, flag.default, flag.help, flag_values=values, **limits)
    elif flag.kind == "number":
        flags.DEFINE_float(flag.name, flag.default, flag.help, flag_values=values, **limits)
    elif flag.kind == "words":
        flags.DEFINE_string(flag.name, ",".join(flag.default), flag.help, flag_values=values)
    else:
        flags.DEFINE_string(flag.name, flag.default, flag.help, flag_values=values)


def value_of(flag: Flag, values: flags.FlagValues):
    """The parsed value: a tuple for words, a path with the user's home in it."""
    value = values[flag.name].value
    if flag.kind == "number" and value is not None and not math.isfinite(value):
        raise InputError(f"--{flag.name}={value}: want a number")
    if flag.kind == "words":
        return tuple(word.strip() for word in value.split(",") if word.strip())
    if flag.kind == "path" and value:
        return os.path.expanduser(value)
    return value
