"""Workers that are suspended (SIGSTOP) while they hold a lock for which every other process waits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_STOPPED: Final = b"T"
"""As in `/proc/PID/stat`; a process that a debugger holds has `t`, and is left alone."""


def is_suspended(pid: int) -> bool:
    """Whether a signal suspended the process; False where the system does not tell."""
    try:
        # Bytes: a process may have any name.
        return (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[0] == _STOPPED
    except (OSError, IndexError):
        return False


def blocks_others(pid: int, shared_files: Sequence[Path]) -> bool:
    """Whether the process holds SQLite's lock for writing, or any lock of `shared_files`.

    SQLite's are POSIX locks, the files' are of flock. False where the system does not tell.
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
    """Family, kind, process and inode of every lock that is held on this machine, as far as it tells."""
    try:
        lines = (_PROC / "locks").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        # `1: POSIX  ADVISORY  WRITE 4711 fd:01:5678 120 120`; who waits has `->` behind the number.
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
