"""What every launcher promises of jobs that are started together, and which become one process.

A subclass says how to make one whose processes run `/bin/sh -c "$CONTRACT_SCRIPT"`, and how a member ends by itself.
"""

# ruff: noqa: ASYNC240 - the files are small

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from streamforge_utils.model.errors import ConflictError
from streamforge_utils.ports.launcher import Job, JobSpec, JobState
from tests.contracts.launcher import ClosingLauncher, LauncherFixtures, MakeJob, MakeLauncher

WAITS = 'echo ran >> "$CONTRACT_FILE"; until [ -e "$CONTRACT_FILE.end" ]; do sleep 0.02; done; . "$CONTRACT_FILE.end"'
"""A process that ends as the file beside says, once it is there."""

EndMember = Callable[[ClosingLauncher, str, int], Awaitable[None]]


class BasketContract(LauncherFixtures):
    """grace: the dotted name of the time that a member has to end by itself."""

    grace = ""

    @pytest.fixture
    def end_member(self) -> EndMember:
        raise NotImplementedError("say how a member ends with an exit code, while its process goes on")

    @pytest.fixture(autouse=True)
    def little_grace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(self.grace, 0.2)

    @pytest.fixture
    def members(self, job: MakeJob) -> list[JobSpec]:
        return [
            msgspec.structs.replace(job(WAITS, name, SYMBOL=name), queue_id=f"wf-{name}", attempt=3)
            for name in ("job-a", "job-b", "job-c")
        ]

    def end_process(self, file: Path, how: str) -> None:
        """Let the process end by a line of shell."""
        written = file.with_suffix(".new")
        written.write_text(f"{how}\n")
        written.rename(f"{file}.end")

    async def states(self, launcher: ClosingLauncher) -> dict[str, Job]:
        return {job.name: job for job in await launcher.jobs()}

    async def all_ended(self, launcher: ClosingLauncher) -> list[Job]:
        return [await self.ended(launcher, name) for name in ("job-a", "job-b", "job-c")]

    async def test_each_is_a_job_and_all_are_one_process_that_is_started_once(
        self, launcher: ClosingLauncher, members: list[JobSpec], file: Path
    ) -> None:
        await launcher.start_together(members)
        await self.written(file)
        found = await self.states(launcher)
        assert [(job.name, job.target, job.queue_id, job.attempt, job.state) for job in found.values()] == [
            (one.name, "dummy-service", f"wf-{one.name}", 3, JobState.RUNNING) for one in members
        ]
        (basket,) = {job.basket for job in found.values()}
        assert basket not in ("", *found)
        await launcher.start_together(members)
        await launcher.start_together(members[1:])
        await launcher.start(members[0])
        assert {job.basket for job in (await self.states(launcher)).values()} == {basket}
        assert file.read_text() == "ran\n"

    async def test_the_log_of_each_is_that_of_the_process(
        self, launcher: ClosingLauncher, members: list[JobSpec], file: Path
    ) -> None:
        self.end_process(file, "exit 1")
        talking = [
            msgspec.structs.replace(one, environment={**one.environment, "CONTRACT_SCRIPT": f"echo words; {WAITS}"})
            for one in members
        ]
        await launcher.start_together(talking)
        await self.all_ended(launcher)
        assert [await launcher.log(one.name) for one in members] == ["words\n"] * 3

    async def test_one_ends_by_itself_and_the_others_end_as_the_process_does(
        self,
        launcher: ClosingLauncher,
        make_launcher: MakeLauncher,
        members: list[JobSpec],
        file: Path,
        end_member: EndMember,
    ) -> None:
        """Also for a launcher that finds them."""
        first = make_launcher()
        await first.start_together(members)
        await self.written(file)
        await end_member(first, "job-b", 1)
        ended = await self.ended(first, "job-b")
        assert (ended.exit_code, ended.signal) == (1, None)
        assert ended.reason.startswith("exit code 1")
        await first.stop("job-b", grace_s=0)
        states = {name: job.state.value for name, job in (await self.states(first)).items()}
        assert states == {"job-a": "running", "job-b": "ended", "job-c": "running"}
        await first.close()
        found = await self.states(launcher)
        assert ({name: job.state.value for name, job in found.items()}, found["job-b"]) == (states, ended)
        await launcher.start_together(members)
        self.end_process(file, "kill -9 $$")
        ends = await self.all_ended(launcher)
        assert [(job.exit_code, job.signal) for job in ends] == [(None, 9), (1, None), (None, 9)]
        assert "9" in ends[0].reason
        assert ends[1] == ended
        assert file.read_text() == "ran\n"

    async def test_one_that_does_not_end_in_time_is_ended_with_the_others(
        self, launcher: ClosingLauncher, members: list[JobSpec], file: Path, end_member: EndMember
    ) -> None:
        await launcher.start_together(members)
        await self.written(file)
        await end_member(launcher, "job-c", 0)
        await launcher.stop("job-a", grace_s=0)
        found = await self.states(launcher)
        assert {job.state for job in found.values()} == {JobState.ENDED}
        assert (found["job-a"].exit_code, found["job-c"].exit_code) == (None, 0)
        assert (found["job-a"].reason != "", found["job-c"].reason) == (True, "")

    async def test_the_others_have_more_time_than_its_grace_to_end_in_order(
        self, launcher: ClosingLauncher, job: MakeJob, file: Path
    ) -> None:
        script = f"trap 'sleep 3; touch \"$CONTRACT_FILE.rest\"; exit 1' TERM; {WAITS}"
        await launcher.start_together([job(script, name) for name in ("job-a", "job-b")])
        await self.written(file)
        await launcher.stop("job-a", grace_s=0)
        assert Path(f"{file}.rest").exists()
        assert [one.exit_code for one in (await self.states(launcher)).values()] == [1, 1]

    async def test_one_that_ends_when_it_is_asked_to_ends_no_other(
        self,
        launcher: ClosingLauncher,
        members: list[JobSpec],
        file: Path,
        end_member: EndMember,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(self.grace, self.patience_s)
        await launcher.start_together(members)
        await self.written(file)
        await self.seen(launcher, "job-a")
        stopping = asyncio.create_task(launcher.stop("job-a", grace_s=0))
        await end_member(launcher, "job-a", 0)
        await stopping
        states = [job.state.value for job in (await self.states(launcher)).values()]
        assert states == ["ended", "running", "running"]
        monkeypatch.setattr(self.grace, 0.2)

    async def test_each_is_forgotten_for_itself_once_it_has_ended(
        self, launcher: ClosingLauncher, members: list[JobSpec], file: Path, end_member: EndMember
    ) -> None:
        await launcher.start_together(members)
        await self.written(file)
        await end_member(launcher, "job-b", 0)
        await self.ended(launcher, "job-b")
        await launcher.forget("job-b")
        with pytest.raises(ConflictError, match="job-a runs"):
            await launcher.forget("job-a")
        assert [job.state.value for job in (await self.states(launcher)).values()] == ["running", "running"]
        self.end_process(file, "exit 2")
        for name in ("job-a", "job-c"):
            assert (await self.ended(launcher, name)).exit_code == 2
            await launcher.forget(name)
        assert list(await launcher.jobs()) == []

    async def test_one_alone_is_in_no_basket(
        self, launcher: ClosingLauncher, members: list[JobSpec], file: Path
    ) -> None:
        self.end_process(file, "exit 0")
        await launcher.start_together(members[:1])
        assert ((await self.ended(launcher, "job-a")).exit_code, (await self.seen(launcher, "job-a")).basket) == (0, "")
