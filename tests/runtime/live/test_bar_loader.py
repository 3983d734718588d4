"""A loader of streams of bars: each bar once it is closed, as history has it, and again where it was corrected."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.paging import ByTime
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.live.bar_loader import LATE_MS, load_bars
from tests.runtime.live_rig import BARS, MINUTE_MS, START_MS, TOPIC, BarMarket, play


def act_on(act: Callable[[BarMarket], Awaitable[Any]]) -> Any:
    return play(load_bars, act, BarMarket, series=BARS)


def bar(minute: int) -> int:
    return START_MS + minute * MINUTE_MS


async def began(market: BarMarket, minute: float = 0.5) -> None:
    await market.until(minute)
    await market.begin()
    await market.clock.sleep(1)
    assert len(market.stream.live) == 1


def test_a_bar_is_written_soon_after_the_hint_and_as_history_has_it() -> None:
    async def act(market: BarMarket) -> None:
        await began(market)
        market.hint(bar(0), closed=False)
        await market.until(1.001)
        assert market.minutes == []
        market.hint(bar(0))
        await market.clock.sleep(0.2)
        assert market.minutes == [0]
        assert market.bodies[0]["open_time"] == bar(0)
        assert msgspec.json.decode(market.bus.log[TOPIC][0].value)["number_of_trades"] == 3
        assert market.live.last_time == bar(0)
        assert market.live.late == 0

    act_on(act)


def test_a_hint_that_never_comes_is_made_up_for_by_the_clock_of_the_exchange() -> None:
    async def act(market: BarMarket) -> None:
        market.exchange.ahead_ms = 20_000
        await began(market, 0.5)
        await market.until(1 + (LATE_MS - 20_000 + 1000) / MINUTE_MS)
        assert market.minutes == [0]
        await market.until(5)
        assert market.minutes == [0, 1, 2, 3, 4]
        assert market.live.late == 5

    act_on(act)


def test_a_bar_that_is_open_yet_is_asked_for_again() -> None:
    async def act(market: BarMarket) -> None:
        await began(market)
        market.exchange.lag_ms = 5_000
        await market.until(1.001)
        market.hint(bar(0))
        await market.clock.sleep(3)
        assert market.minutes == []
        await market.clock.sleep(9)
        assert market.minutes == [0]
        assert len(market.exchange.asked) < 15

    act_on(act)


def test_a_hint_of_a_bar_that_is_not_over_writes_nothing() -> None:
    async def act(market: BarMarket) -> None:
        await began(market)
        asked = len(market.exchange.asked)
        market.hint(bar(0))
        market.hint(bar(5))
        await market.until(0.9)
        assert market.minutes == []
        assert len(market.exchange.asked) == asked
        await market.until(1.6)
        assert market.minutes == [0]

    act_on(act)


def test_a_corrected_bar_is_written_again_once() -> None:
    async def act(market: BarMarket) -> None:
        await began(market)
        await market.until(1.2)
        market.set_bar(bar(0), high="99999.00000000", version=7)
        await market.until(4.5)
        assert market.minutes == [0, 0, 1, 2, 3] or market.minutes == [0, 1, 0, 2, 3]
        again = [body for body in market.bodies if body["open_time"] == bar(0)]
        assert [body["high"] for body in again] == [again[0]["high"], 99999.0]
        assert market.live.corrected == 1

    act_on(act)


def test_a_bar_that_is_corrected_late_is_found_by_the_last_look() -> None:
    async def act(market: BarMarket) -> None:
        await began(market)
        await market.until(2.2)
        market.set_bar(bar(0), high="99999.00000000", version=7)  # its first look is over
        await market.until(9.2)
        assert market.minutes == [*range(9)]
        await market.until(14)
        assert market.live.corrected == 1
        assert [body["high"] for body in market.bodies if body["open_time"] == bar(0)][1:] == [99999.0]
        asked = len(market.exchange.asked)
        await market.until(44)
        assert (
            len(market.exchange.asked) - asked <= 4 * 30
        )  # a bar is written, looked at twice, and asked about in silence

    act_on(act)


class Seconds(BarMarket):
    """Bars of a second."""

    step_ms = 1_000
    bars = range(1_500)


def test_late_looks_at_short_bars_are_made_together() -> None:
    async def act(market: BarMarket) -> None:
        await began(market, 0)
        await market.until(20)
        spans = [one.span for one in market.exchange.asked if isinstance(one, ByTime) and not one.newest]
        late = [span for span in spans if span.end_ms - span.start_ms > 2 * MINUTE_MS]
        assert 8 <= len(late) <= 10  # from the eleventh minute on one in each

    play(load_bars, act, Seconds, series=Series("BTCUSDT", "candles", "1s"))


def test_bars_of_an_outage_are_written_by_few_requests_and_in_order() -> None:
    async def act(market: BarMarket) -> None:
        await began(market)
        await market.until(2.5)
        market.exchange.failing = RetryableError("HTTP 503")
        market.stream.connections[0].end()
        await market.until(500)
        asked = len(market.exchange.asked)
        market.exchange.failing = None
        await market.until(501.9)
        assert market.minutes == [*range(501)]
        assert len(market.exchange.asked) - asked <= 8

    act_on(act)


@pytest.mark.parametrize("attempt", ["kill", "stop"])
def test_the_next_attempt_goes_on_behind_the_last_bar_and_checks_the_last_ones_again(attempt: str) -> None:
    async def act(market: BarMarket) -> None:
        await began(market)
        await market.until(3.2)
        await getattr(market, attempt)()
        market.set_bar(bar(2), high="99999.00000000", version=7)
        await began(market, 3.5)
        await market.until(6.5)
        assert [minute for minute in market.minutes if minute != 2] == [0, 1, 3, 4, 5]
        assert market.minutes.count(2) == 2
        assert market.live.corrected == 1

    act_on(act)


def test_given_ranges_begin_the_series() -> None:
    async def act(market: BarMarket) -> None:
        market.given_ranges = (TimeRange(bar(-10) - 5, bar(10**6)),)
        await began(market)
        await market.until(1.2)
        assert market.minutes == [*range(-10, 1)]

    act_on(act)


def test_a_bar_that_the_exchange_does_not_have_is_passed_over_once_there_is_a_later_one() -> None:
    async def act(market: BarMarket) -> None:
        market.exchange.hidden |= {bar(1), bar(2)}
        await began(market)
        await market.until(3.9)
        assert market.minutes == [0]
        await market.until(4.9)
        assert market.minutes == [0, 3]
        assert market.live.skipped == 2

    act_on(act)


def test_a_bar_that_comes_after_a_later_one_is_waited_for() -> None:
    async def act(market: BarMarket) -> None:
        market.exchange.hidden |= {bar(1)}
        await began(market)
        await market.until(3)
        while (asked := market.exchange.asked[-1]).span.end_ms < bar(3):  # type: ignore[union-attr]
            await market.clock.sleep(0.02)
        await market.clock.sleep(0.06)  # the answer has the second bar alone
        assert market.exchange.asked[-1] is asked
        market.exchange.hidden.clear()
        await market.until(3.9)
        assert market.minutes == [0, 1, 2]
        assert market.live.skipped == 0

    act_on(act)


@pytest.mark.parametrize(("trades", "connections"), [(3, 2), (0, 1)])
def test_a_silent_stream_is_dead_if_there_were_trades(trades: int, connections: int) -> None:
    async def act(market: BarMarket) -> None:
        await began(market)
        for number in range(4):
            market.set_bar(bar(number), trades=trades)
        market.hint(bar(0), closed=False)
        await market.until(3.9)
        assert len(market.stream.connections) == connections
        assert market.minutes == [0, 1, 2]

    act_on(act)


class LongBars(BarMarket):
    """Bars of three days: only the exchange knows when they open."""

    step_ms = 3 * 24 * 60 * MINUTE_MS
    bars = range(-10, 1)


def test_bars_of_three_days_are_found_by_where_the_last_one_opens() -> None:
    async def act(market: BarMarket) -> None:
        market.given_ranges = (TimeRange(START_MS - 4 * LongBars.step_ms + 5, START_MS + 10**9),)
        await market.begin()
        await market.clock.sleep(10)
        assert market.written == [START_MS - number * LongBars.step_ms for number in (3, 2, 1)]

    play(load_bars, act, LongBars, series=Series("BTCUSDT", "candles", "3d"))


@settings(max_examples=100, deadline=None)
@given(
    minutes=st.lists(
        st.sampled_from(
            ["hint", "none", "late hint", "double", "cut", "fail", "lag", "kill", "stop", "correct", "stall"]
        ),
        max_size=15,
    ),
    seed=st.integers(0, 2**32),
)
def test_whatever_happens_each_bar_is_written_in_order_and_ends_as_history_has_it(
    minutes: list[str], seed: int
) -> None:
    async def act(market: BarMarket) -> None:
        dice = random.Random(seed)
        market.given_ranges = (TimeRange(bar(0), bar(10**6)),)
        await began(market)
        for number, what in enumerate(minutes):
            await market.until(number + 1 + dice.random() / 10)
            market.exchange.failing, market.exchange.lag_ms, market.bus_stalls = None, 0, False
            if what in ("hint", "double"):
                market.hint(bar(number))
            if what == "double":
                market.hint(bar(number))
            if what == "late hint":
                await market.clock.sleep(30)
                market.hint(bar(number))
            if what == "cut":
                for one in market.stream.live:
                    one.end()
            if what == "fail":
                market.exchange.failing = RetryableError("HTTP 503")
            if what == "lag":
                market.exchange.lag_ms = dice.randint(0, 50_000)
            if what == "stall":
                market.bus_stalls = True
            if what == "correct":
                await market.until(number + 1 + 0.12)
                market.set_bar(bar(number), high=f"{99000 + number}.5", version=9)
            if what in ("kill", "stop"):
                await getattr(market, what)()
                await market.begin()
        market.exchange.failing, market.exchange.lag_ms, market.bus_stalls = None, 0, False
        end = len(minutes) + 4
        await market.until(end + 0.9)
        first = list(dict.fromkeys(market.minutes))
        assert first == [*range(end)]
        last = {body["open_time"]: body for body in market.bodies}
        history = {p: market.kind.document(None, value)[2] for p, (_, value) in market.exchange.records.items()}
        assert [n for n in range(end - 2) if last[bar(n)] != msgspec.json.decode(history[bar(n)])] == []

    act_on(act)
