"""Imports follow the order of packages, and each external library is imported in one place."""

import ast
from pathlib import Path

import pytest

from support.commands import ROOT, run_process

# From the bottom up: a package may import the packages before it.
PACKAGES = [
    "utils",
    "skeleton",
    "transforms",
    "codecs",
    "data",
    "models",
    "config_rules",
    "config",
    "cli",
    "builders",
    "checkpoints",
    "visualization",
    "evaluation",
    "analysis",
    "training",
    "inference",
    "export",
    "train",
    "eval",
    "predict",
    "synthetic",
    "commands",
    "__main__",
]
MODULES = sorted((ROOT / "tfcpn").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Full names of the modules imported anywhere in a file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def own(names: set[str]) -> set[str]:
    modules = {name_of(path) for path in MODULES}
    return {name for name in names if name in modules and name != "tfcpn"}


def test_every_module_is_in_a_package_of_the_list():
    assert {name_of(path).split(".")[1] for path in MODULES if name_of(path) != "tfcpn"} == set(
        PACKAGES
    )


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path):
    package = name_of(path).split(".")[1:2]
    if not package:
        return  # the package itself is above all of them
    for name in own(imported(path)):
        below = name.split(".")[1]
        assert below == package[0] or PACKAGES.index(below) < PACKAGES.index(package[0]), name


def test_within_a_package_there_are_no_import_cycles():
    needs = {name_of(path): own(imported(path)) for path in MODULES}
    while needs:
        free = [name for name, others in needs.items() if not others & set(needs) - {name}]
        assert free, f"these import each other: {sorted(needs)}"
        for name in free:
            del needs[name]


@pytest.mark.parametrize(
    "library, places",
    [
        ("absl", ["tfcpn/cli.py"]),
        ("tensorflow_addons", ["tfcpn/transforms/normalize.py"]),
        ("pycocotools", ["tfcpn/evaluation/metrics.py"]),
    ],
)
def test_a_library_is_imported_only_in_allowed_modules(library, places):
    for path in [*MODULES, *(ROOT / "tools").rglob("*.py")]:
        if any(name.split(".")[0] == library for name in imported(path)):
            assert any(str(path.relative_to(ROOT)).startswith(place) for place in places), path


def test_importing_the_commands_does_not_wait_for_tensorflow():
    """Help, flag errors, drawing people and reports work without it."""
    tools = [p.stem for p in (ROOT / "tools").glob("*.py") if p.stem != "check_gpu"]
    modules = ["tfcpn.train", "tfcpn.eval", "tfcpn.predict", *tools]
    code = f"import sys; sys.path.insert(0, 'tools'); import {', '.join(modules)}"
    done = run_process(
        "-c", f"{code}; print(sorted({{'tensorflow', 'matplotlib'}} & set(sys.modules)))"
    )
    assert done.out.strip() == "[]"
