"""Over twenty SIGKILLs in all phases of a run: the result has the bits of an undisturbed one."""

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

WORDS = (
    "--epoch_size=64",
    "--epochs=20",
    "--deterministic",
    "--eval_every=2",
    "--checkpoint_minutes=1e-9",
)
# What a child is doing, and which time at the latest: so that little gets done between two kills.
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
    """Every moment twice, at its first, second, ...

    time in a child, and some that are moments of a clock.
    """
    rng = random.Random(seed)
    named = [[name, rng.randint(1, latest)] for name, latest in MOMENTS.values() for _ in range(2)]
    timed = [["", rng.uniform(0.3, 3)] for _ in range(4)]
    # Those of the clock last: how much they get done is the machine's to say.
    return rng.sample(named, len(named)) + timed


def killed_often(plan, words, timeout=800):
    command = [sys.executable, "tests/support/killed_often.py", json.dumps(plan), *words]
    environment = {**os.environ, **TENSORFLOW_ON_CPU}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


def test_killed_more_than_twenty_times_it_ends_with_the_bits_of_one_left_alone(people, tmp_path):
    whole, words = tmp_path / "whole", flags(people, tmp_path / "killed", *WORDS)
    assert killed_often([], flags(people, whole, *WORDS)) == [[None, 0]]
    plan = plans(SEED)
    ends = killed_often(plan, words)
    printed = f"TFCPN_TEST_SEED={SEED}: {ends}"
    assert [end[0] for end in ends] == [*plan, None] and ends[-1][1] == 0, printed
    assert sum(status == -signal.SIGKILL for _, status in ends) >= 20, printed
    # A fast child may come to the run's end before its clock does.
    assert all(
        status == -signal.SIGKILL or (status == 0 and not plan[0]) for plan, status in ends[:-1]
    ), printed
    assert_same(whole, tmp_path / "killed", epoch=20, exact=True)
    assert len(logged(whole)) == 20 and all(row["AP"] != "" for row in logged(whole)[1::2])
    # Those of evaluations are swept when they are a minute old.
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
def test_killed_within_and_behind_the_warm_up_it_ends_with_the_bits_of_one_left_alone(
    people, tmp_path, schedule
):
    words = ["--epoch_size=64", "--epochs=3", "--deterministic", "--checkpoint_minutes=1e-9"]
    words += ["--lr_halving=60", *schedule]
    killed_often([], flags(people, tmp_path / "whole", *words))
    plan = [
        ["tfcpn.training.preemption:CheckpointSchedule.requests", number] for number in (3, 4, 5)
    ]
    ends = killed_often(plan, flags(people, tmp_path / "killed", *words))
    assert [status for _, status in ends] == [-signal.SIGKILL] * 3 + [0]
    assert_same(tmp_path / "whole", tmp_path / "killed", epoch=3, exact=True)


def test_records_whose_making_is_killed_are_those_of_one_left_alone(people, tmp_path):
    words = [
        "tools/make_records.py",
        f"--annotations={people.train_annotations}",
        f"--images={people.train}",
    ]
    words += ["--shards=12", "--workers=2", f"--output={tmp_path / 'killed'}"]
    rng = random.Random(SEED)
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, *words],
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
    run_process(*words)
    run_process(*words[:-1], f"--output={tmp_path / 'whole'}")
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "killed").iterdir()), SEED
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (
            tmp_path / "killed" / name
        ).read_bytes(), (name, SEED)
