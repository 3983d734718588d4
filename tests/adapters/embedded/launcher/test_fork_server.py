"""When jobs are forked by a server, and that they are the same where it is killed, missing, or of no use."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.launcher.fork_server import WORTH_IT
from streamforge_utils.adapters.embedded.launcher.process_launcher import ProcessLauncher
from streamforge_utils.ports.launcher import JobSpec, JobState
from tests.adapters.embedded.launcher.support import WORKER, alive, ended, job, make, make_forking, number, until
from tests.limits import LIMIT_S

pytestmark = pytest.mark.e2e

ENDLESS = "exec sleep 300"


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


def unforked(directory: Path, *server: str) -> ProcessLauncher:
    return ProcessLauncher(
        directory,
        command=lambda spec: [*WORKER, spec.environment["SCRIPT"]],
        base_environment={},
        fork_server=server or (*WORKER, "--fork-server"),
    )


async def test_a_server_begins_where_many_jobs_start_and_forks_those_that_follow(directory: Path) -> None:
    launcher = unforked(directory)
    launcher.fork_server.patience_s = LIMIT_S
    for index in range(WORTH_IT):
        assert launcher.fork_server.running is None
        await launcher.start(job(f"early-{index}", ENDLESS))
        assert parent_of(number(directory / f"early-{index}" / "started")) == os.getpid()
    server = launcher.fork_server.running
    assert server is not None
    await launcher.start(job("later", "echo $SCRIPT; exec sleep 300"))
    assert parent_of(number(directory / "later" / "started")) == server
    assert {found.state for found in await launcher.jobs()} == {JobState.RUNNING}
    await launcher.close()
    await until(lambda: not alive(server))
    other = make(directory)
    assert {found.state for found in await other.jobs()} == {JobState.RUNNING}, "its jobs outlive it"
    for found in await other.jobs():
        await other.stop(found.name, grace_s=LIMIT_S)
        assert (await ended(other, found.name)).signal == signal.SIGTERM
    await other.close()


async def test_a_launcher_that_watches_has_its_first_job_forked(directory: Path) -> None:
    launcher = unforked(directory)
    launcher.fork_server.patience_s = LIMIT_S
    launcher.watch()
    await launcher.start(job("first", ENDLESS))
    assert parent_of(number(directory / "first" / "started")) == launcher.fork_server.running
    await launcher.stop("first", grace_s=LIMIT_S)
    await launcher.close()


async def test_a_server_that_is_killed_takes_no_job_with_it_and_another_way_is_found(directory: Path) -> None:
    launcher = make_forking(directory)
    await launcher.start(job("before", ENDLESS))
    server = launcher.fork_server.running
    assert server is not None
    os.kill(server, signal.SIGKILL)
    await until(lambda: not alive(server))
    await launcher.jobs()
    assert str(server) not in os.listdir("/proc"), "no zombie is left of it"
    await launcher.start(job("after", "exit 3"))
    assert (await ended(launcher, "after")).exit_code == 3
    assert [one.state for one in await launcher.jobs() if one.name == "before"] == [JobState.RUNNING]
    await launcher.stop("before", grace_s=LIMIT_S)
    assert (await ended(launcher, "before")).signal == signal.SIGTERM
    await launcher.close()


async def test_an_environment_that_fits_no_request_is_no_obstacle(directory: Path) -> None:
    launcher = make_forking(directory)
    large = {"SCRIPT": 'test "${#LARGE}" = 120000 && exit 5', "LARGE": "x" * 120_000}
    await launcher.start(JobSpec(name="a", target="dummy-service", queue_id="wf-x", attempt=1, environment=large))
    assert (await ended(launcher, "a")).exit_code == 5
    await launcher.close()


@pytest.mark.parametrize(
    "program",
    [
        "import sys; sys.exit(1)",
        "import sys, threading; from streamforge_utils.adapters.embedded.launcher.fork_server import serve; "
        "threading.Thread(target=threading.Event().wait, daemon=True).start(); sys.exit(serve(int(sys.argv[-1]), len))",
    ],
    ids=["it ends at once", "it has threads"],
)
async def test_a_server_that_cannot_be_is_not_begun_again(directory: Path, program: str) -> None:
    launcher = unforked(directory, sys.executable, "-c", program)
    assert not launcher.fork_server.begin(LIMIT_S)
    for name in ("a", "b"):
        await launcher.start(job(name, "exit 4"))
        assert (await ended(launcher, name)).exit_code == 4
        assert launcher.fork_server.running is None
    assert not launcher.fork_server.begin(LIMIT_S)
    await launcher.close()


async def test_a_forked_worker_has_the_environment_of_its_job_alone(directory: Path) -> None:
    launcher = make_forking(directory)
    for name in ("first", "second"):
        given = {"SCRIPT": "env > $0.txt; exit 0".replace("$0", str(directory / name)), f"ONLY_{name.upper()}": "1"}
        spec = JobSpec(name=name, target="dummy-service", queue_id="wf-x", attempt=1, environment=given)
        await launcher.start(spec)
        assert (await ended(launcher, name)).exit_code == 0
    told = (directory / "second.txt").read_text()
    assert "ONLY_SECOND=1" in told
    assert "ONLY_FIRST" not in told
    await launcher.close()
