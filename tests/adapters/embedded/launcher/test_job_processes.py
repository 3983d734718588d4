"""How jobs end, and who else does not: signals, force, strangers with the same number, zombies, suspended workers.

A worker that is suspended while every other process waits for its lock is ended; every other one is left alone.
"""

# ruff: noqa: ASYNC240 - other processes cannot set an event; the files are small

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.launcher.folder import Folder
from streamforge_utils.adapters.embedded.launcher.job_processes import is_suspended
from streamforge_utils.adapters.embedded.launcher.process_launcher import ProcessLauncher
from streamforge_utils.model.errors import ConflictError
from streamforge_utils.ports.launcher import Job, JobSpec, JobState
from tests.adapters.embedded.launcher.support import alive, ended, job, make, number, until
from tests.doubles.manualclock import ManualClock
from tests.limits import LIMIT_S

pytestmark = pytest.mark.e2e

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who holds which lock")

UNOBSERVED = (
    "ended without an exit code: it was killed together with the process that watches it, or the machine went down; "
)


async def test_a_killed_shell_leaves_the_worker_running_and_stoppable(
    launcher: ProcessLauncher, directory: Path
) -> None:
    await launcher.start(job("a", "exec sleep 300"))
    shell, worker = number(directory / "a/started"), number(directory / "a/pid")
    os.kill(shell, signal.SIGKILL)
    await until(lambda: not alive(shell))
    assert [found.state for found in await launcher.jobs()] == [JobState.RUNNING]
    await launcher.stop("a", grace_s=LIMIT_S)
    assert not alive(worker)
    found = await ended(launcher, "a")
    assert (found.exit_code, found.signal) == (None, None)
    assert found.reason.startswith(UNOBSERVED)


async def test_a_job_killed_with_its_shell_ends_unobserved_once_and_for_all(
    launcher: ProcessLauncher, directory: Path
) -> None:
    await launcher.start(job("a", "echo last words; kill -9 0"))
    found = await ended(launcher, "a")
    assert (found.exit_code, found.signal) == (None, None)
    assert found.reason.startswith(UNOBSERVED)
    assert "last words" in found.reason
    assert found.ended_ms is not None
    other = make(directory)
    assert list(await other.jobs()) == [found]
    await other.close()


async def test_a_signal_is_never_swallowed_however_early(launcher: ProcessLauncher) -> None:
    for serial in range(30):
        await launcher.start(job(f"job-{serial}", "exec sleep 300"))
        await launcher.stop(f"job-{serial}", grace_s=LIMIT_S)
    assert {found.signal for found in await launcher.jobs()} == {signal.SIGTERM}


async def test_a_signal_to_the_whole_group_does_not_end_the_shell(launcher: ProcessLauncher, directory: Path) -> None:
    await launcher.start(job("a", "trap 'exit 2' TERM; echo ready; while :; do sleep 0.01; done"))
    # The shell notes the worker's id once its own traps are set.
    await until(lambda: (directory / "a/log").read_text() == "ready\n" and (directory / "a/pid").exists())
    os.killpg(number(directory / "a/started"), signal.SIGTERM)
    assert (await ended(launcher, "a")).exit_code == 2


async def test_force_ends_children_of_the_worker_wherever_they_hide(launcher: ProcessLauncher, directory: Path) -> None:
    hider = (
        "import os, subprocess, sys, time; "
        "deaf = ['sh', '-c', 'trap \"\" TERM; while :; do sleep 0.1; done']; "
        "keeps = subprocess.Popen(deaf, close_fds=False, start_new_session=True); "
        "closes = subprocess.Popen(deaf); "
        "print(keeps.pid, closes.pid, flush=True); time.sleep(300)"
    )
    await launcher.start(
        job("a", f"exec {sys.executable} -S -c '{hider.replace(chr(39), chr(39) + chr(92) + chr(39) * 2)}'")
    )
    await until(lambda: (directory / "a/log").read_text().endswith("\n"))
    keeps, closes = map(int, (directory / "a/log").read_text().split())
    worker = number(directory / "a/pid")
    os.kill(worker, signal.SIGTERM)
    await until(lambda: not alive(worker))
    assert [found.state for found in await launcher.jobs()] == [JobState.RUNNING], "a child of it still runs"
    with pytest.raises(ConflictError):
        await launcher.forget("a")
    await launcher.stop("a", grace_s=0.05)
    assert not alive(keeps)
    assert [found.state for found in await launcher.jobs()] == [JobState.ENDED]
    with contextlib.suppress(ProcessLookupError):
        os.kill(closes, signal.SIGKILL)


async def test_force_ends_the_session_and_the_status_is_observed(launcher: ProcessLauncher, directory: Path) -> None:
    script = "trap '' TERM; (while :; do sleep 0.1; done) & echo $!; while :; do sleep 0.1; done"
    await launcher.start(job("a", script))
    await until(lambda: (directory / "a/log").read_text().endswith("\n"))
    child, worker = number(directory / "a/log"), number(directory / "a/pid")
    await launcher.stop("a", grace_s=0.05)
    assert not alive(child)
    assert not alive(worker)
    found = await ended(launcher, "a")
    assert (found.exit_code, found.signal) == (None, signal.SIGKILL)


