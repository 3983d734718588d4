"""No test of `make test` can start a process or sleep a second without being told."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.doubles.virtualloop import VirtualLoop
from tests.guards import GUARD, Guard, ProcessStarted

COMMAND = [sys.executable, "-c", "pass"]


def _asynchronously() -> None:
    asyncio.run(asyncio.create_subprocess_exec(*COMMAND))


def _by_multiprocessing() -> None:
    multiprocessing.get_context("spawn").Process(target=print).start()


def _in_a_thread() -> None:
    with ThreadPoolExecutor(1) as threads:
        threads.submit(subprocess.run, COMMAND, check=True).result()


@pytest.mark.parametrize(
    "start",
    [
        lambda: subprocess.run(COMMAND, check=True),
        lambda: os.posix_spawn(COMMAND[0], COMMAND, {}),
        lambda: os.system("true"),
        os.fork,
        _asynchronously,
        _by_multiprocessing,
        _in_a_thread,
    ],
)
def test_a_process_is_refused_with_what_to_do(start: Callable[[], object]) -> None:
    with pytest.raises(ProcessStarted, match=r"mark the test: pytest.mark.e2e \(make test-e2e\)"):
        start()
    assert "starts a process" in (GUARD.verdict() or ""), "the test fails also where its subject passes over the error"
    GUARD.begin()


def test_what_the_test_sleeps_is_added_up_but_for_polls() -> None:
    guard = Guard()
    guard.begin()
    for _ in range(100):
        guard.slept(0.05)
    guard.slept(0.6)
    assert guard.verdict() is None
    guard.slept(0.4)
    assert "slept 1.0 s" in (guard.verdict() or "")


def test_no_other_task_no_virtual_time_and_no_thread_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[float] = []
    monkeypatch.setattr(GUARD, "_slept_s", 0.0)
    monkeypatch.setattr(GUARD, "slept", counted.append)

    async def sleeping() -> None:
        beside = asyncio.create_task(asyncio.sleep(0.002))
        await asyncio.sleep(0.001)
        await beside

    asyncio.run(sleeping())
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(sleeping())
    assert counted == [0.001]
    monkeypatch.undo()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(time.sleep, 0.001).result()
    assert GUARD.verdict() is None
