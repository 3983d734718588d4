"""The client keeps to its share of request weight and to the address's limit."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.adapters.binance.rate_budget import RateBudget
from streamforge_utils.adapters.binance.waits import Waits
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.instrumentation import NullObserver
from tests.adapters.binance.scripted import NOW, SYMBOL, Bench, bench, listed
from tests.doubles.candles import candles_of
from tests.doubles.clock import FakeClock
from tests.doubles.observer import RecordingObserver
from tests.limits import LIMIT_S

MINUTE = 60_000
SPAN = TimeRange(NOW - 30_000 - 60 * MINUTE, NOW - 30_000)


async def ask(made: Bench, times: int) -> None:
    for _ in range(times):
        await candles_of(made.client, SYMBOL, Interval.M1, SPAN, limit=1)


async def test_the_share_is_spent_at_full_speed_then_the_next_minute_is_waited_for() -> None:
    async with bench(NOW, weight_limit=21) as made:
        listed(made)
        await ask(made, 10)  # 20, and 1 for the time
        assert made.clock.slept == []
        await ask(made, 1)
        assert made.clock.slept == [30.05]
        assert made.observer.waits == [("request weight", NOW + 30_050), (None, None)]
        await ask(made, 9)
        assert len(made.clock.slept) == 1


@given(
    share=st.integers(1, 60),
    weights=st.lists(st.sampled_from([1, 2, 4, 20]), min_size=1, max_size=60),
    start_ms=st.integers(NOW, NOW + MINUTE),
)
def test_no_minute_ever_sees_more_than_the_share(share: int, weights: list[int], start_ms: int) -> None:
    spent: dict[int, int] = {}

    async def run() -> None:
        clock = FakeClock(start_ms)
        observer = NullObserver()
        budget = RateBudget(share, clock.now_ms, Waits(clock, observer), observer, longest_wait_s=3600)

        async def one(weight: int) -> None:
            await budget.take(weight)
            minute = clock.now_ms() // MINUTE
            spent[minute] = spent.get(minute, 0) + weight

        await asyncio.wait_for(asyncio.gather(*map(one, weights)), LIMIT_S)

    asyncio.run(run())
    assert sum(spent.values()) == sum(weights)
    dearest = max(weights)
    assert max(spent.values()) <= max(share, dearest)
    minutes = max(spent) - min(spent) + 1
    assert sum(weights) <= share * minutes + dearest
    assert minutes <= sum(weights) / max(1, share - min(dearest, share) + 1) + dearest


async def test_minutes_are_the_exchange_s() -> None:
    async with bench(NOW, weight_limit=3, local_ms=NOW - 3_600_000 + 25_000) as made:
        listed(made)
        await ask(made, 1)
        made.server.clock = made.clock  # both run on together
        await ask(made, 1)
        assert made.clock.slept == [30.05]


async def test_a_new_share_counts_at_once_for_those_that_wait() -> None:
    async with bench(NOW, weight_limit=3) as made:
        listed(made)
        await ask(made, 1)
        waiting = asyncio.ensure_future(ask(made, 1))
        for _ in range(10_000):
            if made.observer.waits:
                break
            await asyncio.sleep(0)
        before = made.clock.monotonic()
        made.client.set_weight_limit(100)
        await waiting
        await ask(made, 20)
        assert made.clock.monotonic() - before in (0, pytest.approx(30.05))
        assert made.observer.waits[-1] == (None, None)


async def test_a_smaller_share_slows_down() -> None:
    async with bench(NOW, weight_limit=1000) as made:
        listed(made)
        await ask(made, 5)
        made.client.set_weight_limit(4)
        await ask(made, 4)
        assert made.clock.monotonic() == pytest.approx(90.05, abs=0.2)


async def test_a_share_of_nothing_holds_back_and_ends() -> None:
    async with bench(NOW, weight_limit=0) as made:
        with pytest.raises(RetryableError, match=r"\(0 a minute;.*larger share") as caught:
            await made.client.server_time()
        assert made.server.asked == []
        assert caught.value.retry_after is not None
    with pytest.raises(ValueError, match="negative"):
        made.client.set_weight_limit(-1)


async def test_a_request_dearer_than_the_share_is_still_made() -> None:
    async with bench(NOW, weight_limit=5) as made:
        listed(made)
        assert (await made.client.symbol_info(SYMBOL)).base_asset == "BTC"
        await made.client.server_time()
        assert made.clock.monotonic() == pytest.approx(30 + 3 * 60, abs=1)  # 20 of a share of 5


@pytest.mark.parametrize(("share", "ceiling"), [(3000, 4800), (100_000, 80_000)], ids=["usual", "beyond the usual"])
async def test_the_weight_that_others_of_the_address_use_counts(share: int, ceiling: int) -> None:
    """The ceiling is 80 % of the address's limit; a share beyond the usual one shows that the exchange allows more."""
    async with bench(NOW, weight_limit=share) as made:
        listed(made)
        made.server.used_weight = ceiling - 10
        await ask(made, 1)
        assert made.clock.slept == []
        made.server.used_weight = ceiling - 1
        await ask(made, 2)
        assert made.clock.slept == [30.05]
        assert made.observer.gauges["exchange_address_weight"] == ceiling - 1


