"""The manager is killed before and after each thing that it does; each time the workflow ends as it should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from streamforge.manager.persistence.coverage_store import CoverageStore
from streamforge.manager.persistence.workflow_store import KIND as WORKFLOW
from streamforge.manager.policy import Policy
from streamforge.manager.service import NotNow
from streamforge.manager.workflow import Status, decode_workflow
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.events import Event, encode_event
from streamforge_utils.model.kinds.candles import candle_key
from streamforge_utils.model.timeranges import parse_time_range
from streamforge_utils.ports.bus import Message, Producer
from streamforge_utils.ports.launcher import Job, JobState
from streamforge_utils.ports.store import Document
from tests.doubles.manualclock import ManualClock
from tests.manager.support import DAY_START, LOADER, MINUTE_MS, NOW, SINK, World, accepted

MOST_TURNS = 80
OPENS = range(DAY_START, DAY_START + 1440 * MINUTE_MS, MINUTE_MS)


class Died(BaseException):
    """The process is gone: nobody catches that."""


class Mortal:
    """Counts what the manager does to the world, and kills it at the `at`th thing; dead, it does nothing more."""

    def __init__(self, world: World, at: int, *, after: bool) -> None:
        self.deeds = 0
        self.dead = False
        self._at = at
        self._after = after
        for part, name in (
            (world.store, "put"),
            (world.store, "upsert"),
            (world.launcher, "start"),
            (world.launcher, "stop"),
            (world.bus, "create_topic"),
        ):
            setattr(part, name, self._hooked(getattr(part, name)))
        producer = world.bus.producer

        async def hooked(*, bulk: bool = False) -> Producer:
            made = await producer(bulk=bulk)
            made.__dict__["send"] = self._hooked(made.send)
            return made

        world.bus.producer = hooked  # type: ignore[method-assign]

    def _hooked(self, deed: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def hooked(*args: Any, **kwargs: Any) -> Any:
            if self.dead:
                raise Died
            self.deeds += 1
            if self.deeds != self._at:
                return await deed(*args, **kwargs)
            self.dead = True
            if self._after:
                await deed(*args, **kwargs)
            raise Died

        return hooked


class Workers:
    """Workers that start, work and end within a few turns.

    The loader's first attempt is killed half-way without a word; the sink of the first round loses a record.
    obedient: they end by themselves when they are told to stop. spoken: the last words that they said themselves.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.age: Counter[str] = Counter()
        self.topic: set[int] = set()
        self.obeyed = 0

    def work(self) -> None:
        running = [job for job in self.world.launcher.known.values() if job.state is JobState.RUNNING]
        assert max(Counter(job.target for job in running).values(), default=0) <= 1, "one attempt at a time"
        for job in sorted(running, key=lambda job: job.target, reverse=True):
            self.age[job.name] += 1
            if self.age[job.name] == 1:
                self.say(job, "started")
            elif self.told_to_stop(job):
                self.end(job, "interrupted")
            elif self.age[job.name] >= 3:
                self.load(job) if job.target == LOADER else self.store(job)

    def load(self, job: Job) -> None:
        spans = [
            parse_time_range(text)
            for text in self.world.launcher.specs[job.name].environment["STREAMFORGE_RANGES"].split(",")
        ]
        opens = [time for span in spans for time in range(span.start_ms, span.end_ms, MINUTE_MS)]
        if job.attempt == 1:
            opens = opens[: len(opens) // 2]
        self.topic |= set(opens)
        self.say(job, "loading", position=opens[-1], records=len(opens))
        if job.attempt == 1:
            self.world.launcher.end(job.name, signal=9)
        else:
            self.end(job, "finished", position=opens[-1])

    def store(self, job: Job) -> None:
        loaders = [j for j in self.world.launcher.known.values() if j.target == LOADER]
        if any(j.state is JobState.RUNNING for j in loaders) or self.age[job.name] < 9:
            return
        lost = {OPENS[1000]} if job.attempt == 1 else set()
        keys = [candle_key("BTCUSDT", "1m", time) for time in sorted(self.topic - lost)]
        there = self.world.store.documents.setdefault("btcusdt_api_candles_1m_2024_08_01", {})
        there |= {key: Document(key, 1, b"{}") for key in keys}
        self.end(job, "finished")

    def told_to_stop(self, job: Job) -> bool:
        return any(
            c["queue_id"] == job.queue_id and c["target"] == job.target and c["attempt"] in (None, job.attempt)
            for c in self.world.commands("stop")
        )

    def say(self, job: Job, word: str, **progress: int) -> None:
        event = Event(
            event=word,  # type: ignore[arg-type]
            queue_id=job.queue_id,
            producer=f"{job.target}__abc123",
            target=job.target,
            attempt=job.attempt,
            extra=dict(progress),
        )
        self.world.bus.append("queue-events", Message(None, encode_event(event)))

    def end(self, job: Job, word: str, **progress: int) -> None:
        self.say(job, word, **progress)
        self.world.launcher.end(job.name, exit_code=0)


class Life:
    """One workflow from the request to its end, under a manager that dies once."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.world = World(clock=ManualClock(NOW), policy=Policy(topic_retention_s=10**9))
        self.world.launcher.obedient = True
        self.mortal = Mortal(self.world, at, after=after)
        self.workers = Workers(self.world)
        self.queue_id = ""

    async def alive(self, deed: Callable[[], Awaitable[Any]]) -> bool:
        """Do it; whether the manager survived. One that died is started again."""
        with suppress(Died):
            await deed()
        await self.world.settle()
        if not self.mortal.dead:
            return True
        await self.world.die()
        self.mortal.dead = False
        await self.statements_hold()
        await self.world.start()
        return False

    async def statements_hold(self) -> None:
        """What the store says where the manager died: stored is what is there, and finished is what is stored."""
        state = self.world.store.states.get((WORKFLOW, accepted().queue_id))
        if state is None:
            return
        workflow = decode_workflow(state.body)
        there = self.world.store.documents.get(workflow.collection, {})
        known = await CoverageStore(self.world.store).of(workflow.series)
        stored = [segment for segment in known if segment.verdict is Verdict.STORED]
        for segment in stored:
            opens = range(segment.start_ms, segment.end_ms, MINUTE_MS)
            assert all(candle_key("BTCUSDT", "1m", time) in there for time in opens)
        if workflow.status is Status.FINISHED:
            assert [segment.span for segment in stored] == [workflow.span]

    async def begin(self) -> None:
        await self.world.start()

        async def create() -> None:
            await self.world.deps.workflows.create(accepted())

        if not await self.alive(create) and await self.world.deps.workflows.get(accepted().queue_id) is None:
            await create()
        self.queue_id = accepted().queue_id

    async def turns_until(self, *statuses: Status) -> None:
        for _ in range(MOST_TURNS):
            if (await self.world.workflow(self.queue_id)).status in statuses:
                return
            self.workers.work()
            await self.alive(lambda: self.world.turns(seconds=0.9))
        raise AssertionError(f"it does not end: {await self.world.workflow(self.queue_id)}")

    async def check(self) -> None:
        workflow = await self.world.workflow(self.queue_id)
        words = Counter((producer, attempt) for producer, attempt, _ in self.world.words(self.queue_id))
        for step in workflow.steps:
            for attempt in step.attempts:
                assert words[step.telemetry_id, attempt.number] == 1, f"{step.target} {attempt.number}: {words}"
                assert attempt.outcome is not None
        assert len(words) == sum(len(step.attempts) for step in workflow.steps)
        assert self.world.launcher.running() == []


async def to_the_end(at: int, *, after: bool) -> int:
    life = Life(at, after=after)
    await life.begin()
    await life.turns_until(Status.FINISHED, Status.ERROR, Status.INTERRUPTED)
    workflow = await life.world.workflow(life.queue_id)
    assert (workflow.status, workflow.repairs) == (Status.FINISHED, 1)
    assert [s.verdict.value for s in (await life.world.manager.coverage(life.queue_id)).segments] == ["stored"]
    assert {step.target: len(step.attempts) for step in workflow.steps} == {LOADER: 3, SINK: 2}
    await life.check()
    await life.world.die()
    return life.mortal.deeds


async def stopped_and_retried(at: int, *, after: bool) -> int:
    life = Life(at, after=after)
    await life.begin()
    for _ in range(4):
        life.workers.work()
        await life.alive(lambda: life.world.turns(seconds=0.9))
    calls: list[tuple[Callable[[], Awaitable[object]], tuple[Status, ...]]] = [
        (lambda: life.world.manager.stop(life.queue_id), (Status.INTERRUPTED,)),
        (lambda: life.world.manager.retry(life.queue_id), (Status.FINISHED, Status.ERROR, Status.INTERRUPTED)),
    ]
    for call, statuses in calls:
        if not await life.alive(call):  # the answer never came: ask again
            with suppress(NotNow):
                await call()
        await life.turns_until(*statuses)
        await life.check()
    assert (await life.world.workflow(life.queue_id)).status is Status.FINISHED
    await life.world.die()
    return life.mortal.deeds


async def test_a_life_without_death_has_so_many_deeds() -> None:
    assert 25 <= await to_the_end(0, after=False) <= MOST_DEEDS
    assert 25 <= await stopped_and_retried(0, after=False) <= MOST_DEEDS


MOST_DEEDS = 56
"""More than a whole life has, so that each of its deeds is the last one once."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, MOST_DEEDS, 2))
async def test_killed_on_the_way_to_the_end(at: int, after: bool) -> None:
    await to_the_end(at + after, after=after)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, MOST_DEEDS, 2))
async def test_killed_on_the_way_through_a_stop_and_a_retry(at: int, after: bool) -> None:
    await stopped_and_retried(at + after, after=after)
