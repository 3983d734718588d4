"""The embedded launcher: what only it can promise, on its processes and its files."""

# ruff: noqa: ASYNC240 - other processes cannot set an event; the files are small

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType
from typing import ParamSpec, TypeVar

import msgspec
import pytest

from streamforge_utils.adapters.embedded.launcher import job_processes
from streamforge_utils.adapters.embedded.launcher.folder import LOG_LIMIT, Folder
from streamforge_utils.adapters.embedded.launcher.fork_server import ForkServer
from streamforge_utils.adapters.embedded.launcher.process_launcher import ProcessLauncher
from streamforge_utils.model.errors import ConfigError, RetryableError
from streamforge_utils.ports.launcher import JobState
from tests.adapters.embedded.launcher.support import ended, job, make, number, until
from tests.limits import LIMIT_S
from tests.places import ROOT

pytestmark = pytest.mark.e2e

P = ParamSpec("P")
T = TypeVar("T")


async def test_what_a_killed_launcher_left_is_no_job_and_can_be_started_or_is_removed(directory: Path) -> None:
    folder, trash = directory / "a", directory / ".removed-0123"
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    (folder / "spec.json").write_text('{"form')
    trash.mkdir()
    (trash / "started").write_text("1\n")
    os.utime(trash, (1, 1))
    launcher = make(directory)
    assert list(await launcher.jobs()) == []
    assert not trash.exists()
    await launcher.start(job("a", "exit 0"))
    assert (await ended(launcher, "a")).exit_code == 0
    await launcher.close()


async def test_a_job_of_before_a_reboot_has_ended_and_is_not_run_again(
    launcher: ProcessLauncher, directory: Path
) -> None:
    await launcher.start(job("a", "exit 0"))
    await ended(launcher, "a")
    for name in ("exit", "spec.json"):
        (directory / "a" / name).unlink()
    (directory / "a" / "pid").write_text("")
    other = make(directory)
    await other.start(job("a", "exit 0"))
    (found,) = await other.jobs()
    assert (found.state, found.exit_code, found.signal) == (JobState.ENDED, None, None)
    assert found.name == "a"
    await other.forget("a")
    await other.close()


async def test_a_newer_format_is_refused_by_name(launcher: ProcessLauncher, directory: Path) -> None:
    await launcher.start(job("a", "exit 0"))
    path = directory / "a/spec.json"
    path.write_bytes(msgspec.json.encode({**msgspec.json.decode(path.read_bytes()), "format": 3}))
    with pytest.raises(ConfigError, match=r"format 3.*newer"):
        await make(directory).jobs()


async def test_a_secret_is_in_no_file_and_no_argument(launcher: ProcessLauncher, directory: Path) -> None:
    spec = msgspec.structs.replace(
        job("a", "exec sleep 300"), environment={"SCRIPT": "exec sleep 300", "KAFKA_PASSWORD": "s3cret-word"}
    )
    await launcher.start(spec)
    for name in ("started", "pid"):
        pid = number(directory / "a" / name)
        assert b"s3cret-word" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    for path in directory.rglob("*"):
        if path.is_file():
            assert b"s3cret-word" not in path.read_bytes()
            assert path.stat().st_mode & 0o777 == 0o600 or path.parent.stat().st_mode & 0o777 == 0o700
    found = msgspec.json.decode((directory / "a/spec.json").read_bytes())
    assert {"name", "target", "queue_id", "attempt", "started_ms"} <= set(found)


