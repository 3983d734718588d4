"""What every launcher promises. A subclass says only how to make one whose jobs run `/bin/sh -c "$CONTRACT_SCRIPT"`."""

# ruff: noqa: ASYNC110, ASYNC240 - other processes cannot set an event; the files are small

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from streamforge_utils.model.errors import ConflictError
from streamforge_utils.ports.launcher import Job, JobSpec, JobState, Launcher
from tests.limits import LIMIT_S


class ClosingLauncher(Launcher, Protocol):
    """What the contract needs of an adapter."""

    async def close(self) -> None: ...


MakeLauncher = Callable[[], ClosingLauncher]

SLEEPS = "exec sleep 300"
OBEYS = 'trap "exit 0" TERM; echo ready > "$CONTRACT_FILE"; while :; do sleep 0.02; done'
IGNORES = 'trap "" TERM; echo ready > "$CONTRACT_FILE"; while :; do sleep 0.02; done'


class LauncherFixtures:
    """Base of the contract. patience_s: how long a job may take to start or to end by itself.

    others_at_once: what another launcher did is seen at once, not only soon. What it did itself always is.
    """

    patience_s = LIMIT_S
    others_at_once = True

    @pytest.fixture
    def make_launcher(self) -> MakeLauncher:
        raise NotImplementedError("say how to make the launcher")

    @pytest.fixture
    async def launcher(self, make_launcher: MakeLauncher) -> AsyncIterator[ClosingLauncher]:
        launcher = make_launcher()
        yield launcher
        for job in await launcher.jobs():
            await launcher.stop(job.name, grace_s=0)
            await launcher.forget(job.name)
        await launcher.close()

    @pytest.fixture
    async def other(self, make_launcher: MakeLauncher) -> AsyncIterator[ClosingLauncher]:
        """The same jobs, as somebody else sees them."""
        launcher = make_launcher()
        yield launcher
        await launcher.close()

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """A file that jobs may write, named in their environment as `CONTRACT_FILE`."""
        return tmp_path / "contract-file"

    @pytest.fixture
    def job(self, file: Path) -> Callable[..., JobSpec]:
        """Makes a job that runs a script; its name is new unless given."""

        def make(script: str, name: str | None = None, **environment: str) -> JobSpec:
            return JobSpec(
                name=name or f"job-contract-{secrets.token_hex(4)}",
                target="dummy-service",
                queue_id="wf-btcusdt-api_candles_1m-20240801-abc123",
                attempt=1,
                environment={"CONTRACT_SCRIPT": script, "CONTRACT_FILE": str(file), **environment},
            )

        return make

    async def seen(self, launcher: Launcher, name: str) -> Job:
        (job,) = [job for job in await launcher.jobs() if job.name == name]
        return job

    async def seen_by(self, other: Launcher, names: Sequence[str]) -> None:
        """What `other` sees is jobs of these names: at once, or soon where that is what the launcher promises."""
        if self.others_at_once:
            assert [job.name for job in await other.jobs()] == list(names)
            return
        async with asyncio.timeout(self.patience_s):
            while [job.name for job in await other.jobs()] != list(names):
                await asyncio.sleep(0.01)

    async def ended(self, launcher: Launcher, name: str) -> Job:
        """The job once it has ended by itself."""
        async with asyncio.timeout(self.patience_s):
            while (job := await self.seen(launcher, name)).state is not JobState.ENDED:
                await asyncio.sleep(0.01)
        return job

    async def written(self, file: Path) -> str:
        """What a job wrote into its file, once there is a whole line."""
        async with asyncio.timeout(self.patience_s):
            while not (file.exists() and file.read_text().endswith("\n")):
                await asyncio.sleep(0.01)
        return file.read_text()


MakeJob = Callable[..., JobSpec]


