"""Lock file so that only one process trains in a model_dir."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path

from tfcpn.utils.errors import InputError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

FILE = ".lock"
# Where file locks are unavailable, the owner touches the file at this interval, and a file that is
# not touched for the longer time is stale. In seconds.
HEARTBEAT_SECONDS, STALE_SECONDS = 5.0, 30.0
_UNSUPPORTED = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL}


class Lock:
    """Context in which this process alone trains in a folder.

    The operating system releases the lock when the process ends, however it ends. On file systems
    without file locks, a heartbeat tells whether the owner is alive.

    Raises:
        InputError: On entry, naming the other process, if one trains there.
    """

    def __init__(
        self,
        model_dir: str | Path,
        *,
        heartbeat: float = HEARTBEAT_SECONDS,
        stale: float = STALE_SECONDS,
    ):
        """Create the lock.

        Args:
            model_dir: The folder; it is created.
            heartbeat: Seconds between touches, without file locks.
            stale: Seconds without a touch after which a lock is broken, without file locks.
        """
        self.path = Path(model_dir) / FILE
        self.heartbeat, self.stale = heartbeat, stale
        self._owner = {"host": socket.gethostname(), "pid": os.getpid(), "id": uuid.uuid4().hex}
        self._descriptor: int | None = None
        self._end, self._thread = threading.Event(), None

    def __enter__(self) -> Lock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self._lock_file():
                self._create_file()
        except OSError as error:
            raise InputError(
                f"{self.path.parent}: cannot be written ({error.strerror}); give another "
                "--model_dir"
            ) from error
        return self

    def __exit__(self, *error) -> None:
        self._end.set()
        if self._thread:
            self._thread.join()
        if self.is_held():
            self.path.unlink(missing_ok=True)
        if self._descriptor is not None:
            os.close(self._descriptor)

    def is_held(self) -> bool:
        """Return whether the file is still the one of this process."""
        return self._read_owner() == self._owner

    def check(self) -> None:
        """Raise InputError if another process has taken the folder, or the file was deleted."""
        if not self.is_held():
            raise InputError(
                f"{self.path}: another process has taken the folder, or the file was deleted; "
                "nothing more is saved"
            )

    def _lock_file(self) -> bool:
        """Lock the file; return False where the file system has no locks."""
        if fcntl is None:
            return False
        existed = self.path.exists()
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A previous owner may have deleted the file after it was opened here.
                if os.path.exists(self.path) and os.path.samestat(
                    os.fstat(descriptor), os.stat(self.path)
                ):
                    break
            except BlockingIOError as error:
                os.close(descriptor)
                raise self._refusal() from error
            except OSError as error:
                os.close(descriptor)
                if error.errno in _UNSUPPORTED:
                    if not existed:
                        self.path.unlink(missing_ok=True)
                    return False
                raise
            os.close(descriptor)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, self._text())
        self._descriptor = descriptor
        return True

    def _create_file(self) -> None:
        """Create the file and keep it alive; break a stale one."""
        while self._read_owner() is not None:
            if self._is_alive():
                raise self._refusal()
            # Of several processes that break it, one renames it; the others find another one.
            stale = self.path.with_name(f"{FILE}.{self._owner['id']}.tmp")
            try:
                self.path.rename(stale)
                stale.unlink()
            except FileNotFoundError:
                continue
        try:
            with self.path.open("xb") as file:
                file.write(self._text())
        except FileExistsError as error:
            raise self._refusal() from error
        self._thread = threading.Thread(target=self._keep_alive, daemon=True)
        self._thread.start()

    def _text(self) -> bytes:
        return (json.dumps(self._owner) + "\n").encode()

    def _read_owner(self) -> dict | None:
        """Return the owner in the file; {} if it is unreadable, None without a file."""
        try:
            owner = json.loads(self.path.read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return owner if isinstance(owner, dict) else {}

    def _refusal(self) -> InputError:
        owner = self._read_owner() or {}
        return InputError(
            f"{self.path.parent}: process {owner.get('pid', '?')} on {owner.get('host', '?')} is "
            "training there; wait for it or stop it, or give another --model_dir"
        )

    def _touched(self) -> int:
        try:
            return self.path.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _is_alive(self) -> bool:
        """Watch whether the file is touched. Clocks of hosts need not agree."""
        touched, deadline = self._touched(), time.monotonic() + self.stale
        while time.monotonic() < deadline:
            time.sleep(min(self.heartbeat, self.stale) / 5)
            if self._touched() != touched:
                return self._touched() != 0
        return False

    def _keep_alive(self) -> None:
        while not self._end.wait(self.heartbeat):
            try:
                if self.is_held():
                    os.utime(self.path)
            except OSError:
                pass  # out of reach for the moment; the next check before saving decides
