"""The processes of a job on this machine: the shell that starts a worker, signals, and workers that are suspended.

The shell stands between a launcher and a worker, so that exit codes survive the end of the launcher. Signals go to
the processes of the job and to no others: a number that was given to a stranger since is left alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from streamforge_utils.adapters.embedded.launcher.folder import Folder
from streamforge_utils.model.errors import ConfigError, RetryableError

_PROC: Final = Path("/proc")
_HAS_PROC: Final = sys.platform == "linux"
_STOPPED: Final = b"T"
"""As in `/proc/PID/stat`; a process that a debugger holds has `t`, and is left alone."""

# `started` comes before the worker: a job that may have run is never run again.
# Trapped, not ignored: the shell must go on to see the worker end, but the worker must not inherit an ignored signal.
# And only then: in a child between fork and exec the trap would swallow a signal that is meant for the worker.
# A trap ends `wait` early, with a status above 128, also where the worker has just ended and the shell knows how: wait
# again, even once it is gone. What was told once already is told as 127, or again. No file is written in two steps,
# because all are read under the lock, or count only with the end of their line. On a full disk nothing is started.
SCRIPT: Final = """\
folder=$1
shift
echo "$$" >"$folder/started" || { rm -f "$folder/started"; exit 1; }
"$@" </dev/null &
worker=$!
trap : TERM INT HUP QUIT
exec 2>/dev/null
echo "$worker" >"$folder/pid" || kill "$worker"
wait "$worker"
status=$?
runs=yes
while [ "$status" -gt 128 ] && [ "$runs" ]; do
    kill -0 "$worker" 2>/dev/null || runs=
    wait "$worker"
    again=$?
    [ "$again" -lt 0 ] || [ "$again" -eq 127 ] || status=$again
done
echo "$status" >"$folder/exit"
"""


def spawn(folder: Path, argv: Sequence[str], environment: Mapping[str, str], *, lock: int, log: int) -> int:
    """Start the shim, in a session of its own, and it the worker; returns the shim's process id, ours to reap.

    lock: a descriptor that both inherit. log: becomes their output. Raises ConfigError or RetryableError.
    """
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", SCRIPT, "streamforge-job", str(folder), *argv],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
            start_new_session=True,
        )
    except ValueError as error:  # a NUL in an argument or a variable
        raise ConfigError(f"job {folder.name} cannot be started: its command or environment holds a NUL") from error
    except (FileNotFoundError, PermissionError) as error:
        raise ConfigError(f"job {folder.name} cannot be started: /bin/sh: {error.strerror}") from error
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise ConfigError(f"job {folder.name} cannot be started: its environment is too large") from error
        raise RetryableError(f"job {folder.name} was not started: {error.strerror}; try again") from error
    # The job may outlive this process, so nothing waits for this object: it is marked as ended.
    process.returncode = 0
    return process.pid


def reap(pid: int) -> bool:
    """Whether the child has ended; takes its zombie away."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def ask_to_end(folder: Folder) -> bool:
    """SIGTERM to the worker; whether there was one. Call it while the lock is held by the job."""
    session, worker = folder.session(), folder.worker()
    if session is None or worker is None:
        return False
    ours = _holds(_PROC / str(worker), folder.lock_path.stat()) if _HAS_PROC else _in_session(worker, session)
    return ours and _send(worker, signal.SIGTERM)


def kill(folder: Folder, *, shim: bool) -> None:
    """SIGKILL to every process of the job, to its shim only if `shim`: while it runs, it notes how the worker ended."""
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
    """The processes that hold the lock, and those of the job's session if one of these holds it."""
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
    # Without a holder in it the session is another's.
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


def is_suspended(pid: int) -> bool:
    """Whether a signal suspended the process; False where the system does not show it."""
    try:
        # Bytes: a process may have any name.
        return (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[0] == _STOPPED
    except (OSError, IndexError):
        return False


def blocks_others(pid: int, shared_files: Sequence[Path]) -> bool:
    """Whether the process holds SQLite's lock for writing, or any lock of `shared_files`.

    SQLite's are POSIX locks, the files' are of flock. False where the system does not show them.
    """
    shared = set()
    for path in shared_files:
        with contextlib.suppress(OSError):
            shared.add(path.stat().st_ino)
    return any(
        kind == "WRITE" if family == "POSIX" else family == "FLOCK" and inode in shared
        for family, kind, holder, inode in _locks()
        if holder == pid
    )


def _locks() -> Iterator[tuple[str, str, int, int]]:
    """Family, kind, process and inode of every lock that is held on this machine, as far as it shows them."""
    try:
        lines = (_PROC / "locks").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        # `1: POSIX  ADVISORY  WRITE 4711 fd:01:5678 120 120`; one that waits has `->` behind the number.
        words = line.split()
        if len(words) >= 6 and words[1] != "->":
            with contextlib.suppress(ValueError):
                yield words[1], words[3], int(words[4]), int(words[5].rpartition(":")[2])


class Suspensions:
    """Since when workers have been suspended with such a lock."""

    def __init__(self, shared_files: Sequence[Path], limit_s: float) -> None:
        self._shared_files = tuple(shared_files)
        self._limit_s = limit_s
        self._since: dict[int, float] = {}

    def over_limit(self, pids: Sequence[int], now: float) -> list[int]:
        """Those of `pids` that were so at every look for the limit. now: monotonic seconds."""
        blocking = [pid for pid in pids if is_suspended(pid) and blocks_others(pid, self._shared_files)]
        self._since = {pid: self._since.get(pid, now) for pid in blocking}
        return [pid for pid, since in self._since.items() if now - since >= self._limit_s]
