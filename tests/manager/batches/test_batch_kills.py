"""A manager that is killed at any write while a batch goes on: each workflow is made once, and none is forgotten."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from streamforge.manager.batches.model import BatchStatus
from streamforge.manager.engine.document import Status
from streamforge.manager.policy import Policy
from streamforge.manager.use_cases import StartRequest
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.model.errors import ConflictError, RetryableError
from tests.manager.batches.batch_world import (
    DAY,
    EXPECTED,
    TYPE,
    all_workflows,
    batch_world,
    begun,
    end,
    live,
    look,
    shown,
    symbols,
)
from tests.manager.execution.world import stored
from tests.manager.retention.removal_rig import Killed, kill_at
from tests.manager.support import World

COUNT = 7


def revive(world: World) -> None:
    for name in ("put", "delete", "drop"):
        if name in vars(world.store):
            delattr(world.store, name)


@pytest.mark.parametrize("seed", range(25))
async def test_a_batch_survives_kills_at_any_write(seed: int) -> None:
    draws, last = random.Random(seed), seed % 2
    asked = {"time_range": "", "since": "last", "default_start": DAY} if last else {}
    world = await batch_world(COUNT, Policy(batch_live=3))
    other = (await world.manager.start(StartRequest(symbol=symbols(COUNT)[2], type=TYPE, time_range=DAY))).workflow
    kills, batch_id = 0, ""
    failed_once: set[str] = set()
    for _ in range(300):
        for one in live(world) if last else ():  # of what is made, `since last` begins a day later from now on
            await world.deps.coverage.lay_over(loaded_series(one), [stored(0, 1440)])
        if kills < 12 and draws.random() < 0.6:
            kill_at(world, draws.randrange(1, 9))
        try:
            # Who got no answer asks again with the same key.
            batch_id = batch_id or await begun(world, "*USDT", key="k", **asked)
            found = await shown(world, batch_id)
            if found.batch.ended and found.batch.status is not BatchStatus.FINISHED:
                await world.manager.batches.retry(batch_id)
            elif found.batch.ended:
                break
            await look(world)
            for one in live(world):
                if draws.random() < 0.5:
                    fails = one.symbol not in failed_once and draws.random() < 0.3
                    failed_once |= {one.symbol} if fails else set()
                    await end(world, [one], Status.ERROR if fails else Status.FINISHED)
        except Killed:
            kills += 1
        except (ConflictError, RetryableError):
            pass  # an answer was lost: the next look reads what is stored
        revive(world)
        if kills and draws.random() < 0.5:
            await world.die()
            await world.start()
    else:
        raise AssertionError("it does not end")
    workflows = await all_workflows(world)
    per_symbol = Counter(one.symbol for one in workflows)
    extra = {symbol for symbol, many in per_symbol.items() if many > 1}
    assert extra <= {other.symbol}, "the joined one alone may have ended before the batch took it in"
    assert set(per_symbol) == set(symbols(COUNT))
    assert all(one.status is Status.FINISHED for one in workflows if one.queue_id != other.queue_id)
    assert found.batch.totals.statuses == {"finished": COUNT}
    assert found.batch.totals.stored == COUNT * EXPECTED
    assert [kind for kind, _ in world.store.states].count("batch") == 1
    assert kills


@pytest.mark.parametrize("ended", [False, True])
async def test_a_stop_reaches_workflows_that_a_killed_manager_made_and_did_not_note(ended: bool) -> None:
    world = await batch_world(3)
    batch_id = await begun(world, "*USDT")
    kill_at(world, 4)  # each is two writes: its code, and itself
    with pytest.raises(Killed):
        await look(world)
    revive(world)
    await world.die()
    await world.start()
    made = sorted(live(world), key=lambda one: one.symbol)
    assert [one.symbol for one in made] == ["S000USDT", "S001USDT"]
    if ended:
        await end(world, made)
    await world.manager.batches.stop(batch_id)
    await look(world)
    assert [one.stop_asked_ms is not None for one in live(world)] == [True] * (0 if ended else 2)
    await end(world, live(world), Status.INTERRUPTED, stored=7)
    await look(world)
    found = await shown(world, batch_id)
    status = "finished" if ended else "interrupted"
    assert [one.status.value for one in found.members] == [status, status, "interrupted"]
    assert [one.queue_id for one in found.members] == [made[0].queue_id, made[1].queue_id, ""]
    assert found.batch.status is BatchStatus.INTERRUPTED
