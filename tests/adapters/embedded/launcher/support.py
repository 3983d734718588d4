"""Jobs of the embedded launcher that are shell scripts, and how to look at them."""

# ruff: noqa: ASYNC110 - other processes cannot set an event; the files are small

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from streamforge_utils.adapters.embedded.launcher.process_launcher import ProcessLauncher
from streamforge_utils.ports.launcher import Job, JobSpec, JobState
from tests.limits import LIMIT_S

WORKER = (sys.executable, str(Path(__file__).with_name("shell_worker.py")))


def make(directory: Path) -> ProcessLauncher:
    return ProcessLauncher(
        directory, command=lambda spec: ["/bin/sh", "-c", spec.environment["SCRIPT"]], base_environment={}
    )


def make_forking(directory: Path) -> ProcessLauncher:
    """One whose fork server runs: it starts every job."""
    launcher = ProcessLauncher(
        directory,
        command=lambda spec: [*WORKER, spec.environment["SCRIPT"]],
        base_environment={},
        fork_server=(*WORKER, "--fork-server"),
    )
    assert launcher.fork_server.begin(LIMIT_S)
    return launcher


def job(name: str, script: str) -> JobSpec:
    return JobSpec(name=name, target="dummy-service", queue_id="wf-x", attempt=3, environment={"SCRIPT": script})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.005)


async def ended(launcher: ProcessLauncher, name: str) -> Job:
    async with asyncio.timeout(LIMIT_S):
        while True:
            (found,) = [job for job in await launcher.jobs() if job.name == name]
            if found.state is JobState.ENDED:
                return found
            await asyncio.sleep(0.005)


def number(path: Path) -> int:
    return int(path.read_text())


def alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return f"{pid}" in os.listdir("/proc") and ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
