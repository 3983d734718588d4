"""Whether a member of a group is alive: it holds a lock on a file, which the kernel releases when it dies."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamforge_utils.model.errors import ConfigError, RetryableError

_LOCK_LIMIT_S = 30.0
_LOCK_PAUSE_S = 0.002


class MemberLock:
    """Held until it is closed or its process ends. `name` names it among all processes."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._path = directory / self.name
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def close(self) -> None:
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def is_alive(directory: Path, name: str) -> bool:
    """Whether the process that holds the lock `name` still runs; what is left of a dead one is removed."""
    path = directory / name
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold a lock among processes, shared or exclusive. Raises RetryableError if it is not to be had."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(
            f"cannot open {path}: {error.strerror}; check that its directory may be written by this user"
        ) from error
    try:
        give_up = time.monotonic() + _LOCK_LIMIT_S
        while True:
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > give_up:
                    raise RetryableError(f"{path} is locked by another process for too long; try again") from error
                time.sleep(_LOCK_PAUSE_S)
        yield
    finally:
        os.close(descriptor)
