"""One trainer a folder: who is there is told by name, and the dead hold nobody up."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tfcpn.base.errors import InputError
from tfcpn.run import lock
from tfcpn.run.lock import Lock


def owner(tmp_path, **values):
    (tmp_path / lock.FILE).write_text(
        json.dumps({"host": "elsewhere 1", "pid": 7, "token": "theirs", **values})
    )


def test_a_second_one_is_refused_by_name_of_the_first(tmp_path):
    with (
        Lock(tmp_path),
        pytest.raises(InputError, match=f"process {os.getpid()} on .* is training there"),
    ):
        Lock(tmp_path).__enter__()
    with Lock(tmp_path):  # and is let in afterwards
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_taken_over_at_once(tmp_path):
    code = f"import time; from tfcpn.run.lock import Lock; Lock({str(tmp_path)!r}).__enter__(); print(flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", code + "; time.sleep(99)"], stdout=subprocess.PIPE
    )
    process.stdout.readline()
    with pytest.raises(InputError, match=f"process {process.pid} on"):
        Lock(tmp_path).__enter__()
    process.kill()
    process.wait()
    began = time.monotonic()
    with Lock(tmp_path, dead=1000) as taken:
        assert taken.mine() and time.monotonic() - began < 500


def test_a_dead_process_that_nobody_has_asked_after_is_dead(tmp_path):
    """A zombie keeps its number and its time of birth: where nothing reaps, for ever."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
    owner(tmp_path, host=lock._host(), pid=process.pid, started=lock._started(process.pid))
    process.kill()
    until = time.monotonic() + 60
    while ") Z " not in Path(f"/proc/{process.pid}/stat").read_text():
        assert time.monotonic() < until
    with Lock(tmp_path, dead=1000) as taken:
        assert taken.mine()
    process.wait()


def test_the_same_number_in_another_container_of_this_host_is_another_process(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "readlink", lambda path: "pid:[1]")
    with Lock(tmp_path, beat=0.02):
        monkeypatch.setattr(os, "readlink", lambda path: "pid:[2]")
        # Its number means nobody here, yet it beats.
        monkeypatch.setattr(lock, "_alive", lambda *who: False)
        with pytest.raises(InputError, match="is training there"):
            Lock(tmp_path, beat=0.5, dead=60).__enter__()


def test_a_process_number_that_another_process_has_now_is_no_life(tmp_path):
    owner(tmp_path, host=lock._host(), pid=os.getpid(), started="1")
    with Lock(tmp_path) as taken:
        assert taken.mine()


def test_another_host_that_beats_is_refused_by_name(tmp_path):
    owner(tmp_path)
    ended = threading.Event()

    def beat():
        while not ended.wait(0.02):
            os.utime(tmp_path / lock.FILE)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(InputError, match="process 7 on elsewhere is training there"):
            Lock(tmp_path, beat=0.5, dead=60).__enter__()
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("content", [None, "", "[]", "{", '{"host": 3}'])
def test_another_host_that_is_silent_is_dead(tmp_path, content):
    owner(tmp_path)
    if content is not None:
        (tmp_path / lock.FILE).write_text(content)
    with Lock(tmp_path, beat=0.1, dead=0.3) as taken:
        assert taken.mine()


def test_its_owner_touches_it(tmp_path):
    with Lock(tmp_path, beat=0.01):
        before, until = (tmp_path / lock.FILE).stat().st_mtime_ns, time.monotonic() + 60
        while (tmp_path / lock.FILE).stat().st_mtime_ns == before:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_a_folder_that_was_taken_away_is_told_and_left_to_the_other(tmp_path):
    with Lock(tmp_path) as taken:
        taken.check()
        owner(tmp_path)
        with pytest.raises(InputError, match="another process has taken the folder"):
            taken.check()
    assert json.loads((tmp_path / lock.FILE).read_text())["token"] == "theirs"


def test_of_many_that_find_it_dead_one_gets_in(tmp_path):
    owner(tmp_path, host=lock._host(), pid=2**22 + 1, started="1")
    inside, refused, leave = [], [], threading.Event()

    def enter():
        try:
            with Lock(tmp_path) as taken:
                inside.append(taken)
                leave.wait(60)
        except InputError:
            refused.append(1)

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 60
    while len(inside) + len(refused) < 8 and time.monotonic() < until:
        time.sleep(0.01)
    leave.set()
    for thread in threads:
        thread.join()
    assert len(inside) == 1 and len(refused) == 7


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match="file/run: cannot be written .*; give another --model_dir"
    ):
        Lock(tmp_path / "file" / "run").__enter__()
