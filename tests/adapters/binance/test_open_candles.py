"""A candle that is still open is never given out, whichever clock is wrong."""

from __future__ import annotations

import pytest

from streamforge_utils.adapters.binance.exchange_clock import ClockEstimate, parse_date
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.timeranges import TimeRange
from tests.adapters.binance.scripted import SYMBOL, Bench, bench, rows
from tests.doubles.candles import candles_of

MINUTE = 60_000
OPEN = 1_722_513_600_000  # 2024-08-01T12:00Z, when the open candle began
NOW = OPEN + 30_000
SPAN = TimeRange(OPEN - 5 * MINUTE, OPEN + 5 * MINUTE)
CLOSED = [OPEN - k * MINUTE for k in (5, 4, 3, 2, 1)]


async def opens(made: Bench, span: TimeRange = SPAN) -> list[int]:
    made.server.series.setdefault((SYMBOL, "1m"), rows(OPEN - 5 * MINUTE, 6))
    return [c.open_time for c in await candles_of(made.client, SYMBOL, Interval.M1, span)]


async def test_the_open_candle_is_dropped_and_counted() -> None:
    async with bench(NOW) as made:
        assert await opens(made) == CLOSED
        assert made.observer.counts["exchange_rows_dropped_total{reason=open}"] == 1


@pytest.mark.parametrize("wrong_ms", [-86_400_000, -40_000, 40_000, 3_600_000, 86_400_000 * 365])
async def test_a_wrong_local_clock_changes_nothing(wrong_ms: int) -> None:
    async with bench(NOW, local_ms=NOW + wrong_ms) as made:
        assert await opens(made) == CLOSED
        assert abs(await made.client.server_time() - NOW) < 1000
        assert made.observer.gauges["exchange_clock_difference_seconds"] == pytest.approx(-wrong_ms / 1000, abs=1)


@pytest.mark.parametrize("skew_ms", [40_000, 3_600_000])
async def test_a_time_endpoint_ahead_changes_nothing(skew_ms: int) -> None:
    async with bench(NOW) as made:
        made.server.skew_ms = skew_ms
        assert await opens(made) == CLOSED
        assert abs(await made.client.server_time() - NOW) <= 1000
        assert made.observer.counts["exchange_clock_disagreements_total"] >= 1


@pytest.mark.parametrize("end_ms", [OPEN + 1, OPEN + MINUTE, OPEN + 5 * MINUTE])
async def test_an_exchange_whose_every_clock_is_ahead_changes_nothing(end_ms: int) -> None:
    async with bench(NOW) as made:
        made.server.skew_ms = made.server.date_skew_ms = MINUTE
        assert await opens(made, TimeRange(OPEN - 5 * MINUTE, end_ms)) == CLOSED
        assert made.observer.counts["exchange_rows_dropped_total{reason=doubtful}"] == 1


async def test_a_later_row_proves_that_a_candle_is_closed_when_the_local_clock_is_behind() -> None:
    async with bench(NOW, local_ms=NOW - 3_600_000) as made:
        made.server.series[SYMBOL, "1m"] = rows(OPEN - 5 * MINUTE, 6)
        assert await opens(made, TimeRange(OPEN - 5 * MINUTE, OPEN)) == CLOSED


@pytest.mark.parametrize(("skew_ms", "date_skew_ms", "held_back"), [(-2 * MINUTE, 0, 2), (0, None, 0)])
async def test_a_time_endpoint_behind_or_without_a_date_is_believed(
    skew_ms: int, date_skew_ms: int | None, held_back: int
) -> None:
    async with bench(NOW) as made:
        made.server.skew_ms, made.server.date_skew_ms = skew_ms, date_skew_ms
        assert await opens(made) == CLOSED[: len(CLOSED) - held_back]


async def test_the_version_is_when_the_exchange_was_asked() -> None:
    async with bench(NOW, local_ms=NOW - 777_000) as made:
        made.server.series[SYMBOL, "1m"] = rows(OPEN - 5 * MINUTE, 6)
        found = await candles_of(made.client, SYMBOL, Interval.M1, SPAN)
        assert {c.version for c in found} == {NOW}


async def test_the_clock_is_measured_again_after_some_minutes() -> None:
    async with bench(NOW) as made:
        await opens(made)
        await opens(made)
        assert made.server.paths() == ["time", "klines", "klines"]
        made.clock.advance(300)
        await opens(made)
        assert made.server.paths() == ["time", "klines", "klines", "time", "klines"]


def test_the_estimate_is_the_midpoint_and_the_observation_is_its_earliest() -> None:
    clock = ClockEstimate()
    assert clock.now_ms(5.0) is None
    assert clock.observed_ms(5.0, 6.0, None) == (0, False)
    assert not clock.measure(1_000_000, sent=10.0, received=12.0, date=None)
    assert clock.now_ms(12.0) == 1_001_000
    assert clock.now_ms(13.5) == 1_002_500
    assert clock.observed_ms(13.5, 14.0, None) == (1_001_500, False)


def test_dates_are_read_or_left() -> None:
    assert parse_date("Wed, 24 Mar 2021 13:38:44 GMT") == 1_616_593_124_000
    for text in (None, "", "yesterday", "Wed, 99 Foo 2021"):
        assert parse_date(text) is None
