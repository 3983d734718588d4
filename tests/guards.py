"""What `make test` promises, checked at each test: it starts no process, and sleeps no real second.

A test that needs a process or real time, or takes seconds of a processor, is marked `e2e`: by itself, by its folder, or
by a fixture that starts a process. Folders that have verbs of their own are free to do all of this.
"""

from __future__ import annotations

import asyncio
import multiprocessing.util
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.virtualloop import VirtualLoop
from tests.places import ROOT

FREE_MARKS = ("bench", "e2e", "long")
E2E_FOLDERS = ("chaos", "e2e", "upgrades")
E2E_FIXTURES = frozenset({"exchange_url", "factory", "loaded_data", "slow_url"})
FREE_FOLDERS = ("arango", "delivery", "engines", "gnn", "images", "manifests", "ui")
"""Folders of tests/ that `make test` does not run."""
POLL_S = 0.1
"""A shorter sleep is a poll: what it waits for ends it."""
SLEPT_S = 1.0
STARTING = frozenset(
    {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen"}
)
"""Names of CPython's audit events."""


class ProcessStarted(AssertionError):
    """A test that is not marked `e2e` was about to start a process."""


class Guard:
    """Looks at one test at a time, from its setup to its teardown.

    Sleeps are counted where the test itself sleeps: in the main thread, in the coroutine that the test runs. How
    often a loop beside it wakes up depends on the machine.
    """

    def __init__(self) -> None:
        self._watching = False
        self._started = ""
        self._slept_s = 0.0
        self._main: Coroutine[Any, Any, Any] | None = None

    def begin(self) -> None:
        self._watching, self._started, self._slept_s = True, "", 0.0

    def end(self) -> None:
        self._watching = False

    def verdict(self) -> str | None:
        """What the test did that it must not, and what to do about it."""
        if self._started:
            return self._started
        if self._watching and self._slept_s >= SLEPT_S:
            return (
                f"this test slept {self._slept_s:.1f} s. Let it wait for an event, or move its clock "
                "(tests.runtime.rig, tests.histories); where a real process takes the time, mark it e2e"
            )
        return None

    def starting(self, what: str) -> None:
        """Note a process that is about to start, and refuse it. Raises ProcessStarted."""
        if self._watching:
            self._started = (
                f"this test starts a process ({what}). Run the code in this process, or give it a double "
                "of what it starts; where a real process is the point, mark the test: pytest.mark.e2e (make test-e2e)"
            )
            raise ProcessStarted(self._started)

    def audited(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in STARTING:
            self.starting(" ".join([event, *map(str, arguments[1:2])])[:200])

    def running(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """This is what the main thread runs until it ends."""
        if threading.current_thread() is threading.main_thread():
            self._main = coroutine

    def slept(self, seconds: float) -> None:
        if seconds >= POLL_S and threading.current_thread() is threading.main_thread():
            self._slept_s += seconds

    def slept_in_task(self, seconds: float) -> None:
        task = asyncio.current_task()
        if task is not None and task.get_coro() is self._main and not isinstance(task.get_loop(), VirtualLoop):
            self.slept(seconds)


GUARD = Guard()


def install() -> None:
    """Begin to see processes and sleeps; once in a process, as an audit hook stays."""
    sys.addaudithook(GUARD.audited)
    # Only this one tells the audit hooks nothing.
    spawn = multiprocessing.util.spawnv_passfds
    sleep, sleep_async, run = time.sleep, asyncio.sleep, asyncio.Runner.run

    def spawning(*given: Any) -> int:
        GUARD.starting("multiprocessing")
        return spawn(*given)

    def sleeping(seconds: Any, /) -> None:
        sleep(seconds)
        GUARD.slept(float(seconds))

    async def sleeping_async(delay: float, result: Any = None) -> Any:
        await sleep_async(delay)
        GUARD.slept_in_task(delay)
        return result

    def running(runner: asyncio.Runner, coro: Coroutine[Any, Any, Any], **more: Any) -> Any:
        GUARD.running(coro)
        return run(runner, coro, **more)

    for where, name, instead in (
        (multiprocessing.util, "spawnv_passfds", spawning),
        (time, "sleep", sleeping),
        (asyncio, "sleep", sleeping_async),
        (asyncio.Runner, "run", running),
    ):
        setattr(where, name, instead)


def _folder(path: Path) -> str:
    """The folder of tests/ that a file lies in, empty for one outside and for tests/ itself."""
    tests = ROOT / "tests"
    parts = path.relative_to(tests).parts if path.is_relative_to(tests) else ()
    return parts[0] if len(parts) > 1 else ""


def _free(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(mark) for mark in FREE_MARKS) or _folder(item.path) in FREE_FOLDERS


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of what a run deselects as a whole file nothing is imported: that takes longer than many tests."""
    if "not e2e" not in config.option.markexpr:
        return None
    if _folder(collection_path / "x") in E2E_FOLDERS:
        return True
    whole = collection_path.suffix == ".py" and "\npytestmark = pytest.mark.e2e\n" in collection_path.read_text()
    return True if whole else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _folder(item.path) in E2E_FOLDERS or not E2E_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("e2e")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if not _free(item):
        GUARD.begin()
    try:
        return (yield)
    finally:
        GUARD.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    result = yield
    if verdict := GUARD.verdict():
        pytest.fail(verdict, pytrace=False)
    return result
