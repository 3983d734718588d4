"""A worker that is suspended while every other process waits for its lock is ended; every other one is left alone."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.launcher.process_launcher import ProcessLauncher
from streamforge_utils.adapters.embedded.launcher.suspended import is_suspended
from streamforge_utils.ports.launcher import Job, JobSpec, JobState
from tests.adapters.embedded.launcher.support import ended, make, number, until
from tests.doubles.manualclock import ManualClock

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who holds which lock")

WRITES = """
import sqlite3
connection = sqlite3.connect("store.db", isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO rows VALUES (1)")
"""
READS = """
import sqlite3
connection = sqlite3.connect("store.db", isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT * FROM rows").fetchall()
"""
LOCKS = """
import fcntl
file = open("shared.lock", "w")
fcntl.flock(file, fcntl.LOCK_SH)
"""
LOCKS_ANOTHER = LOCKS.replace("shared.lock", "other.lock")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def launcher(tmp_path: Path, clock: ManualClock) -> AsyncIterator[ProcessLauncher]:
    connection = sqlite3.connect(tmp_path / "store.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE rows (number INTEGER)")
    connection.close()
    launcher = ProcessLauncher(
        tmp_path / "jobs",
        command=lambda spec: (sys.executable, "-c", spec.environment["DO"]),
        base_environment={},
        shared_files=[tmp_path / "shared.lock"],
        clock=clock,
    )
    yield launcher
    await launcher.close()
    other = make(tmp_path / "jobs")
    for found in await other.jobs():
        await other.stop(found.name, grace_s=0)
    await other.close()


async def _begun(launcher: ProcessLauncher, work: str, directory: Path) -> int:
    """Run `work` and then sleep; the worker's process id once it has done its work."""
    ready = directory / "ready"
    there = f"import os\nos.chdir({str(directory)!r})\n"
    then = "open('ready', 'w').close()\nimport time\ntime.sleep(600)"
    environment = {"DO": f"{there}{work}\n{then}"}
    spec = JobSpec(name="a", target="arango-candles", queue_id="wf-x", attempt=1, environment=environment)
    await launcher.start(spec)
    await until(ready.exists)
    return number(directory / "jobs/a/pid")


async def _suspend(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    await until(lambda: is_suspended(pid))


async def _looks(clock: ManualClock, many: int) -> None:
    """Let the launcher look `many` times, a second of the clock after each."""
    for _ in range(many):
        await clock.sleeping(1)
        clock.advance(1)
        for _ in range(3):  # it wakes, and is no sleeper any more
            await asyncio.sleep(0)
    await clock.sleeping(1)


async def _only(launcher: ProcessLauncher) -> Job:
    (found,) = await launcher.jobs()
    return found


@pytest.mark.parametrize("work", [WRITES, LOCKS], ids=["in a write to SQLite", "with a shared file locked"])
async def test_one_that_holds_up_all_others_is_killed(
    work: str, launcher: ProcessLauncher, clock: ManualClock, tmp_path: Path
) -> None:
    await _suspend(await _begun(launcher, work, tmp_path))
    launcher.watch()
    await _looks(clock, 9)
    assert (await _only(launcher)).state is JobState.RUNNING
    await _looks(clock, 1)
    found = await ended(launcher, "a")
    assert (found.exit_code, found.signal) == (None, signal.SIGKILL)
    assert found.reason.startswith(
        "killed by signal 9 (SIGKILL), because it was suspended (SIGSTOP) for 10 s while all others waited for its lock"
    )
    with (tmp_path / "shared.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    connection = sqlite3.connect(tmp_path / "store.db", isolation_level=None, timeout=0)
    connection.execute("BEGIN IMMEDIATE")
    assert connection.execute("SELECT count(*) FROM rows").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize("work", ["", READS, LOCKS_ANOTHER], ids=["no lock", "in a read", "with another lock"])
async def test_a_suspended_one_that_holds_up_nobody_is_left_alone(
    work: str, launcher: ProcessLauncher, clock: ManualClock, tmp_path: Path
) -> None:
    await _suspend(await _begun(launcher, work, tmp_path))
    launcher.watch()
    await _looks(clock, 60)
    assert (await _only(launcher)).state is JobState.RUNNING


async def test_one_that_goes_on_is_left_alone(launcher: ProcessLauncher, clock: ManualClock, tmp_path: Path) -> None:
    pid = await _begun(launcher, WRITES, tmp_path)
    launcher.watch()
    await _looks(clock, 60)
    assert (await _only(launcher)).state is JobState.RUNNING
    for _ in range(3):
        await _suspend(pid)
        await _looks(clock, 5)
        os.kill(pid, signal.SIGCONT)
        await until(lambda: not is_suspended(pid))
        await _looks(clock, 2)
    assert (await _only(launcher)).state is JobState.RUNNING


async def test_a_process_may_have_any_name(launcher: ProcessLauncher, tmp_path: Path) -> None:
    pid = await _begun(launcher, "open('/proc/self/comm', 'wb').write(b') \\xff T (')", tmp_path)
    assert not is_suspended(pid)
    await _suspend(pid)


async def test_who_does_not_watch_kills_nobody(launcher: ProcessLauncher, clock: ManualClock, tmp_path: Path) -> None:
    pid = await _begun(launcher, WRITES, tmp_path)
    await _suspend(pid)
    for _ in range(60):
        assert (await _only(launcher)).state is JobState.RUNNING
        clock.advance(1)
