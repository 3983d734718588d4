"""A workflow without an end: it runs beside all others until it is stopped, and is then proven through that moment."""

from __future__ import annotations

import pytest

from streamforge.manager.engine.document import Status, StepStatus, Workflow
from streamforge.manager.engine.lifecycle.actions import Prove
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.decision import decide
from streamforge.manager.engine.lifecycle.facts import _unanswered
from streamforge.manager.engine.lifecycle.findings import Unanswered
from streamforge.manager.engine.lifecycle.job_spec import job_of
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.policy import Policy
from streamforge.manager.workflows.live.model import END_OF_TIME_MS
from streamforge.manager.workflows.series.model import SeriesProof, claimed_span, loaded_series, plan_of
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.bus import Message
from tests.doubles.manualclock import ManualClock
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.execution.world import create, launched, retain
from tests.manager.support import (
    DAY_MS,
    DAY_START,
    HOUR_MS,
    LOADER,
    MINUTE_MS,
    NOW,
    POLICY,
    SINK,
    World,
    accepted,
    attempt,
    changed,
    decide_running,
    planned,
    replace,
    step,
    with_attempt,
)

HOUR = TimeRange(DAY_START, DAY_START + HOUR_MS)


def endless(workflow: Workflow) -> Workflow:
    """The workflow as one that was asked for from the first hour of its day on."""
    plan = plan_of(workflow)
    plan = None if plan is None else replace(plan, parts=(), until_ms=HOUR.end_ms)
    return changed(workflow, endless=True, span=HOUR, plan=plan)


def stopped(*verdicts: Verdict | None, proven: bool = True) -> Workflow:
    """A workflow without an end whose workers have obeyed a stop."""
    workflow = replace(endless(decide_running()), stop_asked_ms=NOW, status=Status.STOPPING, surveyed=proven)
    for target in (LOADER, SINK):
        workflow = with_attempt(
            workflow, target, stop_reason="stop", ended_ms=NOW, terminal_event="interrupted", exit_code=0
        )
    segments = tuple(
        Segment(start_ms=DAY_START + n * MINUTE_MS, end_ms=DAY_START + (n + 1) * MINUTE_MS, verdict=verdict)
        for n, verdict in enumerate(verdicts)
        if verdict is not None
    )
    proof = SeriesProof(round=1, checked_ms=NOW, expected=1, stored=1, segments=segments)
    return changed(workflow, proof=proof if proven else None)


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ((), Status.FINISHED),
        ((Verdict.STORED, Verdict.EXCHANGE), Status.FINISHED),
        ((Verdict.STORED, Verdict.OURS), Status.INTERRUPTED),
        ((Verdict.UNKNOWN,), Status.INTERRUPTED),
    ],
)
def test_a_stop_is_its_normal_end_if_nothing_is_missing(verdicts: tuple[Verdict, ...], status: Status) -> None:
    ended, actions = decide(stopped(*verdicts), NOW, POLICY, Conditions())
    assert (ended.status, actions, ended.ended_ms) == (status, [], NOW)
    finished = status is Status.FINISHED
    assert {one.status for one in ended.steps} == {StepStatus.FINISHED if finished else StepStatus.INTERRUPTED}


def test_a_stopped_one_is_proven_with_questions_to_the_exchange() -> None:
    workflow = stopped(proven=False)
    assert decide(workflow, NOW, POLICY, Conditions())[1] == [Prove(ask=True)]
    banned, actions = decide(workflow, NOW, POLICY, Conditions(banned_until_ms=NOW + 1))
    assert actions == []
    assert "ban" in banned.waiting_for


def test_one_that_the_exchange_does_not_answer_for_ends_unproven() -> None:
    silent = Unanswered(reason="no answer", number=POLICY.max_asking_failures, at_ms=NOW)
    ended, actions = decide(_unanswered(stopped(proven=False), silent, POLICY), NOW, POLICY, Conditions())
    assert (ended.status, ended.failure, actions) == (Status.INTERRUPTED, None, [])


def test_it_runs_on_where_nothing_is_to_be_loaded() -> None:
    workflow, actions = decide(endless(decide_running()), NOW, POLICY, Conditions())
    assert (workflow.status, actions) == (Status.RUNNING, [])
    ended = endless(decide(planned(), NOW, POLICY, Conditions())[0])
    spec = job_of(ended, step(ended, LOADER), attempt(ended, LOADER), weight_per_minute=1, policy=POLICY, common={})
    assert spec.endless


@pytest.fixture
async def world() -> World:
    opens = range(DAY_START - DAY_MS, DAY_START + 20 * DAY_MS, MINUTE_MS)
    exchange = ScriptedExchange(Interval.M1, opens, now_ms=NOW)
    world = World(clock=ManualClock(NOW), policy=Policy(max_running=1), exchange=exchange)
    await world.start()
    return world


async def test_it_takes_no_slot_and_needs_none(world: World) -> None:
    live = await launched(world, endless(planned()))
    other = await create(world, accepted("def456", symbol="ETHUSDT"))
    another = await create(world, endless(accepted("ghi789", symbol="BNBUSDT")))
    await world.turns(2)
    assert (await world.workflow(live.queue_id)).status is Status.RUNNING
    assert (await world.workflow(other)).status is Status.RUNNING
    assert (await world.workflow(another)).status is Status.RUNNING
    await world.die()


async def test_what_it_relies_on_is_not_removed(world: World) -> None:
    live = await launched(world, endless(planned()))
    assert claimed_span(live) == TimeRange(DAY_START, END_OF_TIME_MS)
    with pytest.raises(NotNow):
        world.deps.removal.check(loaded_series(live), TimeRange(NOW, NOW + DAY_MS))
    await world.die()


async def test_its_topic_is_trimmed_below_the_slowest_sink(world: World) -> None:
    live = await launched(world, endless(planned()))
    consumer = await world.bus.consumer(live.topic, group=f"{live.queue_id}-{SINK}")
    world.bus.append(live.topic, *[Message(b"key", b"%d" % n) for n in range(5)])
    await consumer.commit({0: 3})
    await retain(world.manager.upkeep.retention)
    assert world.bus.starts[live.topic] == 3
    await world.die()
