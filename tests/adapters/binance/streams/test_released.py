"""What a connection held is free as soon as it has ended, or failed, not only once cycles are collected."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref

import pytest

from streamforge_utils.model.errors import RetryableError
from tests.adapters.binance.streams.rig import EVENT, connected, payloads, rig, to_the_end
from tests.doubles.streamserver import CLOSE, PING, TEXT, Peer, Script
from tests.engines.process import free_ports


async def _closed(peer: Peer) -> None:
    await peer.frame(CLOSE, (1008).to_bytes(2, "big") + b"24 hours")
    await peer.gone()


async def _broken_off(peer: Peer) -> None:
    del peer


async def _malformed(peer: Peer) -> None:
    await peer.raw(b"\xff" * 14)
    await peer.gone()


async def _aborted(peer: Peer) -> None:
    for number in range(9):  # more than may be answered at once: a pong is being waited for
        await peer.frame(PING, b"%d" % number)
    await peer.frame(TEXT, EVENT)
    await peer.gone()


ENDS = {"closed": _closed, "broken off": _broken_off, "malformed": _malformed, "aborted": _aborted}


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_an_ended_connection_is_in_no_cycle(end: Script) -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.frame(TEXT, EVENT)
        await end(peer)

    async with connected(script) as (_, connection):
        if end is _aborted:
            assert await payloads(connection, 2) == [EVENT, EVENT]
        else:
            assert await to_the_end(connection)
        await connection.abort()
        left = weakref.ref(connection)
        del connection
        await asyncio.sleep(0)  # what was awaited last is let go of in the loop's next turn
        assert left() is None


@pytest.mark.usefixtures("uncollected")
async def test_a_failed_opening_is_in_no_cycle() -> None:
    async with rig(f"ws://127.0.0.1:{free_ports(1)[0]}") as made:
        with contextlib.suppress(RetryableError):
            await made.stream.connect(["btcusdt@trade"])
        assert made.observer.counts == {"stream_connects_total{outcome=failed}": 1}
        await asyncio.sleep(0)
        assert [one for one in gc.get_objects() if type(one) is asyncio.Task and one.done()] == []
