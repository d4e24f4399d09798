"""Over twenty SIGKILLs in all phases of a run: the result equals that of an uninterrupted run."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from test_stopped_and_resumed import assert_same

from support.commands import ROOT, TENSORFLOW_ON_CPU, run_process
from support.small_run import flags, logged

pytestmark = pytest.mark.slow

ARGUMENTS = (
    "--epoch_size=64",
    "--epochs=20",
    "--deterministic",
    "--eval_every=2",
    "--checkpoint_minutes=1e-9",
)
# Functions that end a child, and the latest call, so that little progress is made between two
# kills.
MOMENTS = {
    "while a checkpoint's files are being summed up": (
        "tfcpn.checkpoints.manager:file_checksum",
        4,
    ),
    "before a file or folder is on the disk": ("tfcpn.utils.files:fsync_path", 4),
    "between a save and its name": ("pathlib:Path.rename", 2),
    "between the name and what is deleted then": (
        "tfcpn.checkpoints.manager:CheckpointManager.prune",
        2,
    ),
    "between deletions": ("shutil:rmtree", 2),
    "before an epoch's row": ("tfcpn.training.logger:TrainingLogger.log_epoch", 1),
    "before a validation's numbers": ("tfcpn.training.logger:TrainingLogger.log_validation", 1),
    "within a validation": ("tfcpn.evaluation.evaluator:coco_metrics", 1),
    "before a step": ("tfcpn.training.preemption:CheckpointSchedule.requests", 3),
    "before the run's settings": ("tfcpn.checkpoints.run_config:save_run", 1),
}
SEED = int(os.environ.get("TFCPN_TEST_SEED", time.time_ns() % 1_000_000))


def plans(seed: int) -> list:
    """Return every function twice, at the first, second, ... call in a child, and some times in
    seconds.
    """
    rng = random.Random(seed)
    named = [[name, rng.randint(1, latest)] for name, latest in MOMENTS.values() for _ in range(2)]
    timed = [["", rng.uniform(0.3, 3)] for _ in range(4)]
    # Times come last: the progress until then depends on the machine.
    return rng.sample(named, len(named)) + timed


def killed_often(plan, arguments, timeout=800):
    command = [sys.executable, "tests/support/killed_often.py", json.dumps(plan), *arguments]
    environment = {**os.environ, **TENSORFLOW_ON_CPU}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


def test_a_run_killed_over_twenty_times_equals_an_uninterrupted_one(people, tmp_path):
    whole, arguments = tmp_path / "whole", flags(people, tmp_path / "killed", *ARGUMENTS)
    assert killed_often([], flags(people, whole, *ARGUMENTS)) == [[None, 0]]
    plan = plans(SEED)
    ends = killed_often(plan, arguments)
    printed = f"TFCPN_TEST_SEED={SEED}: {ends}"
    assert [end[0] for end in ends] == [*plan, None] and ends[-1][1] == 0, printed
    assert sum(status == -signal.SIGKILL for _, status in ends) >= 20, printed
    # A fast child may finish the run before its time.
    assert all(
        status == -signal.SIGKILL or (status == 0 and not plan[0]) for plan, status in ends[:-1]
    ), printed
    assert_same(whole, tmp_path / "killed", epoch=20, exact=True)
    assert len(logged(whole)) == 20 and all(row["AP"] != "" for row in logged(whole)[1::2])
    # Temporary files of evaluations are deleted after a minute.
    files = [path for path in (tmp_path / "killed").rglob("*") if "eval" not in path.parts]
    left = [path.name for path in files if ".tmp" in path.name or path.name == ".lock"]
    assert left == [], printed


@pytest.mark.parametrize(
    "schedule",
    [
        ("--lr_cosine", "--warmup_steps=6"),
        ("--lr_cosine", "--warmup_steps=6", "--ema=0.9"),
        ("--lr_cosine", "--warmup_steps=6", "--ema=0.9", "--mixed_precision=float16"),
        ("--lr_halving=1", "--warmup_steps=6", "--mixed_precision=float16"),
        ("--lr_halving=1", "--ema=0.9", "--weight_decay=0.5"),
        (
            "--lr_cosine",
            "--warmup_steps=6",
            "--views=1",
            "--random_half_body=0.5",
            "--random_erasing=0.5",
            "--color_jitter=0.3",
        ),
    ],
    ids=" ".join,
)
def test_a_run_killed_during_and_after_warm_up_equals_an_uninterrupted_one(
    people, tmp_path, schedule
):
    arguments = ["--epoch_size=64", "--epochs=3", "--deterministic", "--checkpoint_minutes=1e-9"]
    arguments += ["--lr_halving=60", *schedule]
    killed_often([], flags(people, tmp_path / "whole", *arguments))
    plan = [
        ["tfcpn.training.preemption:CheckpointSchedule.requests", number] for number in (3, 4, 5)
    ]
    ends = killed_often(plan, flags(people, tmp_path / "killed", *arguments))
    assert [status for _, status in ends] == [-signal.SIGKILL] * 3 + [0]
    assert_same(tmp_path / "whole", tmp_path / "killed", epoch=3, exact=True)


def test_records_of_a_killed_command_equal_uninterrupted_ones(people, tmp_path):
    arguments = [
        "tools/make_records.py",
        f"--annotations={people.train_annotations}",
        f"--images={people.train}",
    ]
    arguments += ["--shards=12", "--workers=2", f"--output={tmp_path / 'killed'}"]
    rng = random.Random(SEED)
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, **TENSORFLOW_ON_CPU},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until = time.monotonic() + rng.uniform(0.5, 8)
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    run_process(*arguments)
    run_process(*arguments[:-1], f"--output={tmp_path / 'whole'}")
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "killed").iterdir()), SEED
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (
            tmp_path / "killed" / name
        ).read_bytes(), (name, SEED)
