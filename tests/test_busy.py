"""The load that tests are tried under is owned: it ends with the command that it runs beside."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tests.adapters.embedded.launcher.support import alive
from tests.limits import LIMIT_S
from tests.places import ROOT


def start(loops: int, *command: str) -> tuple[subprocess.Popen[str], list[int]]:
    """The tool beside a command, and the processes of its loops."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.busy", "--loops", str(loops), "--", *command],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    return process, [int(word) for word in line.split("processes")[1].split()]


@pytest.mark.parametrize(("ends", "code"), [("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", 137)])
def test_loops_run_beside_the_command_and_end_with_it(ends: str, code: int) -> None:
    process, loops = start(2, sys.executable, "-c", f"import os, sys; sys.stdin.read(); {ends}")
    with process:
        assert all(map(alive, loops))
        assert len(loops) == 2
        process.communicate(timeout=LIMIT_S)
    assert process.returncode == code
    assert not any(map(alive, loops))


def test_a_signal_reaches_the_command_and_ends_the_loops() -> None:
    process, loops = start(1, sys.executable, "-c", "import sys; sys.stdin.read()")
    with process:
        process.send_signal(signal.SIGTERM)
        process.wait(LIMIT_S)
    assert process.returncode == 128 + signal.SIGTERM
    assert not any(map(alive, loops))


def test_loops_end_where_the_tool_is_killed() -> None:
    process, loops = start(2, sys.executable, "-c", "import sys; sys.stdin.read()")
    with process:
        process.kill()
        process.wait(LIMIT_S)
    give_up = time.monotonic() + LIMIT_S
    while any(map(alive, loops)):
        assert time.monotonic() < give_up
        time.sleep(0.05)


@pytest.mark.parametrize("loops", ["0", "65", "many"])
def test_a_number_of_loops_that_makes_no_sense_is_refused(loops: str) -> None:
    command = [sys.executable, "-m", "tests.busy", "--loops", loops, "--", "true"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 2
    assert "--loops" in done.stderr
