"""Ends everything that a kubelet's pods started, once the kubelet is gone: `python -m ….reaper MARK`.

Our stdin is a pipe whose other end the kubelet holds: however it ends, SIGKILL included, the pipe closes. What is to
end has MARK in its environment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

MARK = "KUBELET_POD_MARK"


class Reaper:
    """The reaper's other end; the reaper is started, out of reach of what ends us."""

    def __init__(self, mark: str) -> None:
        command = [sys.executable, "-m", __name__, mark]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def close(self) -> None:
        """Have it end what is left, and wait for that."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def main() -> int:
    """Wait for the kubelet's end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    # Twice: what was just being started is found the second time.
    for _ in range(2):
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"{MARK}={sys.argv[1]}".encode() in path.read_bytes().split(b"\0"):
                    os.kill(int(path.parent.name), signal.SIGKILL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