async def test_a_long_log_keeps_its_end_and_stays_bounded(launcher: ProcessLauncher, directory: Path) -> None:
    script = (
        "import sys, os\n"
        "for part in range(8):\n"
        "    for line in range(10000): print(part, line, 'x' * 40)\n"
        "    sys.stdout.flush()\n"
        "    open(f'{sys.argv[1]}/part{part}', 'w').close()\n"
        "    while not os.path.exists(f'{sys.argv[1]}/go{part}'): pass\n"
        "sys.exit('the last words')\n"
    )
    program = directory.parent / "program.py"
    program.write_text(script)
    await launcher.start(job("a", f"exec {sys.executable} -S {program} {directory.parent}"))
    for part in range(8):
        await until((directory.parent / f"part{part}").exists)
        await launcher.jobs()
        assert sum(path.stat().st_size for path in (directory / "a").iterdir()) < 2.2 * LOG_LIMIT
        (directory.parent / f"go{part}").touch()
    found = await ended(launcher, "a")
    assert found.reason.endswith("the last words")
    assert "7 9999 xxx" in found.reason
    assert len(found.reason) <= 2000


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".a", "-a", "a b", "x" * 201, "a\n"], ids=ascii)
async def test_an_illegal_name_can_never_start(launcher: ProcessLauncher, directory: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        await launcher.start(job(name, "exit 0"))
    await launcher.stop(name, grace_s=0)
    await launcher.forget(name)
    assert not directory.exists()


async def test_a_command_that_is_no_program_can_never_start(directory: Path) -> None:
    for command in ([], ["/nowhere/python"], ["no-such-program-here"]):
        launcher = ProcessLauncher(directory, command=lambda spec, c=command: c, base_environment={})  # type: ignore[misc]
        with pytest.raises(ConfigError, match=r"job-x.*no program"):
            await launcher.start(job("job-x", ""))
        await launcher.close()


async def test_an_environment_that_cannot_be_passed_can_never_start(launcher: ProcessLauncher) -> None:
    with pytest.raises(ConfigError, match="NUL"):
        await launcher.start(job("a", "exit 0\x00"))
    with pytest.raises(ConfigError, match="too large"):
        await launcher.start(job("b", "#" + "x" * 3_000_000))
    assert list(await launcher.jobs()) == []


async def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    launcher = make(tmp_path / "file")
    with pytest.raises(ConfigError, match="file"):
        await launcher.start(job("a", "exit 0"))
    with pytest.raises(RetryableError, match="file"):
        await launcher.jobs()
    await launcher.close()


async def test_starting_and_stopping_do_not_hold_up_the_loop(
    launcher: ProcessLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    forked = launcher.fork_server.running is not None
    loop = asyncio.get_running_loop()
    waited: set[str] = set()

    def while_the_loop_turns(work: Callable[P, T]) -> Callable[P, T]:
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            turned = threading.Event()
            loop.call_soon_threadsafe(turned.set)
            assert turned.wait(LIMIT_S), f"the loop stands still during {work.__name__}"
            waited.add(work.__name__)
            return work(*args, **kwargs)

        return call

    monkeypatch.setattr(job_processes, "spawn", while_the_loop_turns(job_processes.spawn))
    monkeypatch.setattr(ForkServer, "fork", while_the_loop_turns(ForkServer.fork))
    monkeypatch.setattr(job_processes, "ask_to_end", while_the_loop_turns(job_processes.ask_to_end))
    monkeypatch.setattr(Folder, "is_held", while_the_loop_turns(Folder.is_held))
    names = [f"job-{n}" for n in range(6)]
    await asyncio.gather(*(launcher.start(job(name, "exec sleep 300")) for name in names))
    await launcher.jobs()
    await asyncio.gather(*(launcher.stop(name, grace_s=LIMIT_S) for name in names))
    assert {found.state for found in await launcher.jobs()} == {JobState.ENDED}
    assert waited - {"spawn"} == {"ask_to_end", "is_held"} | ({"fork"} if forked else set())


@pytest.mark.parametrize("moment", ["listed", "looked at"])
async def test_a_job_that_is_forgotten_while_jobs_are_listed_takes_no_other_with_it(
    launcher: ProcessLauncher, directory: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    other = make(directory)
    assert not await other.jobs()
    await launcher.start(job("a", "exec sleep 300"))
    await launcher.start(job("b", "exit 0"))
    await ended(launcher, "b")
    scandir, is_held = os.scandir, Folder.is_held

    def forget() -> None:
        (directory / "b").rename(directory.parent / "b")

    def scandir_then_forget(path: Path) -> contextlib.closing[Generator[os.DirEntry[str]]]:
        with scandir(path) as found:
            entries = list(found)
        forget()
        return contextlib.closing(one for one in entries)

    def is_held_then_forget(folder: Folder) -> bool:
        held = is_held(folder)
        if folder.name == "b":
            forget()
        return held

    with monkeypatch.context() as patched:
        if moment == "listed":
            patched.setattr(os, "scandir", scandir_then_forget)
        else:
            patched.setattr(Folder, "is_held", is_held_then_forget)
        found = other._jobs()
    await other.close()
    assert [(one.name, one.state) for one in found] == [("a", JobState.RUNNING)]


async def test_a_thousand_ended_jobs_cost_little(launcher: ProcessLauncher, directory: Path) -> None:
    await launcher.start(job("job-0", "echo failed; exit 1"))
    await ended(launcher, "job-0")
    files = list((directory / "job-0").iterdir())
    for serial in range(1, 1000):
        folder = directory / f"job-{serial}"
        folder.mkdir()
        for file in files:
            (folder / file.name).hardlink_to(file)
    first, second = calls_of(launcher._jobs), calls_of(launcher._jobs)
    assert len(await launcher.jobs()) == 1000
    # What has ended stays as it was: it is not read again.
    assert second < first / 5


def calls_of(work: Callable[[], object]) -> int:
    """How many functions it calls, which no busy machine changes."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


async def test_a_killed_launcher_loses_nothing_and_repeats_nothing(launcher: ProcessLauncher, directory: Path) -> None:
    """Kill a process that starts jobs at some moment of a start: each job has run once or can be started now."""
    program = (
        "import asyncio, sys, pathlib\n"
        "from tests.adapters.embedded.launcher.support import job, make\n"
        "async def main():\n"
        "    launcher = make(pathlib.Path(sys.argv[1]))\n"
        "    for n in range(1000):\n"
        "        await launcher.start(job(f'job-{n}', f'echo ran >> {sys.argv[2]}/ran-{n}'))\n"
        "        print(n, flush=True)\n"
        "asyncio.run(main())\n"
    )
    for kill_after in (0, 3, 11):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            str(directory),
            str(directory.parent),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            while int(await process.stdout.readline()) < kill_after:
                pass
        process.kill()
        rest = await process.communicate()
        last = max([kill_after, *map(int, rest[0].split())])
        for n in range(last + 3):
            await launcher.start(job(f"job-{n}", f"echo ran >> {directory.parent}/ran-{n}"))
            assert (await ended(launcher, f"job-{n}")).exit_code == 0
            assert (directory.parent / f"ran-{n}").read_text() == "ran\n"
