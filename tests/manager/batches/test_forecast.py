"""What a load of many symbols would take, before anything is started."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from streamforge.manager.batches import forecast as batch_forecaster
from streamforge.manager.forecaster import EMBEDDED
from streamforge.manager.note_codes import Note
from streamforge_utils.model.errors import InvalidInput, RetryableError
from streamforge_utils.model.kinds.candles import KIND
from streamforge_utils.model.kinds.registry import series_of
from streamforge_utils.ports.exchange import SymbolInfo
from tests.manager.batches.batch_world import TYPE, batch_world, request
from tests.manager.execution.world import exchange_of, stored
from tests.manager.support import DAY_MS, DAY_START, MINUTE_MS, NOW, World


async def a_world(count: int) -> World:
    world = await batch_world(count)
    exchange_of(world).opens = list(range(DAY_START - DAY_MS, NOW, MINUTE_MS))
    return world


async def test_each_symbol_is_told_and_the_sums_and_nothing_is_stored() -> None:
    world = await a_world(3)
    await world.deps.coverage.lay_over(series_of("S001USDT", TYPE), [stored(0, 1440)])
    states = dict(world.store.states)
    told = await world.manager.batch_forecaster.of(request("*USDT"))
    assert (told.size, told.delisted, told.looked_at, told.nothing, told.refused) == (3, 1, 3, 1, 0)
    assert [(one.symbol, one.records_expected, one.requests, one.parts) for one in told.each] == [
        ("S000USDT", 1440, 2, {"rest": 1}),
        ("S001USDT", 0, 0, {}),
        ("S002USDT", 1440, 2, {"rest": 1}),
    ]
    assert [(one.note, one.note_codes) for one in told.each] == [
        ("", []),
        ("all of it is stored already", [Note("all-stored")]),
        ("", []),
    ]
    assert (told.records_expected, told.records_there, told.requests, told.weight) == (2880, 1440, 4, 8)
    assert told.store_bytes == sum(one.store_bytes for one in told.each) > 2880 * EMBEDDED.record_bytes(KIND) // 2
    assert (told.requested, "estimated from" in told.estimate) == ("2024-08-01", False)
    assert (world.store.states, world.launcher.started) == (states, [])


async def test_of_very_many_some_are_looked_at_and_the_sums_are_scaled() -> None:
    world = await a_world(90)
    with patch.object(batch_forecaster, "MOST_ASKED", 30), patch.object(batch_forecaster, "EACH_SHOWN", 20):
        told = await world.manager.batch_forecaster.of(request("*USDT"))
    asked = {question.span for question in exchange_of(world).asked}
    assert (told.size, told.looked_at, len(told.each), told.each_left_out) == (90, 30, 20, 10)
    assert [one.symbol for one in told.each[:3]] == ["S000USDT", "S003USDT", "S006USDT"], "spread over all"
    assert (told.records_expected, told.requests) == (90 * 1440, 180)
    assert told.estimate.startswith("estimated from 30 of 90 symbols; ")
    assert [one.code for one in told.estimate_codes] == ["some-symbols", "limited-by-store"]
    assert told.estimate_codes[0].values == {"looked_at": 30, "size": 90}
    assert len(exchange_of(world).asked) <= 30 * len(asked) * 2


async def test_since_last_and_the_day_of_listing_count_for_each_symbol() -> None:
    world = await a_world(3)
    await world.deps.coverage.lay_over(series_of("S000USDT", TYPE), [stored(0, (NOW - DAY_START) // MINUTE_MS - 60)])
    last = request("*USDT", time_range="", since="last")
    told = await world.manager.batch_forecaster.of(last)
    assert (told.requested, told.refused, told.looked_at) == ("since last", 2, 3)
    assert [(one.symbol, one.refused) for one in told.each][:2] == [("S001USDT", True), ("S002USDT", True)]
    assert "give a start with `from`" in told.each[0].note
    assert told.each[0].note_codes == [Note("refused", {"detail": told.each[0].note})]
    assert told.each[2].records_expected == 60
    with pytest.raises(InvalidInput, match="listed_at"):
        await world.manager.batch_forecaster.of(request("*USDT", listed_at="yesterday"))
    exchange_of(world).interval = exchange_of(world).interval.D1
    exchange_of(world).opens = [DAY_START]
    told = await world.manager.batch_forecaster.of(request("*USDT", type="api_candles_1d", listed_at="2024-07-01"))
    assert {one.note for one in told.each} == {"it was not listed on 2024-07-01"}
    assert told.each[0].note_codes == [Note("not-listed", {"day": "2024-07-01"})]
    told = await world.manager.batch_forecaster.of(request("*USDT", type="api_candles_1d", time_range="2024-07-01"))
    assert {one.note for one in told.each} == {"there is nothing to load in the range"}


async def test_what_is_up_to_date_says_so_by_code() -> None:
    world = await a_world(1)
    await world.deps.coverage.lay_over(series_of("S000USDT", TYPE), [stored(0, (NOW - DAY_START) // MINUTE_MS)])
    (one,) = (await world.manager.batch_forecaster.of(request("*USDT", time_range="", since="last"))).each
    assert one.note_codes == [Note("up-to-date", {"until_ms": NOW})]


async def test_an_exchange_that_stops_to_answer_cuts_it_short_and_says_so() -> None:
    world = await a_world(12)
    exchange, answered = exchange_of(world), list[str]()
    info = exchange.symbol_info

    async def failing(symbol: str) -> SymbolInfo:
        answered.append(symbol)
        if len(answered) > 16:  # each symbol is asked twice
            raise RetryableError("no route")
        return await info(symbol)

    with patch.object(exchange, "symbol_info", failing):
        told = await world.manager.batch_forecaster.of(request("*USDT"))
    assert told.cut_short == "no route"
    assert 0 < told.looked_at < 12
    assert told.records_expected == 12 * 1440, "scaled up from those that were"
    exchange.failing = RetryableError("no route")
    with pytest.raises(RetryableError, match="no route"):
        await world.manager.batch_forecaster.of(request("*USDT"))