async def test_the_limit_of_the_exchange_is_read_from_it() -> None:
    async with bench(NOW) as made:
        listed(made)
        made.server.weight_limit = 50
        for _ in range(3):
            await made.client.symbol_info(SYMBOL)  # asked for once in some minutes
        assert made.server.paths() == ["exchangeInfo"]
        await ask(made, 9)  # 20 + 1 + 18 of 40
        assert made.clock.slept == []
        await ask(made, 1)
        assert made.clock.slept == [30.05]
        made.clock.advance(301)
        await made.client.symbol_info(SYMBOL)
        assert made.server.paths().count("exchangeInfo") == 2


async def test_a_symbol_of_a_fresh_list_of_all_is_not_asked_for_by_itself() -> None:
    """Of a batch of 500 each question would weigh 20."""
    async with bench(NOW) as made:
        listed(made)
        assert SYMBOL in {one.symbol for one in await made.client.symbols()}
        assert (await made.client.symbol_info(SYMBOL)).base_asset == "BTC"
        assert made.server.paths() == ["exchangeInfo"]
        made.clock.advance(301)
        await made.client.symbol_info(SYMBOL)
        assert made.server.paths() == ["exchangeInfo", "exchangeInfo"]


class Minute:
    """A budget alone, on a clock that stands at the start of a minute."""

    def __init__(self, share: int = 10, longest_wait_s: float = 600) -> None:
        self.clock = FakeClock(NOW - 30_000)
        self.observer = RecordingObserver()
        waits = Waits(self.clock, self.observer)
        self.budget = RateBudget(share, self.clock.now_ms, waits, self.observer, longest_wait_s=longest_wait_s)


async def test_a_minute_ends_with_its_last_millisecond() -> None:
    minute = Minute()
    await minute.budget.take(10)
    minute.clock.advance(59.999)
    await minute.budget.take(1)
    assert minute.clock.slept == [0.051], "a millisecond, and the margin"
    await minute.budget.take(9)
    minute.clock.advance(59.95)  # the first millisecond of the next
    assert minute.clock.now_ms() % MINUTE == 0
    await minute.budget.take(10)
    assert len(minute.clock.slept) == 1


@pytest.mark.parametrize(
    ("sent_ms", "received_ms", "counted"),
    [(0, MINUTE - 1, True), (-1, 0, False), (-MINUTE, 0, False), (-MINUTE, -1, False)],
)
async def test_what_the_address_used_counts_only_if_it_is_known_in_which_minute(
    sent_ms: int, received_ms: int, counted: bool
) -> None:
    minute = Minute(share=1000)
    start_ms = minute.clock.now_ms()
    if received_ms < 0:
        minute.budget.observe(4800, start_ms + sent_ms, start_ms + received_ms)
        await minute.budget.take(1)
    else:
        await minute.budget.take(1)
        minute.clock.advance(59)
        minute.budget.observe(4800, start_ms + sent_ms, start_ms + received_ms)
        await minute.budget.take(1)
    assert minute.clock.slept == ([1.05] if counted else [])
    assert minute.observer.gauges["exchange_address_weight"] == 4800


async def test_a_clock_that_is_set_back_makes_nothing_unused() -> None:
    minute = Minute()
    await minute.budget.take(10)
    minute.clock._start_ms -= 20  # the estimate is corrected by some milliseconds, into the minute before
    await minute.budget.take(1)
    assert minute.clock.slept == [0.07], "the rest of that minute"


@pytest.mark.parametrize("longest_wait_s", [60.05, 60.04])
async def test_one_call_waits_as_long_as_it_may_and_no_longer(longest_wait_s: float) -> None:
    minute = Minute(longest_wait_s=longest_wait_s)
    await minute.budget.take(10)
    if longest_wait_s == 60.05:
        await minute.budget.take(10)
        assert minute.clock.slept == [60.05]
        return
    with pytest.raises(RetryableError) as caught:
        await minute.budget.take(10)
    assert str(caught.value) == (
        "the request weight of this client (10 a minute; the address has used 10 of 6000) did not allow a request of "
        "weight 10 within 60.04 s: give it a larger share, or run fewer loaders"
    )
    assert (caught.value.retry_after, minute.clock.slept) == (60.05, [])


async def test_the_waits_of_one_call_add_up() -> None:
    minute = Minute(share=0, longest_wait_s=150)
    with pytest.raises(RetryableError):
        await minute.budget.take(1)
    assert minute.clock.slept == [60.05, pytest.approx(60)]


async def test_who_had_no_share_at_first_may_spend_all_of_the_new_one() -> None:
    minute = Minute(share=0)
    now_ms = minute.clock.now_ms()
    minute.budget.observe(0, now_ms, now_ms)
    minute.budget.set_share(10)
    await minute.budget.take(10)
    assert minute.clock.slept == []


@pytest.mark.parametrize(
    ("share", "limit", "weights", "slept"),
    [
        (100, 10, [4, 4], []),  # four fifths of the address's limit, by the client's own count too
        (100, 10, [4, 4, 1], [60.05]),
        (10, 1, [1, 1, 1], [60.05, 60]),  # one request a minute is made however low the limit is
        (10, 0, [1, 1, 1], []),  # a limit of nothing is none
        (10, -1, [1, 1, 1], []),
    ],
)
async def test_the_address_s_limit_is_kept_to(share: int, limit: int, weights: list[int], slept: list[float]) -> None:
    minute = Minute(share=share)
    minute.budget.set_address_limit(limit)
    for weight in weights:
        await minute.budget.take(weight)
    assert minute.clock.slept == pytest.approx(slept)


async def test_a_year_of_minutes_fits_into_one_minute_of_weight() -> None:
    async with bench(NOW, weight_limit=3000) as made:
        made.server.series[SYMBOL, "1m"] = []
        await ask(made, 526)
        assert made.clock.slept == []
