"""A disk that fills up, or is read-only: a one-line error, the last good checkpoint unchanged, no
partial file.

Uses a file system in memory, if Linux permits one; tests that need none are in test_manager.py."""

import os
import re
import subprocess
import sys

import pytest

from support.commands import ROOT, TENSORFLOW_ON_CPU
from support.small_run import flags, weights
from support.tiny import TINY

pytestmark = pytest.mark.slow

# The disk is full from the nth step on. The run resumes once space is freed.
FILLING = """
import os
from tfcpn.training.preemption import CheckpointSchedule
usual, count = CheckpointSchedule.requests, iter(range(1, 10**6))
def requests(self):
    if next(count) == {step}:
        try:
            with open({filler!r}, "wb", buffering=0) as file:
                while file.write(bytes(1 << 16)):
                    pass
        except OSError:
            pass
    return usual(self)
CheckpointSchedule.requests = requests
"""


def on_a_small_disk(disk, script: str):
    """Run a shell script with `disk` as a file system of 250 MB."""
    mounted = f"mount -t tmpfs -o size=250m tmpfs {disk} && {script}"
    environment = {**os.environ, **TENSORFLOW_ON_CPU, "PYTHON": sys.executable, "TINY": TINY}
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        allowed = on_a_small_disk(folder, "true").returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("this machine gives users no file systems of their own")
    return folder


@pytest.mark.parametrize("step", [4, 6])
def test_a_disk_that_fills_up_during_a_run_is_reported_and_the_run_resumes(
    people, disk, tmp_path, step
):
    """In the second epoch, before the mid-epoch checkpoint (4) and before the row (6)."""
    arguments = flags(people, disk / "run", "--epoch_size=48", "--epochs=3", "--deterministic")
    arguments.append("--checkpoint_minutes=1e-9" if step == 4 else "--checkpoint_minutes=0")
    filling = FILLING.format(step=step, filler=str(disk / "filler"))
    train = '$PYTHON -c "$TINY" tfcpn.train ' + " ".join(arguments)
    script = f"""
        FILLED="$FILLING$TINY"
        $PYTHON -c "$FILLED" tfcpn.train {" ".join(arguments)} 2> {tmp_path}/err
        echo status $?
        find {disk} | sort; rm {disk}/filler
        {train} 2> {tmp_path}/again; echo status $?
        cp -r {disk}/run {tmp_path}/run
    """
    os.environ["FILLING"] = filling
    try:
        done = on_a_small_disk(disk, script)
    finally:
        del os.environ["FILLING"]
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    printed = (tmp_path / "err").read_text().strip().splitlines()[-1]
    assert lines[0] == "status 1"
    assert printed.startswith("error: ") and "No space left on device" in printed, printed
    assert f"the last good checkpoint is {disk}/run/checkpoints/epoch_0001" in printed
    assert not [line for line in lines if ".tmp" in line or line.endswith(".lock")], lines
    assert "status 0" in lines[1:], (tmp_path / "again").read_text()[-2000:]
    assert all((abs(value) < 1e9).all() for value in weights(tmp_path / "run", 3).values())


def test_a_full_disk_is_reported_before_writing(people, disk, tmp_path):
    arguments = flags(people, disk / "run")
    script = f"""
        head -c 249M /dev/zero > {disk}/filler
        $PYTHON -m tfcpn.train {" ".join(arguments)} --init_weights=none 2> {tmp_path}/err
        echo status $?
        find {disk} -type f
    """
    done = on_a_small_disk(disk, script)
    assert done.stdout.splitlines() == ["status 1", f"{disk}/filler"]
    *phases, printed = (tmp_path / "err").read_text().strip().splitlines()
    assert all(status.endswith(" ...") for status in phases)
    assert re.search(r"MB are free; checkpoints of 324 MB each will need at least 649;", printed), (
        printed
    )


def test_a_read_only_disk_is_reported(people, disk, tmp_path):
    arguments = flags(people, disk / "run")
    script = f"""
        mount -o remount,ro {disk}
        $PYTHON -c "$TINY" tfcpn.train {" ".join(arguments)} 2> {tmp_path}/err; echo status $?
    """
    assert on_a_small_disk(disk, script).stdout.splitlines() == ["status 1"]
    (printed,) = (tmp_path / "err").read_text().strip().splitlines()
    assert "cannot be written (Read-only file system); give another --model_dir" in printed
