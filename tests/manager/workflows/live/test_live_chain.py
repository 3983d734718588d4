"""Stored records of a live workflow that contradict each other where what was loaded apart meets are no proof."""

from __future__ import annotations

import pytest

from streamforge.manager.workflows.live.model import Ledger
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.timeranges import TimeRange
from tests.doubles import ticks
from tests.manager.execution.world import C
from tests.manager.support import LOADER, replace, with_attempt
from tests.manager.workflows.live.live_rig import STREAM, Rig, a_rig

pytestmark = pytest.mark.usefixtures("ticks", "_chained")
HISTORY = "history"


@pytest.fixture
def _chained(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks.chain(monkeypatch)


async def _with_history() -> Rig:
    """Record 1 is of the history, those behind it are of the stream."""
    rig = await a_rig(Ledger(from_ms=STREAM - 5000, stream_ms=STREAM - 1000, history_ms=STREAM + 500))
    ticks.hold(rig.world.store, [(1, STREAM)], HISTORY)
    there = Segment(start_ms=STREAM - 5000, end_ms=STREAM + 500, verdict=Verdict.STORED, collection=HISTORY)
    there = replace(there, records=1, first_id=1, last_id=1)
    await rig.world.deps.coverage.lay_over(loaded_series(rig.workflow), [there])
    rig.store(2, 3, 4, 5, 6, 7)
    return rig


async def test_where_history_and_stream_contradict_each_other_a_hole_names_that() -> None:
    rig = await _with_history()
    ticks.tear(rig.world.store, HISTORY, 1)
    assert (await rig.step()).proven_id == 1  # young: left to the loader
    assert (rig.ledger.open_holes, rig.ledger.proven_ms) == (0, STREAM + 500)
    rig.wait(60)
    for _ in range(2):  # it is there, and stays a hole all the same
        ledger = await rig.step()
        assert [(one.first_id, one.last_id, one.verdict, one.cause) for one in ledger.holes] == [
            (2, 2, Verdict.OURS, "torn")
        ]
        assert ledger.proven_ms is not None
        assert ledger.proven_ms <= STREAM + 500
    ticks.hold(rig.world.store, [(1, STREAM)], HISTORY)
    ledger = await rig.step()
    assert (ledger.open_holes, ledger.proven_id, ledger.proven_ms) == (0, 6, STREAM + 9000)


async def test_where_attempts_contradict_each_other_both_records_are_wanted_again() -> None:
    rig = await a_rig()
    whole = TimeRange(STREAM + 3000, STREAM + 90_000)
    rig.workflow = with_attempt(rig.workflow, LOADER, started_ms=0, ranges=(str(whole),))
    rig.store(1, 2, 3, 4, 5, 6, 7)
    ticks.tear(rig.world.store, C, 5)
    rig.wait(60)
    ledger = await rig.step()
    assert [(one.first_id, one.last_id, one.cause) for one in ledger.holes] == [(5, 6, "torn")]
    assert [one[2:] for one in await rig.known()] == [("stored", 1, 4), ("ours", 5, 6)]
    rig.store(5)
    ledger = await rig.step()
    assert (ledger.open_holes, ledger.proven_id) == (0, 6)


async def test_silence_proves_nothing_of_a_record_that_contradicts_the_one_before_it() -> None:
    rig = await a_rig()
    exchange = rig.world.exchange
    assert isinstance(exchange, ticks.TickExchange)
    rig.store(1, 2, 3, 4, 5, 6, 7)
    await rig.step()
    rig.store(8)
    await rig.step()
    ticks.tear(rig.world.store, C, 7)
    rig.wait(90)
    exchange.now_ms = rig.world.clock.now_ms()
    assert (await rig.step(quiet=True)).proven_ms == STREAM + 9500
    ticks.hold(rig.world.store, [(7, STREAM + 9000)], C)
    rig.wait(90)
    assert (await rig.step(quiet=True)).proven_id == 8
