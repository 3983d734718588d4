"""Runs that others disturbed are repeated."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks.common import quiet
from benchmarks.common.processes import ROOT
from benchmarks.common.quiet import Quiet, Watch

SPIN = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the next runs are said to be disturbed by; the machine counts as quiet before each."""
    left: list[float] = []
    monkeypatch.setattr(Watch, "foreign", lambda self: left.pop(0) if left else 0.0)
    monkeypatch.setattr(quiet, "_wait_for_quiet", lambda: None)
    return left


def test_a_disturbed_run_is_repeated(foreign: list[float]) -> None:
    foreign += [0.9, 0.5, 0.05]
    said: list[str] = []
    results: Iterator[int] = iter(range(10))
    runs = Quiet(4, said.append)
    assert runs.run(lambda: next(results)) == 2
    assert (runs.runs, runs.disturbed) == (1, 0)
    assert said == [f"repeated: other processes used {cores} cores meanwhile" for cores in ("0.90", "0.50")]


def test_the_last_try_counts_and_is_told(foreign: list[float]) -> None:
    foreign += [0.9] * 3
    results: Iterator[int] = iter(range(10))
    runs = Quiet(2, lambda text: None)
    assert runs.run(lambda: next(results)) == 2
    assert (runs.runs, runs.disturbed) == (1, 1)


@pytest.mark.e2e
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells who used the processors")
def test_what_a_process_of_ours_uses_is_not_foreign() -> None:
    before = quiet._own_ticks()
    subprocess.run([sys.executable, "-c", SPIN], check=True)
    ended = quiet._own_ticks() - before
    process = subprocess.Popen([sys.executable, "-c", SPIN + "\nprint(1, flush=True)\ninput()"], stdin=-1, stdout=-1)
    assert process.stdout is not None
    process.stdout.readline()
    running = quiet._own_ticks() - before - ended
    process.communicate(b"\n")
    ticks = 0.4 * os.sysconf("SC_CLK_TCK")
    assert 0.9 * ticks < ended
    assert 0.9 * ticks < running


_ORPHAN = """
import os, subprocess, sys, time
from benchmarks.common import quiet
quiet.adopt_orphans()
busy = "import time; print(flush=True)\\nwhile time.process_time() < 0.3: pass"
leaves = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {busy!r}])"
before = quiet._own_ticks()
subprocess.run([sys.executable, "-c", leaves], stdout=subprocess.PIPE, check=True)
print((quiet._own_ticks() - before) / os.sysconf("SC_CLK_TCK"))
"""


@pytest.mark.e2e
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells who used the processors")
def test_what_a_process_of_ours_leaves_behind_is_not_foreign() -> None:
    """Its standard output is open until it ends."""
    found = subprocess.run([sys.executable, "-c", _ORPHAN], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(found.stdout) >= 0.25
