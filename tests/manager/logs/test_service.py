"""The logs of a workflow's attempts: which are given, and where they go on."""

from __future__ import annotations

import pytest

from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.refusals import NotFound
from streamforge.manager.logs.answers import Logs
from streamforge_utils.model.errors import InvalidInput
from tests.doubles.manualclock import ManualClock
from tests.manager.execution.world import launched
from tests.manager.support import LOADER, NOW, SINK, World, attempt


@pytest.fixture
async def world() -> World:
    world = World(clock=ManualClock(NOW))
    await world.start()
    return world


async def read(world: World, workflow: Workflow, **asked: object) -> Logs:
    return await world.manager.logs.read(await world.workflow(workflow.queue_id), **asked)  # type: ignore[arg-type]


def texts(found: Logs) -> dict[str, str | None]:
    return {one.step: one.text for one in found.logs}


async def test_what_came_later_is_given_as_whole_lines_while_it_runs_and_once_it_is_kept(world: World) -> None:
    workflow = await launched(world)
    job = attempt(workflow, LOADER).job
    world.launcher.logs[job] = "one\ntwo\nhal"
    first = await read(world, workflow)
    assert texts(first) == {LOADER: "one\ntwo\n", SINK: None}
    assert [(one.ended, one.resumed, one.job) for one in first.logs if one.step == LOADER] == [(False, False, job)]
    again = await read(world, workflow, after=first.after)
    assert [(one.text, one.resumed) for one in again.logs if one.step == LOADER] == [("", True)]
    world.launcher.logs[job] = "two\nhalf\nthree\n"
    cut = await read(world, workflow, step=LOADER, after=again.after)
    assert [(one.text, one.resumed) for one in cut.logs] == [("two\nhalf\nthree\n", False)], "both lines were gone"
    world.launcher.logs[job] = "two\nhalf\nthree\nfour"
    world.launcher.end(job, exit_code=1)
    await world.turns()
    world.launcher.logs.clear()
    last = await read(world, workflow, step=LOADER, attempt=1, after=cut.after)
    assert [(one.text, one.resumed, one.ended) for one in last.logs] == [("four", True, True)]
    assert not last.ended, "the workflow goes on"


async def test_secrets_and_what_others_in_its_basket_wrote_are_left_out_while_it_runs(world: World) -> None:
    workflow = await launched(world)
    own = f'{{"queue_id": "{workflow.queue_id}", "password": "hunter22"}}'
    world.launcher.logs[attempt(workflow, LOADER).job] = f'{{"queue_id": "wf-other"}}\n{own}\n'
    assert texts(await read(world, workflow))[LOADER] == own.replace("hunter22", "***") + "\n"


async def test_a_log_that_was_empty_goes_on_from_its_beginning(world: World) -> None:
    workflow = await launched(world)
    job = attempt(workflow, LOADER).job
    world.launcher.logs[job] = ""
    first = await read(world, workflow, step=LOADER)
    world.launcher.logs[job] = "one\n"
    found = await read(world, workflow, step=LOADER, after=first.after)
    assert [(one.text, one.resumed) for one in found.logs] == [("one\n", True)]


async def test_the_newest_attempt_is_given_and_older_ones_by_their_number(world: World) -> None:
    workflow = await launched(world)
    first = attempt(workflow, LOADER).job
    world.launcher.logs[first] = "the first\n"
    world.launcher.end(first, signal=9)
    await world.turns(4, seconds=70)
    second = attempt(await world.workflow(workflow.queue_id), LOADER)
    assert second.number == 2
    world.launcher.logs[second.job] = "the second\n"
    assert texts(await read(world, workflow))[LOADER] == "the second\n"
    old = await read(world, workflow, attempt=1)
    assert texts(old)[LOADER] == "the first\n"
    for asked in ({"attempt": 3}, {"step": SINK, "attempt": 2}, {"step": "nobody"}):
        with pytest.raises(NotFound, match=workflow.queue_id):
            await read(world, workflow, **asked)


@pytest.mark.parametrize("after", ["x", f"{LOADER}:1:2", f"{LOADER}:1:2:0123456789abcdef,x"])
async def test_a_place_that_is_none_is_refused(world: World, after: str) -> None:
    with pytest.raises(InvalidInput, match="begin again without it"):
        await read(world, await launched(world), after=after)
