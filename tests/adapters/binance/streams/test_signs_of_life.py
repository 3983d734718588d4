"""Pings are answered with what they carry, within the exchange's pace; silence ends a connection, slowness does not."""

from __future__ import annotations

import asyncio

import pytest

from streamforge_utils.adapters.binance.streams.binance_connection import AT_ONCE_BYTES, HELD_BYTES
from streamforge_utils.ports.stream import EndCause
from tests.adapters.binance.streams.rig import EVENT, connected, payloads, to_the_end, until
from tests.doubles.streamserver import PING, PONG, TEXT, Peer, framed


async def test_each_ping_is_answered_with_its_payload() -> None:
    answers: list[tuple[int, bytes]] = []

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        for payload in (b"1770123456789", b"", b"\x00\xff" * 62):
            await peer.frame(PING, payload)
            answers.append(await peer.read())
        await peer.frame(TEXT, EVENT)
        await peer.gone()

    async with connected(script) as (_, connection):
        assert await payloads(connection, 1) == [EVENT]
        assert answers == [(PONG, b"1770123456789"), (PONG, b""), (PONG, b"\x00\xff" * 62)]


async def test_of_many_pings_the_last_one_is_answered_once_the_pace_allows() -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.raw(b"".join(framed(PING, b"%d" % number) for number in range(10)) + framed(TEXT, EVENT))
        assert [(await peer.read())[1] for _ in range(3)] == [b"0", b"1", b"2"]  # and the request: four in all
        assert await peer.read() == (PONG, b"9")
        await peer.frame(TEXT, EVENT)
        await peer.gone()

    async with connected(script) as (rig, connection):
        assert await payloads(connection, 1) == [EVENT]
        await rig.clock.sleeping(2)  # the pong, and the watch for silence
        rig.clock.advance(1.2)
        assert await payloads(connection, 1) == [EVENT]


FRAMES = {
    "ping": framed(PING, b"x"),
    "unasked pong": framed(PONG, b""),
    "event": framed(TEXT, EVENT),
    "part of an event": framed(TEXT, EVENT, first=0),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
async def test_any_frame_is_a_sign_of_life_and_without_one_the_connection_ends(frame: bytes) -> None:
    step = asyncio.Semaphore(0)

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await step.acquire()
        await peer.raw(frame)
        await peer.gone()

    async with connected(script) as (rig, connection):
        await rig.clock.sleeping(1)
        rig.clock.advance(44)
        assert connection.frame_age_s == connection.age_s == 44
        step.release()
        await until(lambda: connection.frame_age_s == 0)
        rig.clock.advance(44)
        assert connection.frame_age_s == 44
        await turns()
        connection.send(b"it has not ended")
        rig.clock.advance(1)
        found, cause, message = await to_the_end(connection)
        assert cause is EndCause.SILENT
        assert found == ([EVENT] if frame == FRAMES["event"] else [])
        assert "no frame came for 45 s" in message
        assert connection.age_s == 89


async def test_while_nobody_reads_the_exchange_waits_and_is_not_called_silent() -> None:
    message = b'{"stream":"x","data":"' + b"x" * 50_000 + b'"}'
    total, sent = 400, 0
    written = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.subscribed()
        for sent in range(1, total + 1):  # noqa: B007
            await peer.frame(TEXT, message)
        written.set()
        await peer.gone()

    async with connected(script) as (rig, connection):
        await until(lambda: bool(rig.observer.counts["stream_pauses_total"]) or written.is_set())
        assert not written.is_set()
        await rig.clock.sleeping(1)
        rig.clock.advance(1000)
        await turns()
        found, largest = 0, 0
        while found < total:
            batch = await connection.read()
            assert set(batch.payloads) == {message}
            found += len(batch.payloads)
            largest = max(largest, sum(map(len, batch.payloads)))
        assert found == total
        assert HELD_BYTES / 2 < largest < HELD_BYTES + AT_ONCE_BYTES
        assert written.is_set()
        await turns()
        rig.clock.advance(45)
        assert (await to_the_end(connection))[1] is EndCause.SILENT


async def test_silence_counts_from_when_reading_goes_on() -> None:
    most = HELD_BYTES // 5000 + 20

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.read()
        await peer.raw(most * framed(TEXT, b"x" * 5000))
        await peer.gone()

    async with connected(script) as (rig, connection):
        connection.send(b"on")
        await until(lambda: bool(rig.observer.counts["stream_pauses_total"]))
        await rig.clock.sleeping(1)
        rig.clock.advance(44)
        await payloads(connection, most)
        assert rig.observer.counts["stream_pauses_total"] == 1
        rig.clock.advance(44)
        await turns()
        connection.send(b"it has not ended")
        rig.clock.advance(1)
        assert (await to_the_end(connection))[1] is EndCause.SILENT


async def test_an_end_while_nobody_reads_is_told_behind_what_was_held() -> None:
    message = b"x" * 500_000

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        for _ in range(100):
            await peer.frame(TEXT, message)

    async with connected(script) as (rig, connection):
        await until(lambda: bool(rig.observer.counts["stream_pauses_total"]))
        await connection.abort()
        found, cause, _ = await to_the_end(connection)
        assert cause is EndCause.ABORTED
        assert len(found) >= HELD_BYTES // len(message)


async def turns() -> None:
    """Let what has been woken run."""
    for _ in range(10):
        await asyncio.sleep(0)
