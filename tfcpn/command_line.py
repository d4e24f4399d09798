"""What every command of the project does alike: grouped help, and a user's mistake told in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor

import tensorflow as tf
from absl import flags, logging

from tfcpn.errors import InputError

FLAGS = flags.FLAGS


def _help(program: str, summary: str, groups: dict[str, list[str]], choices: tuple[str, ...]) -> str:
    what = f" {'|'.join(choices)}" if choices else ""
    lines = [summary, "", f"usage: {program}{what} [--flag=value ...] [--flagfile=FILE ...]"]
    for group, names in groups.items():
        lines += ["", f"{group}:"]
        for name in names:
            flag = FLAGS[name]
            choices = getattr(flag.parser, "enum_values", None)
            title = f"  --{'[no]' if flag.boolean else ''}{name}"
            if choices:
                title += f"={'|'.join(choices)}"
            lines += [title, f"      {flag.help} [{flag.default}]"]
    return "\n".join(lines)


def _check_known(program: str, groups: dict[str, list[str]]) -> None:
    """Raise InputError for a flag that some import defines but this command does not use: it would change nothing."""
    own = {name for names in groups.values() for name in names}
    for name, flag in FLAGS.flag_values_dict().items():
        if FLAGS[name].present and name not in own and not FLAGS.find_module_defining_flag(name).startswith("absl"):
            raise InputError(f"--{name}={flag}: {program} has no such flag; see {program} --help")


def _fail(message: str) -> None:
    sys.exit(f"error: {' '.join(message.split())}")


def run(
    main: Callable[..., None], program: str, summary: str, groups: dict[str, list[str]], choices: tuple[str, ...] = ()
) -> None:
    """Parse the flags and call `main`; exit with status 1 and one line for an InputError, 130 when interrupted.

    groups: what --help shows, names of flags by heading. choices: words of which the command wants one; `main` is
    called with it.
    """
    if {"--help", "-help", "-h", "--helpfull"} & set(sys.argv[1:]):
        print(_help(program, summary, groups, choices))
        return
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().setFormatter(None)
    try:
        rest = FLAGS(sys.argv)[1:]
        _check_known(program, groups)
        if choices and (len(rest) != 1 or rest[0] not in choices):
            raise InputError(f"want one of {', '.join(choices)}; see {program} --help")
        if rest and not choices:
            raise InputError(f"unexpected argument {rest[0]!r}; see {program} --help")
        main(*rest)
    except (flags.Error, InputError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or program}: {error.strerror or error}")
    except tf.errors.OpError as error:
        _fail(error.message.split("\n")[0])
    except BrokenExecutor:
        _fail("a worker process died, perhaps for want of memory; the same command goes on, --workers=1 needs least")
    except KeyboardInterrupt:
        print("\ninterrupted; what was finished is kept, the same command does the rest", file=sys.stderr)
        sys.exit(130)
