"""Run a command on a machine that is busy: `python -m tests.busy [--loops N] -- COMMAND...`.

N processes compute beside it, each as much as it is given. They end with the command, also where this process is
killed. The exit code is the command's.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

LOOPS = 6
MOST = 64
LIMIT_S = 7200
"""A loop ends by itself after this many seconds of its processor time."""
_LOOP = """
import os, sys, time
owner, limit_s = map(int, sys.argv[1:])
while os.getppid() == owner and time.process_time() < limit_s:
    for _ in range(1_000_000):
        pass
"""


@contextmanager
def busy(loops: int = LOOPS) -> Iterator[list[int]]:
    """So many busy processes until the end of the block; their ids."""
    command = [sys.executable, "-I", "-S", "-c", _LOOP, str(os.getpid()), str(LIMIT_S)]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(loops):
            started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))  # noqa: PERF401 (each is owned at once)
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code, or 128 and the signal that ended it."""
    parser = argparse.ArgumentParser(prog="python -m tests.busy", description=__doc__.splitlines()[0])
    parser.add_argument("--loops", type=int, default=LOOPS, help=f"busy processes beside the command (default {LOOPS})")
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    given = parser.parse_args(arguments)
    if not 1 <= given.loops <= MOST:
        parser.error(f"--loops {given.loops}: choose 1 to {MOST}")
    with busy(given.loops) as pids:
        process = subprocess.Popen(given.command)

        def pass_on(number: int, _: object) -> None:
            process.send_signal(number)

        signal.signal(signal.SIGTERM, pass_on)
        # The terminal sends Ctrl-C to the command too, which decides when to end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(f"busy: {given.loops} loops beside the command, processes {' '.join(map(str, pids))}", file=sys.stderr)
        code = process.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
