"""The command `tfcpn`, also as `python -m tfcpn`: every program of the package as a subcommand."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Sequence

from tfcpn.cli import Command

# Subcommand: its module, which has COMMAND and main.
PROGRAMS = {
    "train": "tfcpn.train",
    "eval": "tfcpn.eval",
    "predict": "tfcpn.predict",
    "export": "tfcpn.commands.export",
    "report": "tfcpn.commands.report",
    "data coco": "tfcpn.commands.get_coco",
    "data lsp": "tfcpn.commands.import_lsp",
    "data import": "tfcpn.commands.import_annotations",
    "data yolo": "tfcpn.commands.export_yolo",
    "data records": "tfcpn.commands.make_records",
    "data check": "tfcpn.commands.check_annotations",
    "data filter": "tfcpn.commands.filter_coco",
    "data browse": "tfcpn.commands.browse",
    "data serve": "tfcpn.commands.data_service",
    "models download": "tfcpn.commands.get_models",
    "models convert": "tfcpn.commands.convert_checkpoint",
    "models compare": "tfcpn.commands.compare_blazepose",
    "draw batch": "tfcpn.commands.show_batch",
    "draw crops": "tfcpn.commands.show_crops",
    "draw poses": "tfcpn.commands.draw_poses",
    "draw people": "tfcpn.commands.make_people",
    "draw video": "tfcpn.commands.make_video",
    "score video": "tfcpn.commands.score_video",
    "score detector": "tfcpn.commands.score_detector",
    "score rotation": "tfcpn.commands.pck_by_rotation",
}
_BASH = """_tfcpn() {
  local line="${COMP_LINE:0:COMP_POINT}"
  COMPREPLY=($(tfcpn completion "${line#* }" 2>/dev/null))
  [ ${#COMPREPLY[@]} -gt 0 ] && [[ "${COMPREPLY[0]}" == *= ]] && compopt -o nospace
}
complete -o default -F _tfcpn tfcpn"""


def load(name: str) -> tuple[Command, object]:
    """Return the Command and the main function of a subcommand."""
    module = importlib.import_module(PROGRAMS[name])
    module.COMMAND.program = f"tfcpn {name}"
    return module.COMMAND, module.main


def help_text() -> str:
    """Return the list of subcommands."""
    width = max(map(len, PROGRAMS))
    lines = ["tf-cpn in TensorFlow 2, and training for MediaPipe's BlazePose.", ""]
    lines += ["usage: tfcpn SUBCOMMAND [--flag=value ...]", ""]
    lines += [f"  {n:<{width}}  {load(n)[0].summary.strip().splitlines()[0]}" for n in PROGRAMS]
    lines += ["", "tfcpn SUBCOMMAND --help lists its flags, tfcpn --version prints the version."]
    lines += ['Completion in bash: eval "$(tfcpn completion)"']
    return "\n".join(lines)


def complete(line: str) -> list[str]:
    """Return the completions of a command line's last word.

    Args:
        line: What follows the program's name, up to the cursor.
    """
    *words, last = line.split(" ")
    words = [word for word in words if word]
    for name in PROGRAMS:
        parts = name.split()
        if words[: len(parts)] == parts:
            flags = [flag for group in load(name)[0].groups.values() for flag in group]
            found = {f"--{f.name}" if f.kind == "boolean" else f"--{f.name}=" for f in flags}
            return sorted(word for word in found if last and word.startswith(last))
    names = [name.split() for name in PROGRAMS if name.split()[: len(words)] == words]
    found = {name[len(words)] for name in names if len(name) > len(words)}
    return sorted(word for word in found if word.startswith(last))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a subcommand."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["--version"]:
        print(f"tfcpn {importlib.metadata.version('tfcpn')}")
        return
    if words[:1] == ["completion"]:
        print("\n".join(complete(words[1])) if words[1:] else _BASH)
        return
    if not words or words[0] in ("--help", "-h", "help"):
        print(help_text())
        return
    for count in (1, 2):
        name = " ".join(words[:count])
        if name in PROGRAMS:
            command, program = load(name)
            command.run(program, words[count:])
            return
    inner = [name.split()[1] for name in PROGRAMS if name.split()[0] == words[0] and " " in name]
    if inner:
        sys.exit(f"error: tfcpn {words[0]}: expected one of {', '.join(inner)}; see tfcpn --help")
    sys.exit(f"error: tfcpn {words[0]}: no such subcommand; see tfcpn --help")


if __name__ == "__main__":
    main()
