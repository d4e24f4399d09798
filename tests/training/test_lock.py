"""One trainer per folder, by file locks or, without them, by a heartbeat."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from tfcpn.training import lock
from tfcpn.training.lock import Lock
from tfcpn.utils.errors import InputError

HOLD = (
    "import sys, time; from tfcpn.training.lock import Lock; "
    "Lock(sys.argv[1]).__enter__(); print(flush=True); time.sleep(60)"
)


@pytest.fixture
def without_file_locks(monkeypatch):
    def unsupported(*args):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", unsupported)


def quick(folder) -> Lock:
    return Lock(folder, heartbeat=0.05, stale=0.4)


@pytest.fixture(params=["file locks", "heartbeat"])
def make_lock(request):
    if request.param == "heartbeat":
        request.getfixturevalue("without_file_locks")
    return quick


def test_a_second_trainer_is_refused_with_the_name_of_the_first(tmp_path, make_lock):
    message = f"process {os.getpid()} on .* is training there"
    with make_lock(tmp_path), pytest.raises(InputError, match=message):
        make_lock(tmp_path).__enter__()


def test_the_lock_is_released_at_exit(tmp_path, make_lock):
    for _ in range(2):
        with make_lock(tmp_path) as held:
            held.check()
        assert not held.path.exists()


def test_a_killed_owner_does_not_hold_the_lock(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    with pytest.raises(InputError, match=f"process {process.pid} on "):
        quick(tmp_path).__enter__()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / lock.FILE).exists()
    with quick(tmp_path) as held:
        held.check()


def test_a_stale_lock_is_broken_without_file_locks(tmp_path, without_file_locks):
    (tmp_path / lock.FILE).write_text('{"host": "elsewhere", "pid": 7, "id": "x"}\n')
    start = time.monotonic()
    with quick(tmp_path) as held:
        assert time.monotonic() - start >= 0.3
        held.check()


@pytest.mark.parametrize("content", ["", "half of", "[]"])
def test_an_unreadable_lock_file_is_ignored(tmp_path, make_lock, content):
    (tmp_path / lock.FILE).write_text(content)
    with make_lock(tmp_path) as held:
        held.check()


@pytest.mark.parametrize("content", [None, '{"host": "elsewhere", "pid": 7, "id": "x"}'])
def test_a_lost_lock_is_reported_before_saving(tmp_path, make_lock, content):
    with make_lock(tmp_path) as held:
        held.path.unlink()
        if content is not None:
            held.path.write_text(content)
        with pytest.raises(InputError, match="another process has taken the folder"):
            held.check()
    # The file of the other process is kept.
    assert held.path.exists() == (content is not None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_one_line_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written"):
        quick(tmp_path / "run").__enter__()


def test_a_file_instead_of_the_folder_is_a_one_line_error(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match="give another --model_dir"):
        quick(tmp_path / "run").__enter__()
