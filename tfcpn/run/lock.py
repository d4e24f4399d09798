"""One trainer a model_dir: a file that names who is there, and that a trainer which is dead holds against nobody."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path

from tfcpn.base.errors import InputError

FILE = ".lock"
# The owner touches the file so often; that of another host is dead if it has not for so long. In seconds.
BEAT, DEAD = 5.0, 30.0


def _started(pid: int) -> str:
    """When a process of this host began, in the system's ticks; empty if there is none, if it is dead and only waits
    for its parent to ask how it ended, or without /proc to tell.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return ""


def _host() -> str:
    """The name of this host, its boot and its container: elsewhere, process numbers mean others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        container = os.readlink("/proc/self/ns/pid")
    except OSError:
        boot = container = ""
    return f"{socket.gethostname()} {boot} {container}".strip()


def _alive(pid: int, started: str) -> bool:
    if started:
        return _started(pid) == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _read(text: str | None) -> dict | None:
    """Whom a file's text names: None without a file, nobody if it was never finished."""
    if text is None:
        return None
    try:
        owner = json.loads(text)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


class Lock:
    """Within `with`, this process alone trains in a folder. Raises InputError, by name of the other, if one does."""

    def __init__(self, model_dir, *, beat: float = BEAT, dead: float = DEAD):
        self.path = Path(model_dir) / FILE
        self.beat, self.dead = beat, dead
        self.token = uuid.uuid4().hex
        self._end = threading.Event()

    def __enter__(self) -> Lock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while not self._take():
                self._wait_for_its_owner()
        except OSError as error:
            raise InputError(
                f"{self.path.parent}: cannot be written ({error.strerror}); give another --model_dir"
            ) from error
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._end.set()
        self._thread.join()
        if self.mine():
            self.path.unlink(missing_ok=True)

    def _take(self) -> bool:
        """Make the file, unless there is one."""
        owner = {
            "host": _host(),
            "pid": os.getpid(),
            "started": _started(os.getpid()),
            "token": self.token,
        }
        try:
            with self.path.open("x") as file:
                file.write(json.dumps(owner) + "\n")
            return True
        except FileExistsError:
            return False

    def _text(self) -> str | None:
        try:
            return self.path.read_text()
        except FileNotFoundError:
            return None

    def _owner(self) -> dict | None:
        return _read(self._text())

    def mine(self) -> bool:
        """Whether the file still names this process."""
        return (self._owner() or {}).get("token") == self.token

    def _wait_for_its_owner(self) -> None:
        """Remove the file if its owner is dead; raise InputError if it lives."""
        owner = self._owner()
        if owner is None:
            return
        host, pid = str(owner.get("host", "?")), owner.get("pid")
        if host == _host():
            alive = isinstance(pid, int) and _alive(pid, str(owner.get("started", "")))
        else:
            alive = self._beats(owner)
        if alive:
            raise InputError(
                f"{self.path.parent}: process {pid} on {host.split()[0]} is training there; wait for it or stop it, "
                "or give another --model_dir"
            )
        # Of several that find it dead one renames it away; the others find another file, or none.
        told = self._text()
        if _read(told) == owner:
            grave = self.path.with_name(f"{self.path.name}.{self.token}.dead.tmp")
            try:
                self.path.rename(grave)
            except FileNotFoundError:
                return
            if grave.read_text() != told:
                grave.rename(
                    self.path
                )  # another was faster: that is its own file, which was made in between
            else:
                grave.unlink()

    def _beats(self, owner: dict) -> bool:
        """Whether another host's process touches its file while we look on. Clocks of hosts need not agree."""
        seen, until = self._touched(), time.monotonic() + self.dead
        while time.monotonic() < until:
            time.sleep(min(self.beat, self.dead) / 5)
            if self._owner() != owner:
                return False
            if self._touched() != seen:
                return True
        return False

    def _touched(self) -> float:
        try:
            return self.path.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _keep(self) -> None:
        while not self._end.wait(self.beat):
            try:
                if self.mine():
                    os.utime(self.path)
            except OSError:
                pass  # the folder is out of reach for a moment, or for good: what is saved next will tell

    def check(self) -> None:
        """Raise InputError if another process has taken the folder, as when this host was out of reach for long."""
        if not self.mine():
            raise InputError(
                f"{self.path}: another process has taken the folder, or the file was deleted; nothing more is saved"
            )
