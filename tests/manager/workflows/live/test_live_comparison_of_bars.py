"""The ledger of a live workflow of candles: which bars are proven, and which are holes."""

from __future__ import annotations

import pytest

from streamforge.manager.workflows.live.model import Ledger
from streamforge_utils.model.kinds.candles import Interval
from tests.doubles.manualclock import ManualClock
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.execution.world import hold
from tests.manager.support import DAY_START, HOUR_MS, MINUTE_MS, replace
from tests.manager.workflows.live.live_rig import Rig, a_rig


def candles(first: int, *lacking: int, end: int) -> list[int]:
    return [DAY_START + n * MINUTE_MS for n in range(first, end) if n not in lacking]


async def bars(now_ms: int, exchange: ScriptedExchange) -> Rig:
    clock = ManualClock(now_ms)
    rig = await a_rig(Ledger(from_ms=DAY_START, stream_ms=DAY_START), type="api_candles_1m", clock=clock)
    rig.world.exchange = exchange
    rig.world.deps = replace(rig.world.deps, exchange=exchange)
    return rig


async def test_bars_are_proven_once_they_are_stored_which_they_are_when_they_are_over() -> None:
    now_ms = DAY_START + 10 * MINUTE_MS + 500
    rig = await bars(now_ms, ScriptedExchange(Interval.M1, [], now_ms=now_ms))
    hold(rig.world.store, *candles(0, end=9))
    assert (await rig.step()).proven_ms == DAY_START + 9 * MINUTE_MS
    hold(rig.world.store, *candles(9, end=12))  # the exchange's clock is ahead
    assert (await rig.step()).proven_ms == DAY_START + 12 * MINUTE_MS


async def test_a_bar_that_lacks_is_a_hole_once_the_next_is_stored_and_it_is_old() -> None:
    now_ms = DAY_START + 10 * MINUTE_MS + 500
    rig = await bars(now_ms, ScriptedExchange(Interval.M1, [], now_ms=now_ms))
    hold(rig.world.store, *candles(0, 4, 8, end=10))
    ledger = await rig.step()
    assert (ledger.proven_ms, ledger.open_holes) == (DAY_START + 4 * MINUTE_MS, 2)


@pytest.mark.parametrize(("there", "proven"), [([], 65), ([61], 61), ([60], 60)])
async def test_bars_that_the_exchange_does_not_have_are_proven_by_asking_twice(there: list[int], proven: int) -> None:
    now_ms = DAY_START + HOUR_MS + 5 * MINUTE_MS
    has = [DAY_START + n * MINUTE_MS for n in (*range(60), *there)]
    rig = await bars(now_ms, ScriptedExchange(Interval.M1, has, now_ms=now_ms))
    hold(rig.world.store, *candles(0, end=60))
    ledger = await rig.step(quiet=True)
    assert (ledger.proven_ms, ledger.open_holes) == (DAY_START + proven * MINUTE_MS, 0)
