"""How jobs end, and who else does not: signals, force, strangers with the same number, zombies."""

# ruff: noqa: ASYNC240 - other processes cannot set an event; the files are small

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.launcher.folder import Folder
from streamforge_utils.adapters.embedded.launcher.process_launcher import ProcessLauncher
from streamforge_utils.model.errors import ConflictError
from streamforge_utils.ports.launcher import JobState
from tests.adapters.embedded.launcher.support import alive, ended, job, make, number, until
from tests.limits import LIMIT_S

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
    await until(lambda: (directory / "a/log").read_text() == "ready\n")
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
    shell = number(directory / "a/started")
    await ended(launcher, "a")
    async with asyncio.timeout(LIMIT_S):
        while Path(f"/proc/{shell}").exists():
            await launcher.jobs()
            await asyncio.sleep(0.005)
