"""The loader of candles: what it asks for, what it writes, how far it says it is."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge.workers.loader_api_candles import DEFINITION
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.messages import EOS_KEY, decode_marker
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.runtime.history.history_loader import BATCH_PAGES, WAITING_PAGES, cut
from tests.doubles.candles import decode_candle
from tests.limits import LIMIT_S
from tests.runtime.rig import TOPIC, Rig, last, until, words

MINUTE = 60_000
DAY = parse_time_range("2024-08-01")


async def written(rig: Rig) -> list[int]:
    """The open times in the topic, in its order; keys are checked on the way."""
    times = []
    for message in await rig.read(TOPIC):
        if message.key != EOS_KEY:
            candle = decode_candle(message.value)
            assert message.key == candle.key.encode()
            times.append(candle.open_time)
    return times


async def test_a_day_of_minutes_is_written_in_order_and_closed(rig: Rig) -> None:
    rig.environment["STREAMFORGE_TYPE"] = "ignored"
    rig.exchange.delays = {DAY.start_ms: 0.05}
    assert await rig.live(DEFINITION) == 0
    assert await written(rig) == list(range(DAY.start_ms, DAY.end_ms, MINUTE))
    word, progress = last(await rig.events())
    assert (word.event, progress.records, progress.share) == ("finished", 1440, 1.0)
    assert progress.position == DAY.end_ms - MINUTE
    marker = decode_marker((await rig.read(TOPIC))[-1].value)
    assert (marker.producer, marker.records, marker.reason) == ("loader-api-candles__abc123", 1440, "finished")


async def test_only_the_given_ranges_are_loaded_and_a_hole_is_no_error(rig: Rig) -> None:
    rig.environment["STREAMFORGE_RANGES"] = "2024-08-01T01:00Z:2024-08-01T01:05Z,2024-08-01T03:00Z:2024-08-01T23:00Z"
    start = DAY.start_ms
    rig.exchange.holes = [TimeRange(start + 182 * MINUTE, start + 1379 * MINUTE)]
    assert await rig.live(DEFINITION) == 0
    assert await written(rig) == [start + n * MINUTE for n in (*range(60, 65), 180, 181, 1379)]
    assert last(await rig.events())[1].share == 1.0


async def test_what_lies_after_the_exchange_s_now_is_not_asked_for(rig: Rig) -> None:
    rig.environment["TIME_RANGE"] = "2024-08-01:2030"
    rig.exchange.now_ms = DAY.start_ms + 90 * MINUTE + 30_000
    assert await rig.live(DEFINITION) == 0
    assert await written(rig) == list(range(DAY.start_ms, DAY.start_ms + 90 * MINUTE, MINUTE))
    assert len(rig.exchange.requests) == 1
    rig.environment["TIME_RANGE"] = "2029:2030"
    assert await rig.live(DEFINITION) == 0
    assert len(rig.exchange.requests) == 1


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_no_more_requests_are_under_way_than_chosen(rig: Rig, concurrency: int) -> None:
    rig.environment |= {"TIME_RANGE": "2024-07-01:2024-07-08", "STREAMFORGE_CONCURRENCY": str(concurrency)}
    rig.exchange.delays = {
        window.start_ms: 0.002 for window in cut(Interval.M1.rule, parse_time_range("2024-07"), 1000)
    }
    assert await rig.live(DEFINITION) == 0
    assert rig.exchange.most_under_way == concurrency
    assert len(await written(rig)) == 7 * 1440


async def test_a_slow_topic_holds_a_bounded_number_of_answers(rig: Rig) -> None:
    rig.environment["TIME_RANGE"] = "2024-07"
    rig.bus.held[TOPIC] = asyncio.Event()
    running = asyncio.create_task(rig.live(DEFINITION))
    most = 4 + WAITING_PAGES
    await until(lambda: len(rig.exchange.requests) > most)
    beats = sum(event.event == "loading" for event in await rig.events())
    await rig.until_event("loading", beats + 2)
    assert len(rig.exchange.requests) <= most + BATCH_PAGES  # the last are those being written
    rig.bus.held.pop(TOPIC).set()
    assert await running == 0


async def test_what_was_answered_before_a_request_that_fails_is_written_without_a_marker(rig: Rig) -> None:
    rig.environment["TIME_RANGE"] = "2024-07"
    start = parse_time_range("2024-07").start_ms
    rig.exchange.failing = RetryableError("klines BTCUSDT: HTTP 503, try again")
    rig.exchange.failing_from_ms = start + 3000 * MINUTE
    assert await rig.live(DEFINITION) == 1
    assert words(await rig.events()) == ["started", "error"]
    assert await written(rig) == [start + n * MINUTE for n in range(3000)]
    assert len(await rig.read(TOPIC)) == 3000
    assert len(rig.exchange.requests) <= 3 + 4  # nobody asks on after a failure
    assert rig.exchange.under_way == 0


async def test_it_stops_in_the_middle_of_a_long_wait(rig: Rig) -> None:
    rig.exchange.gate = asyncio.Event()
    supervisor = rig.supervisor(DEFINITION)
    running = asyncio.create_task(supervisor.run())
    await rig.until_event("started")
    await until(lambda: rig.exchange.under_way > 0)
    await rig.command("stop")
    assert await asyncio.wait_for(running, LIMIT_S) == 0
    assert rig.exchange.under_way == 0
    assert words(await rig.events()) == ["started", "interrupted"]


@pytest.mark.parametrize(
    ("type_name", "span", "count"), [("api_candles_3d", "2024-01:2024-03", 20), ("api_candles_1M", "2020:2024", 48)]
)
async def test_bars_of_three_days_and_months_are_loaded_whole(rig: Rig, type_name: str, span: str, count: int) -> None:
    rig.environment |= {"TYPE": type_name, "TIME_RANGE": span}
    if type_name == "api_candles_3d":
        rig.exchange.phase_ms = parse_time_range("2024-01-02").start_ms
    assert await rig.live(DEFINITION) == 0
    times = await written(rig)
    assert len(times) == count
    assert times[1] == parse_time_range({20: "2024-01-05", 48: "2020-02"}[count]).start_ms


@given(
    interval=st.sampled_from(list(Interval)),
    start=st.integers(0, 1_800_000_000_000),
    bars=st.integers(1, 3500),
    odd=st.integers(1, 100_000),
)
def test_windows_cover_every_open_time_once_and_hold_at_most_1000(
    interval: Interval, start: int, bars: int, odd: int
) -> None:
    step = interval.step_ms or 31 * 86_400_000
    span = TimeRange(start, start + min(bars, 400 if interval is Interval.MO1 else bars) * step + odd)
    phase = start - 12_345
    expected = list(interval.rule.times(span.start_ms, span.end_ms, phase))
    found: list[int] = []
    for window in cut(interval.rule, span, 1000):
        assert window.intersection(span) == window
        opens = list(interval.rule.times(window.start_ms, window.end_ms, phase))
        assert len(opens) <= 1000
        found += opens
    assert found == expected
