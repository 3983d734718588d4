"""A form of workflow that only this test knows, driven by the engine as it is: two dummies are pinged."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from streamforge.manager.engine.document import Failure, FormPart, Proof, Status, Step, Workflow
from streamforge.manager.engine.form import Form, next_proof
from streamforge.manager.engine.lifecycle.findings import Finding, Planned, Proven
from streamforge.manager.engine.registry import registered
from streamforge.manager.engine.services import Services
from streamforge.manager.policy import Policy
from streamforge.manager.presentation import workflow_answer
from streamforge_utils.model import names
from streamforge_utils.model.messages import Event
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.life.worker_definition import Role
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.world import create, finish
from tests.manager.support import NOW, World, said

DUMMIES = ("dummy-one", "dummy-two")


class Ready(msgspec.Struct, frozen=True):
    """There is nothing to be known first."""


class Pings(FormPart, msgspec.Struct, frozen=True, kw_only=True, tag="pings"):
    """Which of the dummies have answered."""

    ready: bool = False
    answered: tuple[str, ...] = ()
    proof: Proof | None = None

    @property
    def is_prepared(self) -> bool:
        return self.ready


class PingForm(Form[Pings, Services]):
    """The loop pings every worker: it is finished once both have answered, and failed if one ends before."""

    part = Pings

    async def prepare(self, manager: Services, workflow: Workflow) -> Finding:
        return Planned(Ready())

    def learn(self, workflow: Workflow, found: msgspec.Struct) -> Workflow:
        return workflow.with_form(proof=found) if isinstance(found, Proof) else workflow.with_form(ready=True)

    def has_work(self, workflow: Workflow) -> bool:
        return True

    def hear(self, workflow: Workflow, event: Event) -> Workflow:
        answered = {*self.part_of(workflow).answered, *([event.target] if event.event == "pong" else [])}
        return workflow.with_form(answered=tuple(sorted(answered)))

    async def check(self, manager: Services, workflow: Workflow, *, ask: bool, stopping: int) -> Finding:
        answered = len(self.part_of(workflow).answered)
        proof = next_proof(workflow, manager.clock.now_ms(), expected=len(workflow.steps), stored=answered)
        return Proven(proof=proof, asked=ask)

    def settle(self, workflow: Workflow, now_ms: int, policy: Policy) -> Workflow:
        if self.is_whole(workflow):
            return workflow.next_epoch(status=Status.FINISHED, ended_ms=now_ms)
        return workflow.next_epoch(failure=Failure(reason="a dummy ended without an answer", next_step="retry it"))


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    with registered(PingForm()):
        yield


def pinging() -> Workflow:
    queue_id = names.queue_id("DUMMIES", "pings", NOW, "abc123")
    return Workflow(
        queue_id=queue_id,
        symbol="DUMMIES",
        type="pings",
        requested="",
        span=TimeRange(NOW, NOW + 1000),
        form=Pings(),
        created_ms=NOW,
        topic=names.data_topic(queue_id),
        collection="none",
        steps=tuple(
            Step(target=one, role=Role.DIAGNOSTIC, type="pings", telemetry_id=names.telemetry_id(one, queue_id))
            for one in DUMMIES
        ),
    )


@pytest.mark.parametrize(("answering", "status"), [(DUMMIES, Status.FINISHED), (DUMMIES[:1], Status.ERROR)])
async def test_both_are_pinged_and_the_workflow_ends_by_what_they_answer(
    answering: tuple[str, ...], status: Status
) -> None:
    world = World(clock=ManualClock(NOW))
    await world.start()
    queue_id = await create(world, pinging())
    await world.turns(3)
    workflow = await world.workflow(queue_id)
    assert sorted(world.launcher.specs[job].target for job in world.launcher.started) == [*DUMMIES]
    assert world.commands("ping") != []
    for target in DUMMIES:
        world.say(said(workflow, target, "started"))
    for target in answering:
        world.say(said(workflow, target, "pong"))
    await world.turns(2)
    await world.die()
    await world.start()  # another manager goes on with what is stored
    assert (await world.workflow(queue_id)).part(Pings).answered == answering
    finish(world, workflow, *DUMMIES)
    await world.turns(6)
    workflow = await world.workflow(queue_id)
    assert workflow.status is status
    assert workflow_answer(workflow).progress.records_stored == len(answering)
    assert set(await world.bus.topics()) == {"queue-control", "queue-events"}
    await world.die()