async def test_a_stranger_with_the_same_number_is_left_alone(launcher: ProcessLauncher, directory: Path) -> None:
    stranger = await asyncio.create_subprocess_exec("sleep", "300", start_new_session=True)
    await launcher.start(job("a", "exit 0"))
    await ended(launcher, "a")
    for name in ("started", "pid"):
        (directory / "a" / name).write_text(f"{stranger.pid}\n")
    await launcher.stop("a", grace_s=0)
    await launcher.start(job("b", "trap '' TERM; while :; do sleep 0.1; done"))
    for name in ("started", "pid"):
        (directory / "b" / name).write_text(f"{stranger.pid}\n")
    await launcher.stop("b", grace_s=0)
    assert stranger.returncode is None
    assert alive(stranger.pid)
    stranger.kill()
    await stranger.wait()


async def test_force_spares_who_only_looks_at_the_lock(launcher: ProcessLauncher, directory: Path) -> None:
    await launcher.start(job("a", "trap '' TERM; while :; do sleep 0.1; done"))
    looks = "import sys; file = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    looker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        looks,
        str(directory / "a/lock"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert looker.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        assert await looker.stdout.readline() == b"open\n"
        await launcher.stop("a", grace_s=0)
        await looker.communicate(b"")
    assert looker.returncode == 0
    assert [found.state for found in await launcher.jobs()] == [JobState.ENDED]


def test_the_lock_of_a_folder_that_was_forgotten_meanwhile_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, flock = Folder(tmp_path, "a"), fcntl.flock
    folder.make()

    def forgotten_meanwhile(descriptor: int, operation: int) -> None:
        folder.remove()
        folder.make()
        flock(descriptor, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", forgotten_meanwhile)
        with folder.locked() as lock:
            assert lock is None
    with folder.locked() as lock:
        assert lock is not None


async def test_no_zombie_is_left(launcher: ProcessLauncher, directory: Path) -> None:
    await launcher.start(job("a", "exit 0"))
    shell, server = number(directory / "a/started"), launcher.fork_server.running
    await ended(launcher, "a")
    async with asyncio.timeout(LIMIT_S):
        while Path(f"/proc/{shell}").exists():
            await launcher.jobs()
            await asyncio.sleep(0.005)
    assert launcher.fork_server.running == server, "it went before its parent"


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
async def watching(tmp_path: Path, clock: ManualClock) -> AsyncIterator[ProcessLauncher]:
    connection = sqlite3.connect(tmp_path / "store.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE rows (number INTEGER)")
    connection.close()
    found = ProcessLauncher(
        tmp_path / "jobs",
        command=lambda spec: (sys.executable, "-c", spec.environment["DO"]),
        base_environment={},
        shared_files=[tmp_path / "shared.lock"],
        clock=clock,
    )
    yield found
    await found.close()
    other = make(tmp_path / "jobs")
    for left in await other.jobs():
        await other.stop(left.name, grace_s=0)
    await other.close()


async def _begun(watching: ProcessLauncher, work: str, directory: Path) -> int:
    """Run `work` and then sleep; the worker's process id once it has done its work."""
    ready = directory / "ready"
    there = f"import os\nos.chdir({str(directory)!r})\n"
    then = "open('ready', 'w').close()\nimport time\ntime.sleep(600)"
    environment = {"DO": f"{there}{work}\n{then}"}
    spec = JobSpec(name="a", target="arango-candles", queue_id="wf-x", attempt=1, environment=environment)
    await watching.start(spec)
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


async def _only(watching: ProcessLauncher) -> Job:
    (found,) = await watching.jobs()
    return found


@linux
@pytest.mark.parametrize("work", [WRITES, LOCKS], ids=["in a write to SQLite", "with a shared file locked"])
async def test_one_that_holds_up_all_others_is_killed(
    work: str, watching: ProcessLauncher, clock: ManualClock, tmp_path: Path
) -> None:
    await _suspend(await _begun(watching, work, tmp_path))
    watching.watch()
    await _looks(clock, 9)
    assert (await _only(watching)).state is JobState.RUNNING
    await _looks(clock, 1)
    found = await ended(watching, "a")
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


@linux
@pytest.mark.parametrize("work", ["", READS, LOCKS_ANOTHER], ids=["no lock", "in a read", "with another lock"])
async def test_a_suspended_one_that_holds_up_nobody_is_left_alone(
    work: str, watching: ProcessLauncher, clock: ManualClock, tmp_path: Path
) -> None:
    await _suspend(await _begun(watching, work, tmp_path))
    watching.watch()
    await _looks(clock, 60)
    assert (await _only(watching)).state is JobState.RUNNING


@linux
async def test_one_that_goes_on_is_left_alone(watching: ProcessLauncher, clock: ManualClock, tmp_path: Path) -> None:
    pid = await _begun(watching, WRITES, tmp_path)
    watching.watch()
    await _looks(clock, 60)
    assert (await _only(watching)).state is JobState.RUNNING
    for _ in range(3):
        await _suspend(pid)
        await _looks(clock, 5)
        os.kill(pid, signal.SIGCONT)
        await until(lambda: not is_suspended(pid))
        await _looks(clock, 2)
    assert (await _only(watching)).state is JobState.RUNNING


@linux
async def test_a_process_may_have_any_name(watching: ProcessLauncher, tmp_path: Path) -> None:
    pid = await _begun(watching, "open('/proc/self/comm', 'wb').write(b') \\xff T (')", tmp_path)
    assert not is_suspended(pid)
    await _suspend(pid)


@linux
async def test_who_does_not_watch_kills_nobody(watching: ProcessLauncher, clock: ManualClock, tmp_path: Path) -> None:
    pid = await _begun(watching, WRITES, tmp_path)
    await _suspend(pid)
    for _ in range(60):
        assert (await _only(watching)).state is JobState.RUNNING
        clock.advance(1)
