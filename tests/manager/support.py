"""What the manager's tests share: a workflow, what its workers say, and a manager in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Attempt, Status, Step, StepStatus, Workflow
from streamforge.manager.engine.execution.reconciler import Reconciler
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.decision import decide
from streamforge.manager.engine.lifecycle.rounds import next_round
from streamforge.manager.policy import Policy
from streamforge.manager.use_cases import StartRequest
from streamforge.manager.workflow_service import WorkflowService
from streamforge.manager.workflows.analyses.graph_input import GraphInput
from streamforge.manager.workflows.analyses.model import Analysis, Made
from streamforge.manager.workflows.history.model import History
from streamforge.manager.workflows.live.model import Ledger, Live, ledger_of
from streamforge.manager.workflows.series.model import Part, Plan, SeriesProof, loaded_series, plan_of, proof_of
from streamforge.manager.workflows.series.requests import check, workflow_of
from streamforge.manager.workflows.topics.model import TopicInput, Topics
from streamforge_utils.model import names
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.candles import Interval, encode_candle
from streamforge_utils.model.messages import TERMINAL_EVENTS, Event, Progress, encode_event
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.ports.archive import Archive
from streamforge_utils.ports.bus import Message, TopicSpec
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.ports.exchange import Exchange, Identity
from streamforge_utils.ports.launcher import Job, JobState
from streamforge_utils.ports.store import Document
from tests.doubles.candles import candle, stored_document
from tests.doubles.manualclock import ManualClock
from tests.doubles.memorybus import MemoryBus
from tests.doubles.memorystore import MemoryStore
from tests.doubles.observer import RecordingObserver
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.doubles.scriptedlauncher import ScriptedLauncher

replace = msgspec.structs.replace
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
DAY_START = 1_722_470_400_000  # 2024-08-01
NOW = DAY_START + 10 * DAY_MS
LOADER, SINK = "loader-api-candles", "arango-candles"
DAY = "2024-08-01:2024-08-02"
POLICY = Policy()


def accepted(code: str = "abc123", *, created_ms: int = NOW, **fields: Any) -> Workflow:
    """A workflow just accepted: BTCUSDT, 1m, one day."""
    request = {"symbol": "BTCUSDT", "type": "api_candles_1m", "time_range": "2024-08-01", **fields}
    return workflow_of(check(StartRequest(**request), NOW), code=code, now_ms=created_ms, exchange_now_ms=NOW)


def rest(*ranges: str | TimeRange) -> tuple[Part, ...]:
    """Parts of a plan that are loaded over REST."""
    return tuple(Part(span=parse_time_range(one) if isinstance(one, str) else one) for one in ranges)


def rest_alone(*ranges: str, again: bool = False) -> tuple[Part, ...]:
    """The same as a plan has them where no archive is asked."""
    before, codes = ("it was asked for again: ", ["asked-again"]) if again else ("", [])
    why, codes = f"{before}by requests alone: no archive is asked", [*codes, "requests-alone"]
    return tuple(replace(part, reason=why, codes=tuple(codes)) for part in rest(*ranges))


def planned(*load: str, code: str = "abc123") -> Workflow:
    """A workflow whose plan is made; without `load`, of the whole day."""
    ranges = load or (DAY,)
    plan = Plan(exchange_now_ms=NOW, parts=rest(*ranges), expected=1440)
    return next_round(changed(accepted(code), status=Status.RUNNING, plan=plan), plan.ranges)


def decide_running() -> Workflow:
    """Both steps are launched and have started."""
    workflow = decide(planned(), NOW, POLICY, Conditions())[0]
    for target in (LOADER, SINK):
        workflow = with_attempt(
            workflow,
            target,
            observed=True,
            started_ms=NOW,
            seen_ms=NOW,
            progressed_ms=NOW,
            progress=Progress(records=3),
        )
    return workflow


def step(workflow: Workflow, target: str) -> Step:
    found = workflow.step(target)
    assert found is not None
    return found


def attempt(workflow: Workflow, target: str) -> Attempt:
    found = step(workflow, target).attempt
    assert found is not None
    return found


def changed(workflow: Workflow, **fields: Any) -> Workflow:
    """The workflow with other values of these fields, of its own or of its form's part.

    With a ledger, or without an end, a workflow that loads a series is a live one.
    """
    part: Any = workflow.form
    own = {name: value for name, value in fields.items() if name in Workflow.__struct_fields__}
    if isinstance(part, History) and (fields.get("ledger") is not None or fields.get("endless")):
        part = Live(plan=part.plan, proof=part.proof)
    of_form = {name: value for name, value in fields.items() if name not in own}
    return replace(workflow, **{"form": replace(part, **of_form), **own})


def the_plan(workflow: Workflow) -> Plan:
    """The plan of its series, which it has."""
    plan = plan_of(workflow)
    assert plan is not None
    return plan


def the_proof(workflow: Workflow) -> SeriesProof:
    """The proof of its series, which it has."""
    proof = proof_of(workflow)
    assert proof is not None
    return proof


def the_ledger(workflow: Workflow) -> Ledger:
    """The ledger of a live workflow that is planned."""
    ledger = ledger_of(workflow)
    assert ledger is not None
    return ledger


def the_topic(workflow: Workflow) -> TopicInput:
    """The topic of a workflow that stores one."""
    return workflow.part(Topics).input


def the_analysis(workflow: Workflow) -> Made:
    """What the analyst of a workflow makes."""
    return workflow.part(Analysis).made


def the_graph(workflow: Workflow) -> GraphInput:
    """The graph that a workflow makes."""
    made = the_analysis(workflow)
    assert isinstance(made, GraphInput)
    return made


def with_attempt(workflow: Workflow, target: str, **fields: Any) -> Workflow:
    """The workflow with the latest attempt of `target` changed."""
    of = step(workflow, target)
    changed: Attempt = replace(attempt(workflow, target), **fields)
    return workflow.with_step(replace(of, attempts=(*of.attempts[:-1], changed)))


def said(
    workflow: Workflow,
    target: str,
    word: str,
    *,
    number: int | None = None,
    error: str | None = None,
    extra: dict[str, Any] | None = None,
    **progress: Any,
) -> Event:
    """An event of the worker of `target`."""
    return Event(
        event=word,  # type: ignore[arg-type]
        status=None if word == "pong" else word,  # type: ignore[arg-type]
        queue_id=workflow.queue_id,
        producer=step(workflow, target).telemetry_id,
        target=target,
        attempt=attempt(workflow, target).number if number is None else number,
        finished=word in TERMINAL_EVENTS,
        error_message=error,
        extra={**msgspec.to_builtins(Progress(**progress)), **(extra or {})},
    )


def job_named(name: str, **fields: Any) -> Job:
    """A job as the launcher shows it."""
    given = {"state": JobState.RUNNING, "target": "", "queue_id": "", "attempt": 1, **fields}
    return Job(name=name, **given)


class World:
    """A manager on doubles. `look` lets its loop go round once, as `run` would."""

    def __init__(
        self,
        *,
        policy: Policy = POLICY,
        exchange: Exchange | None = None,
        clock: Clock | None = None,
        archive: Archive | None = None,
        folder: Path | None = None,
    ) -> None:
        self.bus, self.store, self.launcher = MemoryBus(), MemoryStore(), ScriptedLauncher()
        self.exchange = exchange or ScriptedExchange(
            Interval.M1, range(DAY_START, DAY_START + 2 * DAY_MS, MINUTE_MS), now_ms=NOW
        )
        self.clock: Clock = clock or SystemClock()
        self.observer = RecordingObserver()
        self.policy = policy
        self.archive, self.folder = archive, folder
        self.identity = Identity()
        self._codes = Random(7)
        self.bus.log = {"queue-control": [], "queue-events": []}

    def _next_code(self) -> str:
        return "".join(self._codes.choices(names.CODE_ALPHABET, k=names.CODE_LENGTH))

    def later(self, seconds: float) -> None:
        """Let the manager's clock and the exchange's go on."""
        assert isinstance(self.clock, ManualClock)
        assert isinstance(self.exchange, ScriptedExchange)
        self.clock.advance(seconds)
        self.exchange.now_ms = self.clock.now_ms()

    async def start(self, new_code: Callable[[], str] | None = None, *, load: bool = True) -> None:
        """A new manager on what there is: its memory is empty."""
        self.deps = Dependencies.on(
            self.bus,
            self.store,
            clock=self.clock,
            observer=self.observer,
            identity=self.identity,
            producer=await self.bus.producer(),
            launcher=self.launcher,
            exchange=self.exchange,
            archive=self.archive,
            folder=self.folder,
            policy=self.policy,
            common={},
            control_topic="queue-control",
            events_topic="queue-events",
        )
        if load:
            await self.deps.workflows.load()
        self.reconciler = Reconciler(self.deps)
        await self.reconciler.bans.load()
        await self.reconciler.executor.connects.load()
        # Pauses depend on the ids: the same in each run.
        self.manager = WorkflowService(self.deps, self.reconciler, new_code or self._next_code)

    async def turns(self, count: int = 1, *, seconds: float = 1.0, hear: bool = True) -> None:
        """Let the loop go round so often, each time after so many seconds (by a `ManualClock`), and its actions end.

        hear: False wakes it before it has heard what is on the topic.
        """
        assert isinstance(self.clock, ManualClock)
        for _ in range(count):
            self.clock.advance(seconds)
            self.launcher.now_ms = self.clock.now_ms()
            if hear:
                await self.reconciler._events.read_all()
            await self.reconciler.turn()
            await self.settle()

    async def settle(self) -> None:
        """Let every action that can go on go on."""
        for _ in range(200):
            await asyncio.sleep(0)

    async def die(self) -> None:
        """The manager's process is gone; its jobs are not."""
        await self.reconciler.close()

    async def workflow(self, queue_id: str) -> Workflow:
        """The workflow as it is stored (or noted)."""
        return await self.manager.get(queue_id)

    def say(self, event: Event) -> None:
        """Let a worker speak."""
        self.bus.append("queue-events", Message(event.queue_id.encode(), encode_event(event)))

    def words(self, queue_id: str) -> list[tuple[str, int, str]]:
        """The last words on the topic: producer, attempt, word."""
        events = [msgspec.json.decode(message.value, type=Event) for message in self.bus.messages("queue-events")]
        return [
            (e.producer, e.attempt, e.event) for e in events if e.queue_id == queue_id and e.event in TERMINAL_EVENTS
        ]

    def commands(self, name: str) -> list[dict[str, Any]]:
        """The commands of that name, oldest first."""
        sent = [msgspec.json.decode(message.value, type=dict) for message in self.bus.messages("queue-control")]
        return [command for command in sent if command["command"] == name]


