"""Signals to the processes of a job, and to no others: a number that was given to a stranger since is left alone."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

from streamforge_utils.adapters.embedded.launcher.folder import Folder

_PROC: Final = Path("/proc")
_HAS_PROC: Final = sys.platform == "linux"


def ask_to_end(folder: Folder) -> bool:
    """SIGTERM to the worker; whether there was one. Call it while the lock is held by the job."""
    session, worker = folder.session(), folder.worker()
    if session is None or worker is None:
        return False
    ours = _holds(_PROC / str(worker), folder.lock_path.stat()) if _HAS_PROC else _in_session(worker, session)
    return ours and _send(worker, signal.SIGTERM)


def kill(folder: Folder, *, shim: bool) -> None:
    """SIGKILL to every process of the job, to its shim only if `shim`: alive, it can tell how the worker ended."""
    session = folder.session()
    if session is None:
        return
    if _HAS_PROC:
        for pid in _processes(folder.lock_path, session):
            if shim or pid != session:
                _send(pid, signal.SIGKILL)
        return
    worker = folder.worker()
    if worker is not None and _in_session(worker, session):
        _send(worker, signal.SIGKILL)
    if shim and _in_session(session, session):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(session, signal.SIGKILL)


def _processes(lock: Path, session: int) -> set[int]:
    """Who holds the lock, and who is in the job's session, if one of those holds it (else it is a stranger's)."""
    try:
        identity = lock.stat()
    except OSError:
        return set()
    members: set[int] = set()
    holders: set[int] = set()
    for entry in _PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        pid = int(entry.name)
        with contextlib.suppress(OSError):
            if os.getsid(pid) == session:
                members.add(pid)
            if entry.stat().st_uid == os.geteuid() and _holds(entry, identity):
                holders.add(pid)
    return holders | members if holders & members else holders


def _holds(process: Path, identity: os.stat_result) -> bool:
    """Whether the process inherited the lock: there it stays open on exec, in a launcher that looks it does not."""
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:  # it is gone, or another user's
        return False
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            found = descriptor.stat()
            if (found.st_dev, found.st_ino) == (identity.st_dev, identity.st_ino):
                return not _flags(process / "fdinfo" / descriptor.name) & os.O_CLOEXEC
    return False


def _flags(path: Path) -> int:
    for line in path.read_text().splitlines():
        if line.startswith("flags:"):
            return int(line.partition(":")[2], 8)
    return os.O_CLOEXEC


def _in_session(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session
    except OSError:
        return False


def _send(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
