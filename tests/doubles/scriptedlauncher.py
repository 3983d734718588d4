"""A launcher whose jobs run for as long as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from streamforge_utils.model.errors import ConflictError
from streamforge_utils.ports.launcher import Job, JobSpec, JobState

_replace = msgspec.structs.replace


class ScriptedLauncher:
    """started: what was started, in order; a name is there once. stopped: whom it was asked to end.

    failing: what every call raises. gate: `start` waits for it. obedient: a job asked to end is gone at once.
    unseen: its trouble. images: of jobs that are started, by target. together: the jobs of each call that started
    several. noted: whose terminal event it was told of; sees_no_member: it takes that for the end of a job.
    logs: what jobs have written, by name.
    """

    def __init__(self) -> None:
        self.now_ms = 0
        self.specs: dict[str, JobSpec] = {}
        self.known: dict[str, Job] = {}
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.forgotten: list[str] = []
        self.failing: Exception | None = None
        self.starting: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.obedient = True
        self.unseen = ""
        self.images: dict[str, str] = {}
        self.together: list[list[str]] = []
        self.noted: list[tuple[str, int]] = []
        self.sees_no_member = False
        self.logs: dict[str, str] = {}

    def watch(self) -> None:
        """Nothing is shared here that a worker could lock."""

    async def start(self, spec: JobSpec) -> None:
        self._check()
        if self.gate is not None:
            await self.gate.wait()
        if self.starting is not None:
            raise self.starting
        if spec.name in self.known:
            return
        self.specs[spec.name] = spec
        self.started.append(spec.name)
        self.known[spec.name] = Job(
            name=spec.name,
            target=spec.target,
            queue_id=spec.queue_id,
            attempt=spec.attempt,
            state=JobState.RUNNING,
            started_ms=self.now_ms,
            image=self.images.get(spec.target, ""),
        )

    async def start_together(self, specs: Sequence[JobSpec]) -> None:
        fresh = [spec.name for spec in specs if spec.name not in self.known]
        for spec in specs:
            await self.start(spec)
        if len(fresh) > 1:
            self.together.append(fresh)
            for name in fresh:
                self.known[name] = _replace(self.known[name], basket=f"basket-{len(self.together)}")

    async def jobs(self) -> Sequence[Job]:
        await asyncio.sleep(0)
        self._check()
        return [self.known[name] for name in sorted(self.known)]

    def image(self, target: str, image: str | None) -> str:
        return self.images.get(target, "")

    def stale_reason(self) -> str:
        return self.unseen

    async def stop(self, name: str, *, grace_s: float) -> None:
        self._check()
        self.stopped.append(name)
        job = self.known.get(name)
        if self.obedient and job is not None and job.state is JobState.RUNNING:
            self.end(name, signal=15)

    async def note_end(self, name: str, exit_code: int) -> None:
        self._check()
        self.noted.append((name, exit_code))
        if self.sees_no_member and self.known[name].state is JobState.RUNNING:
            self.end(name, exit_code=exit_code)

    async def log(self, name: str) -> str | None:
        self._check()
        return self.logs.get(name) if name in self.known else None

    async def forget(self, name: str) -> None:
        self._check()
        job = self.known.get(name)
        if job is not None and job.state is JobState.RUNNING:
            raise ConflictError(f"{name} runs")
        self.forgotten.append(name)
        self.known.pop(name, None)

    async def close(self) -> None:
        pass

    def end(self, name: str, *, exit_code: int | None = None, signal: int | None = None) -> None:
        """Let the job's process be gone."""
        self.known[name] = _replace(
            self.known[name],
            state=JobState.ENDED,
            exit_code=exit_code,
            signal=signal,
            ended_ms=self.now_ms or 1,
            reason="" if exit_code == 0 else f"code {exit_code} signal {signal}",
        )

    def running(self) -> list[str]:
        """The names of the jobs that run."""
        return [name for name, job in sorted(self.known.items()) if job.state is JobState.RUNNING]

    def _check(self) -> None:
        if self.failing is not None:
            raise self.failing