class LauncherContract(LauncherFixtures):
    """Jobs: started once, observed, stopped, forgotten."""

    async def test_a_started_job_runs_and_is_listed(self, launcher: ClosingLauncher, job: MakeJob, file: Path) -> None:
        spec = job(f'echo here > "$CONTRACT_FILE"; {SLEEPS}')
        await launcher.start(spec)
        found = await self.seen(launcher, spec.name)
        assert (found.state, found.exit_code, found.signal, found.ended_ms) == (JobState.RUNNING, None, None, None)
        assert (found.target, found.queue_id, found.attempt) == (spec.target, spec.queue_id, 1)
        assert found.image == launcher.image(spec.target, spec.image)
        assert found.started_ms > 1_600_000_000_000
        assert await self.written(file) == "here\n"

    async def test_how_a_job_ended_is_observed_with_its_last_words(
        self, launcher: ClosingLauncher, job: MakeJob
    ) -> None:
        talks = 'i=0; while [ $i -lt 2000 ]; do echo "line $i"; i=$((i+1)); done; echo "cannot reach the store" >&2; '
        endings = {"exit 0": (0, None), "exit 2": (2, None), f"{talks}exit 1": (1, None), "kill -9 $$": (None, 9)}
        reasons: list[str] = []
        for script, ending in endings.items():
            spec = job(script)
            await launcher.start(spec)
            found = await self.ended(launcher, spec.name)
            assert (found.exit_code, found.signal) == ending
            assert found.ended_ms is not None
            assert found.ended_ms >= found.started_ms
            reasons.append(found.reason)
            await launcher.start(spec)
            await launcher.stop(spec.name, grace_s=0)
            assert await self.seen(launcher, spec.name) == found, "it ended once and for all"
        fine, failed, told, killed = reasons
        assert fine == ""
        assert failed != ""
        assert "9" in killed
        for words in ("line 1999", "cannot reach the store"):
            assert words in told
        assert "line 17\n" not in told
        assert len(told) <= 2000

    async def test_the_end_of_what_it_wrote_is_given_while_it_runs_and_after_its_end(
        self, launcher: ClosingLauncher, job: MakeJob, file: Path
    ) -> None:
        talks = 'i=0; while [ $i -lt 2000 ]; do echo "line $i"; i=$((i+1)); done; echo ready > "$CONTRACT_FILE"'
        spec = job(f'{talks}; until [ -e "$CONTRACT_FILE.end" ]; do sleep 0.02; done; echo "the end" >&2')
        assert await launcher.log(spec.name) is None
        await launcher.start(spec)
        await self.written(file)
        async with asyncio.timeout(self.patience_s):
            while (text := await launcher.log(spec.name) or "")[-10:] != "line 1999\n":
                await asyncio.sleep(0.01)
        assert text.splitlines() == [f"line {number}" for number in range(1500, 2000)]
        Path(f"{file}.end").touch()
        await self.ended(launcher, spec.name)
        assert (await launcher.log(spec.name) or "").splitlines()[-2:] == ["line 1999", "the end"]
        await launcher.forget(spec.name)
        assert await launcher.log(spec.name) is None

    async def test_what_a_job_wrote_before_it_was_stopped_is_given(
        self, launcher: ClosingLauncher, job: MakeJob, file: Path
    ) -> None:
        spec = job(f"echo words; {OBEYS}")
        await launcher.start(spec)
        await self.written(file)
        await launcher.stop(spec.name, grace_s=self.patience_s)
        assert await launcher.log(spec.name) == "words\n"

    async def test_a_job_started_again_runs_once_and_once_it_ended_never(
        self, launcher: ClosingLauncher, job: MakeJob, file: Path
    ) -> None:
        spec = job(f'echo ran >> "$CONTRACT_FILE"; {SLEEPS}')
        await launcher.start(spec)
        await launcher.start(spec)
        await self.written(file)
        await launcher.start(spec)
        await launcher.stop(spec.name, grace_s=5)
        await launcher.start(spec)
        assert [found.state for found in await launcher.jobs()] == [JobState.ENDED]
        assert file.read_text() == "ran\n"

    async def test_two_launchers_at_once_run_it_once(
        self, launcher: ClosingLauncher, other: ClosingLauncher, job: MakeJob, file: Path
    ) -> None:
        names: list[str] = []
        for _ in range(5):
            spec = job('echo "$CONTRACT_SCRIPT" > /dev/null; echo ran >> "$CONTRACT_FILE"')
            await asyncio.gather(*(one.start(spec) for one in (launcher, other, launcher, other)))
            names.append(spec.name)
            await self.seen_by(other, sorted(names))
            await self.ended(other, spec.name)
        assert file.read_text() == "ran\n" * 5

    async def test_jobs_are_sorted_by_name(self, launcher: ClosingLauncher, job: MakeJob) -> None:
        assert list(await launcher.jobs()) == []
        for name in ("job-b", "job-a", "job-a-10", "job-a-2"):
            await launcher.start(job("exit 0", name))
        assert [found.name for found in await launcher.jobs()] == ["job-a", "job-a-10", "job-a-2", "job-b"]

    async def test_stop_asks_first(self, launcher: ClosingLauncher, job: MakeJob, file: Path) -> None:
        spec = job(OBEYS)
        await launcher.start(spec)
        await self.written(file)
        await launcher.stop(spec.name, grace_s=self.patience_s)
        found = await self.seen(launcher, spec.name)
        assert (found.state, found.exit_code, found.signal) == (JobState.ENDED, 0, None)

    async def test_stop_ends_by_force_what_does_not_listen(
        self, launcher: ClosingLauncher, job: MakeJob, file: Path
    ) -> None:
        spec = job(IGNORES)
        await launcher.start(spec)
        await self.written(file)
        await launcher.stop(spec.name, grace_s=0.2)
        found = await self.seen(launcher, spec.name)
        assert found.state is JobState.ENDED
        assert found.exit_code in (None, 137)
        assert found.reason != ""

    async def test_stop_ends_what_just_began_and_knows_no_error_for_what_nobody_knows(
        self, launcher: ClosingLauncher, job: MakeJob
    ) -> None:
        await launcher.stop("job-nobody-knows", grace_s=0)
        spec = job(SLEEPS)
        await launcher.start(spec)
        await launcher.stop(spec.name, grace_s=self.patience_s)
        assert (await self.seen(launcher, spec.name)).state is JobState.ENDED

    async def test_jobs_outlive_their_launcher(self, make_launcher: MakeLauncher, job: MakeJob, file: Path) -> None:
        first = make_launcher()
        lives, ends = job(OBEYS), job("sleep 0.3; exit 2")
        await first.start(lives)
        await first.start(ends)
        await self.written(file)
        await first.close()
        second = make_launcher()
        assert (await self.seen(second, lives.name)).state is JobState.RUNNING
        assert (await self.ended(second, ends.name)).exit_code == 2
        await second.start(lives)
        await second.stop(lives.name, grace_s=self.patience_s)
        assert (await self.seen(second, lives.name)).exit_code == 0
        await second.close()

    async def test_a_forgotten_job_is_gone_and_may_run_again(
        self, launcher: ClosingLauncher, other: ClosingLauncher, job: MakeJob, file: Path
    ) -> None:
        spec = job('echo ran >> "$CONTRACT_FILE"; exit 1')
        for times in (1, 2):
            await launcher.start(spec)
            assert (await self.ended(launcher, spec.name)).exit_code == 1
            await self.seen_by(other, [spec.name])
            assert (await self.ended(other, spec.name)).exit_code == 1
            assert file.read_text() == "ran\n" * times
            await launcher.forget(spec.name)
            await launcher.forget(spec.name)
            assert list(await launcher.jobs()) == []
            await self.seen_by(other, [])

    async def test_a_running_job_is_not_forgotten(self, launcher: ClosingLauncher, job: MakeJob) -> None:
        spec = job(SLEEPS)
        await launcher.start(spec)
        with pytest.raises(ConflictError, match=spec.name):
            await launcher.forget(spec.name)
        assert (await self.seen(launcher, spec.name)).state is JobState.RUNNING

    async def test_the_environment_is_passed_and_not_told_and_nothing_else_of_ours(
        self, launcher: ClosingLauncher, job: MakeJob, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOMEBODYS_TOKEN", "leaked")
        value = "a b'c\"$(echo no) \\n ключ"
        spec = job(
            'env > "$CONTRACT_FILE"; printf "PATH is %s\\n%s|%s\\n" "$PATH" "$SYMBOL" "$KAFKA_PASSWORD" '
            '>> "$CONTRACT_FILE"; exit 1',
            SYMBOL=value,
            KAFKA_PASSWORD="s3cret-word",
        )
        await launcher.start(spec)
        found = await self.ended(launcher, spec.name)
        assert file.read_text().endswith(f"\n{value}|s3cret-word\n")
        assert "PATH is /" in file.read_text()
        assert "leaked" not in file.read_text()
        assert "s3cret-word" not in repr(found)
