"""A symbol that is not traded while it is recorded live: what the exchange does not have of that time is `closed`."""

from __future__ import annotations

import pytest

from streamforge.manager.workflows.live.comparison import Comparison
from streamforge.manager.workflows.live.model import Ledger
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.model.kinds.candles import Interval
from tests.doubles import ticks
from tests.doubles.manualclock import ManualClock
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.execution.world import hold
from tests.manager.support import DAY_START, HOUR_MS, MINUTE_MS, replace
from tests.manager.workflows.live.live_rig import MARKET, STREAM, Rig, a_rig

pytestmark = pytest.mark.usefixtures("ticks")


def exchange_of(rig: Rig) -> ticks.TickExchange:
    assert isinstance(rig.world.exchange, ticks.TickExchange)
    return rig.world.exchange


async def after(rig: Rig, seconds: float, status: str) -> Ledger:
    """What is known so much later, at an exchange that gives the symbol that status."""
    rig.wait(seconds)
    exchange_of(rig).now_ms, exchange_of(rig).status = rig.world.clock.now_ms(), status
    return await rig.step(quiet=True)


@pytest.mark.parametrize("status", ["HALT", "BREAK"])
async def test_the_time_of_a_halt_is_closed_and_what_comes_after_it_is_joined_by_id(status: str) -> None:
    rig = await a_rig()
    rig.store(*MARKET)
    ledger = await after(rig, 90, status)
    halted_ms = exchange_of(rig).now_ms - 1000 - STREAM
    assert await rig.known() == [(0, 9501, "stored", 1, 8), (9501, halted_ms, "closed", None, None)]
    assert (ledger.proven_ms, ledger.proven_id, ledger.untraded) == (STREAM + halted_ms, 8, status)
    ledger = await after(rig, 90, status)
    halted_ms += 90_000
    assert (await rig.known())[1:] == [(9501, halted_ms, "closed", None, None)]
    ledger = await after(rig, 90, "TRADING")  # and nothing has happened yet
    quiet_ms = halted_ms + 90_000
    assert (await rig.known())[2:] == [(halted_ms, quiet_ms, "exchange", None, None)]
    assert (ledger.proven_ms, ledger.proven_id, ledger.untraded) == (STREAM + quiet_ms, 8, "")
    traded = [(number, STREAM + quiet_ms + 1000 * (number - 8)) for number in (9, 10, 11)]
    exchange_of(rig).ticks += traded
    ticks.hold(rig.world.store, traded, rig.workflow.collection)
    ledger = await after(rig, 5, "TRADING")
    assert [one[2:] for one in await rig.known()] == [
        ("stored", 1, 8),
        ("closed", None, None),
        ("exchange", None, None),
        ("stored", 9, 10),
    ]
    assert (ledger.proven_id, ledger.open_holes) == (10, 0)


@pytest.mark.parametrize("known", [8, 7])
async def test_a_halt_of_which_the_status_tells_only_later_is_closed_from_the_last_record_on(known: int) -> None:
    """known: the last record that is in the coverage before nothing comes any more."""
    rig = await a_rig()
    rig.store(*MARKET)
    if known == 7:
        await rig.step()
    else:
        await after(rig, 90, "TRADING")
    assert [one[2:] for one in await rig.known()] == [("stored", 1, known)]
    await after(rig, 90, "HALT")
    assert await rig.known() == [
        (0, 9501, "stored", 1, 8),
        (9501, exchange_of(rig).now_ms - 1000 - STREAM, "closed", None, None),
    ]
    assert [one.records for one in await rig.world.deps.coverage.of(loaded_series(rig.workflow))] == [8, 0]


async def test_a_record_that_lacks_behind_a_halt_is_a_hole() -> None:
    rig = await a_rig()
    rig.store(*MARKET)
    await after(rig, 90, "HALT")
    traded = [(number, exchange_of(rig).now_ms + 1000 * number) for number in (9, 10, 11)]
    exchange_of(rig).ticks += traded
    ticks.hold(rig.world.store, traded[1:], rig.workflow.collection)
    ledger = await after(rig, 90, "TRADING")
    assert [(one.verdict, one.first_id, one.last_id) for one in ledger.holes] == [("unknown", 9, 9)]


async def test_that_it_is_traded_again_is_asked_though_records_come() -> None:
    rig = await a_rig()
    rig.store(*MARKET)
    assert (await after(rig, 90, "HALT")).untraded == "HALT"
    traded = [(number, exchange_of(rig).now_ms + 1000 * (number + 80)) for number in (9, 10)]
    ticks.hold(rig.world.store, traded, rig.workflow.collection)
    exchange_of(rig).ticks += traded
    asked = len(exchange_of(rig).asked)
    assert (await after(rig, 90, "TRADING")).untraded == ""
    assert len(exchange_of(rig).asked) == asked


@pytest.mark.parametrize(("status", "verdict"), [("TRADING", "exchange"), ("HALT", "closed"), ("BREAK", "closed")])
async def test_bars_that_the_exchange_does_not_have_are_closed_while_it_does_not_trade(
    status: str, verdict: str
) -> None:
    now_ms = DAY_START + HOUR_MS + 5 * MINUTE_MS
    has = [DAY_START + n * MINUTE_MS for n in range(60)]
    rig = await a_rig(Ledger(from_ms=DAY_START, stream_ms=DAY_START), type="api_candles_1m", clock=ManualClock(now_ms))
    exchange = ScriptedExchange(Interval.M1, has, now_ms=now_ms, status=status)
    rig.world.deps = replace(rig.world.deps, exchange=exchange)
    hold(rig.world.store, *has)
    exchange.status = "TRADING"  # as it was told a while ago
    await rig.step(quiet=True)
    assert [one[2] for one in await rig.known()] == ["stored", "exchange"]
    exchange.status = status
    exchange.now_ms = now_ms = now_ms + 5 * MINUTE_MS
    rig.wait(300)
    ledger = await rig.step(quiet=True)
    assert [one[2] for one in await rig.known()] == ["stored", verdict]
    assert (ledger.proven_ms, ledger.open_holes) == (now_ms, 0)
    found = await Comparison(rig.world.deps, rig.workflow, rig.ledger, close=True).closed()
    assert [(one.verdict, one.records) for one in found[1]] == [("stored", 60), (verdict, 0)]