async def put(world: World, workflow: Workflow, **fields: object) -> str:
    stored = await world.deps.workflows.create(replace(workflow, **fields))
    return stored.workflow.queue_id


async def ended(world: World, status: Status = Status.INTERRUPTED) -> str:
    """A workflow of which one attempt of each step has run."""
    workflow = decide_running()
    for target in (LOADER, SINK):
        of = step(workflow, target)
        last = replace(attempt(workflow, target), ended_ms=NOW, terminal_event="interrupted", outcome="interrupted")
        workflow = workflow.with_step(replace(of, status=StepStatus.INTERRUPTED, attempts=(last,)))
    return await put(world, workflow, status=status, ended_ms=NOW, surveyed=True, stop_asked_ms=NOW)


async def stored_day(world: World, queue_id: str) -> Workflow:
    """The workflow's topics, jobs, history, records and coverage are there."""
    workflow = await world.manager.get(queue_id)
    for topic in (workflow.topic, names.dlq_topic(workflow.topic)):
        await world.bus.create_topic(TopicSpec(name=topic))
    await world.deps.history.append([(queue_id, 1, b"{}")])
    opens = range(DAY_START - 2 * MINUTE_MS, DAY_START + 3 * MINUTE_MS, MINUTE_MS)
    documents = [Document(*stored_document(None, encode_candle(candle(time)))) for time in opens]
    await world.store.upsert(workflow.collection, documents)
    whole = Segment(
        start_ms=DAY_START - 2 * MINUTE_MS,
        end_ms=DAY_START + 3 * MINUTE_MS,
        verdict=Verdict.STORED,
        collection=workflow.collection,
    )
    await world.deps.coverage.lay_over(loaded_series(workflow), [whole])
    return workflow
