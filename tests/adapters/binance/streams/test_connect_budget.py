"""A worker tries no more connections in five minutes than its share."""

from __future__ import annotations

import asyncio

import pytest

from streamforge_utils.model.errors import RetryableError
from tests.adapters.binance.streams.rig import Rig, rig, until
from tests.doubles.streamserver import stream_server

REASON = "connections to the exchange's streams"
STREAMS = ["btcusdt@trade"]


async def waiting(made: Rig) -> asyncio.Task[object]:
    """A call of `connect` that waits for its turn."""
    reports = len(made.observer.waits)
    call: asyncio.Task[object] = asyncio.create_task(made.stream.connect(STREAMS))
    await until(lambda: len(made.observer.waits) > reports or call.done())
    assert not call.done()
    return call


async def test_the_next_one_waits_until_the_first_is_five_minutes_old() -> None:
    async with stream_server() as server, rig(server.url, connects=2) as made:
        await made.stream.connect(STREAMS)
        made.clock.advance(40)
        await made.stream.connect(STREAMS)
        call = await waiting(made)
        assert (REASON, made.clock.now_ms() + 260_000) == made.observer.waits[-1]
        assert len(server.paths) == 2
        made.clock.advance(260)
        await call
        assert len(server.paths) == 3
        assert [reason for reason, _ in made.observer.waits][-1] is None
        another = await waiting(made)
        made.clock.advance(40)
        await another
        assert made.observer.counts["stream_connects_total{outcome=ok}"] == 4


async def test_what_was_tried_in_vain_counts() -> None:
    async with rig("ws://127.0.0.1:9", connects=3) as made:
        for _ in range(3):
            with pytest.raises(RetryableError):
                await made.stream.connect(STREAMS)
        (await waiting(made)).cancel()


async def test_another_share_counts_at_once_also_for_who_waits() -> None:
    async with stream_server() as server, rig(server.url, connects=1) as made:
        await made.stream.connect(STREAMS)
        call = await waiting(made)
        made.stream.set_connect_limit(2)
        await call
        made.stream.set_connect_limit(1)
        call = await waiting(made)
        made.clock.advance(300)
        await call


async def test_a_share_of_none_holds_calls_back_but_not_for_ever() -> None:
    async with rig("ws://127.0.0.1:9", connects=0) as made:
        call = await waiting(made)
        made.clock.advance(300)
        with pytest.raises(RetryableError, match="share of 0 connections in five minutes allowed none"):
            await call
        with pytest.raises(ValueError, match="negative"):
            made.stream.set_connect_limit(-1)
