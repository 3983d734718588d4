"""Pauses and bans: what the exchange asks for is kept to by every call, and told."""

from __future__ import annotations

import asyncio

import pytest

from streamforge_utils.adapters.binance import Retries
from streamforge_utils.model.errors import BannedError, RetryableError
from tests.adapters.binance.scripted import NOW, OPENS, SYMBOL, always, bench, error, html, listed, opens


async def test_retry_after_is_obeyed_by_every_call() -> None:
    async with bench(NOW) as made:
        listed(made)
        await made.client.server_time()
        made.server.expect("klines", always(lambda: error(429, -1003, "Too many.", Retry_After="20")))
        await opens(made)
        began = made.clock.monotonic()
        assert began >= 20.5  # the jitter of the bench is half a second
        made.server.expect("klines", always(lambda: error(429, -1003, "Too many.", retry_after="20")))
        await asyncio.gather(opens(made), opens(made))
        assert made.server.paths().count("klines") == 5  # the other call was not refused, it waited or was before
        assert ("rate limit of the exchange", NOW + 20_500) in made.observer.waits


async def test_a_long_retry_after_is_waited_for_in_part_then_told() -> None:
    async with bench(NOW, retries=Retries(longest_wait_s=60)) as made:
        listed(made)
        made.server.expect("klines", always(lambda: error(429, -1003, "Too many.", Retry_After="300")))
        with pytest.raises(RetryableError, match=r"not sent: rate limit.*try again in 24[01] s") as caught:
            await opens(made)
        assert caught.value.retry_after == pytest.approx(240, abs=1)
        assert made.server.paths().count("klines") == 1


async def test_without_retry_after_the_next_minute_is_waited_for() -> None:
    async with bench(NOW) as made:
        listed(made)
        text = "Too much request weight used; current limit is 1200 request weight per 1 MINUTE. Please use WebSocket."
        made.server.expect("klines", always(lambda: error(429, -1003, text)))
        assert await opens(made) == OPENS
        assert made.clock.now_ms() % 60_000 < 2_000
        assert 30 <= made.clock.monotonic() < 32


@pytest.mark.parametrize(
    ("text", "header", "seconds"),
    [
        ("Way too much request weight used; IP banned until {until}. Please use WebSocket.", None, 500),
        ("banned", "720", 720),
        ("IP banned until {until}.", "30", 500),
        ("IP banned until 1516363116074.", None, 120),  # a time long past says nothing
        ("", None, 120),
        ("", "99999999", 3 * 86_400),
    ],
)
async def test_a_ban_stops_every_call_until_it_is_over(text: str, header: str | None, seconds: int) -> None:
    async with bench(NOW) as made:
        listed(made)
        headers = {} if header is None else {"Retry_After": header}
        said = text.format(until=NOW + 500_000)
        made.server.expect("klines", always(lambda: error(418, -1003, said, **headers)))
        await made.client.server_time()
        with pytest.raises(BannedError) as caught:
            await opens(made)
        assert caught.value.until_ms == pytest.approx(NOW + seconds * 1000, abs=100)
        assert caught.value.retry_after == pytest.approx(seconds, abs=0.1)
        asked = len(made.server.asked)
        for wait in (0, seconds / 2):
            made.clock.advance(wait)
            with pytest.raises(BannedError, match="not sent: HTTP 418") as again:
                await opens(made)
            assert again.value.until_ms == caught.value.until_ms
            assert again.value.retry_after == pytest.approx(seconds - wait, abs=0.1)
        with pytest.raises(BannedError):
            await made.client.symbol_info(SYMBOL)
        assert len(made.server.asked) == asked
        made.clock.advance(seconds / 2 + 0.2)
        assert await opens(made) == OPENS


async def test_a_ban_also_stops_what_waits_for_its_weight() -> None:
    async with bench(NOW, weight_limit=3) as made:
        listed(made)
        made.server.expect("klines", always(lambda: error(418, -1003, "IP banned", Retry_After="600")))
        results = await asyncio.gather(*(opens(made) for _ in range(4)), return_exceptions=True)
        assert [type(result) for result in results] == [BannedError] * 4
        assert made.server.paths().count("klines") == 1


async def test_the_firewall_is_left_alone() -> None:
    async with bench(NOW) as made:
        listed(made)
        made.server.expect("klines", html(403))
        with pytest.raises(BannedError, match=r"HTTP 403: the exchange's firewall.*<html>oops") as caught:
            await opens(made)
        assert caught.value.retry_after == 300
        with pytest.raises(BannedError, match="not sent: HTTP 403"):
            await opens(made)
        assert made.server.paths().count("klines") == 1
        made.clock.advance(301)
        assert await opens(made) == OPENS


@pytest.mark.parametrize("off_s", [-90, 90])
async def test_the_end_of_a_ban_and_of_a_block_is_named_by_our_own_clock(off_s: int) -> None:
    banned = always(lambda: error(418, -1003, f"IP banned until {NOW + (off_s + 500) * 1000}."))
    for refusal, seconds in ((banned, 500), (html(403), 300)):
        async with bench(NOW) as made:
            made.server.skew_ms = made.server.date_skew_ms = off_s * 1000
            await made.client.server_time()
            made.server.expect("klines", refusal)
            with pytest.raises(BannedError) as caught:
                await opens(made)
            assert caught.value.until_ms == pytest.approx(NOW + seconds * 1000, abs=1100)
            assert caught.value.retry_after == pytest.approx(seconds, abs=1.1)
