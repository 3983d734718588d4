"""Ends everything that a kubelet's pods started, once the kubelet is gone: `python -m ….reaper MARK`.

Our stdin is a pipe whose other end the kubelet holds: however it ends, SIGKILL included, the pipe closes. It tells us
the process groups that it starts (`+N`) and those that have ended (`-N`). What left its group is known by MARK in its
environment, where the system shows that.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

MARK = "KUBELET_POD_MARK"


class Reaper:
    """The reaper's other end."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, out of reach of what ends us."""
        command = [sys.executable, "-m", __name__, self.mark]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def add(self, group: int) -> None:
        """A process group was started."""
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        """A process group has ended: its number may soon be another's."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """Have it end what is left, and wait for that."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(10)
            self._process = None

    def _tell(self, line: str) -> None:
        if self._process is None:
            # After `close` nothing is left to tell of.
            return
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()


def main() -> int:
    """Wait for the kubelet's end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups = set[int]()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        _kill_group(group)
    # Twice: what was just being started is found the second time.
    for _ in range(2):
        for pid in _marked(f"{MARK}={sys.argv[1]}".encode()):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
    return 0


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        return


def _marked(mark: bytes) -> list[int]:
    found = list[int]()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


if __name__ == "__main__":
    sys.exit(main())
