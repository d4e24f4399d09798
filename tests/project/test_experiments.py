"""The experiments of docs/notes/experiments.md match its tables."""

import pytest
from experiments import GROUPS, SEVERAL_SEEDS, experiments

from support.parsing import parse

GROUPED = {group: experiments(group) for group in GROUPS}
RUNS = [
    (group, name, arguments) for group, runs in GROUPED.items() for name, arguments in runs.items()
]


@pytest.mark.parametrize("group, name, arguments", RUNS, ids=[name for _, name, _ in RUNS])
def test_every_experiment_is_a_run(group, name, arguments):
    cfg, given = parse(*GROUPS[group], *arguments)
    base, _ = parse(*GROUPS[group])
    place = {"photographs": "data/lsp/", "modern": "data/demo/"}.get(group, "data/drawn_")
    assert cfg.train_records.startswith(place)
    changed = {w.split("=")[0].lstrip("-").replace("noalign", "align") for w in arguments}
    assert changed <= given and (
        cfg != base or name in ("scale255_seed0", "faithful_seed0", "person")
    )


def test_seeds_are_repeated_if_the_table_compares_means():
    for name in SEVERAL_SEEDS:
        runs = set(experiments("scale")) | set(experiments("modern"))
        assert {f"{name}_seed{seed}" for seed in range(3)} <= runs


def test_photographs_need_the_archive(command):
    failed = command(
        "tools/experiments.py", "--group=photographs", "--archive=nowhere", check=False
    )
    assert (
        failed.status == 1
        and "--archive=nowhere: expected the folder of Leeds Sports Pose Extended" in failed.err
    )
