"""Whole messages are handed over, wrong frames end the connection, and nothing behind them is read."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from streamforge_utils.adapters.binance.streams.message_frames import LARGEST_MESSAGE
from streamforge_utils.ports.stream import EndCause
from tests.adapters.binance.streams.rig import EVENT, NOW_US, connected, payloads, to_the_end
from tests.doubles.streamserver import BINARY, CLOSE, PING, PONG, TEXT, Peer, framed

MORE, FIRST = 0, 0x00
"""The opcode of a frame that goes on with a message, and the bits of one that does not end it."""

LONG = b'{"stream":"x","data":"' + "这".encode() * 30 + b'"}'

MALFORMED = {
    "masked": (framed(TEXT, EVENT, masked=True), "masked"),
    "RSV1 without an agreement": (framed(TEXT, EVENT, first=0xC0), "reserved bit"),
    "RSV2": (framed(TEXT, EVENT, first=0xA0), "reserved bit"),
    "RSV3": (framed(TEXT, EVENT, first=0x90), "reserved bit"),
    "RSV1 of a ping": (framed(PING, b"", first=0xC0), "reserved bit"),
    "unknown opcode": (framed(3, EVENT), "opcode"),
    "binary": (framed(BINARY, EVENT), "not text"),
    "binary in parts": (framed(BINARY, EVENT, first=FIRST) + framed(MORE, b""), "not text"),
    "the middle of no message": (framed(MORE, EVENT), "did not begin"),
    "a message within a message": (framed(TEXT, b"{", first=FIRST) + framed(TEXT, EVENT), "has ended"),
    "a ping in parts": (framed(PING, b"x", first=FIRST), "fragmented control"),
    "a long ping": (framed(PING, b"x" * 126), "125"),
    "bad UTF-8": (framed(TEXT, b'{"stream":"x","data":"\xff"}'), "UTF-8"),
    "UTF-8 that ends too early": (framed(TEXT, LONG[:23], first=FIRST) + framed(MORE, b'"}'), "UTF-8"),
    "a frame that is too large": (framed(TEXT, b"x" * (LARGEST_MESSAGE + 1)), str(LARGEST_MESSAGE)),
    "parts that are too large": (
        framed(TEXT, b"x" * 600_000, first=FIRST) + framed(MORE, b"x" * 600_000, first=FIRST),
        f"more than {LARGEST_MESSAGE} bytes",
    ),
    "empty parts without end": (framed(TEXT, b"", first=FIRST) + 20_000 * framed(MORE, b"", first=FIRST), "frames"),
    "a length in too many bytes": (b"\x81\x7e\x00\x05hello", "payload len"),
    "a close code that is not sent": (framed(CLOSE, (1005).to_bytes(2, "big")), "close code"),
    "half a close code": (framed(CLOSE, b"\x03"), "close code"),
    "no frames at all": (b"HTTP/1.1 400 Bad Request\r\n\r\n", ""),
}


@pytest.mark.parametrize(("wrong", "said"), MALFORMED.values(), ids=MALFORMED)
async def test_a_wrong_frame_ends_the_connection_behind_what_came_before_it(wrong: bytes, said: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.raw(framed(TEXT, EVENT) + wrong + framed(TEXT, EVENT))
        await peer.gone()

    async with connected(script) as (rig, connection):
        found, cause, message = await to_the_end(connection)
        assert (found, cause) == ([EVENT], EndCause.MALFORMED)
        assert said in message
        assert "connection 1 to ws://127.0.0.1:" in message
        assert rig.observer.counts["stream_ends_total{cause=malformed}"] == 1


@pytest.mark.parametrize("cuts", [(1,), (22, 23), (24,), tuple(range(1, len(LONG)))])
async def test_parts_are_joined_also_around_control_frames_and_characters(cuts: tuple[int, ...]) -> None:
    bounds = [0, *cuts, len(LONG)]
    parts = [LONG[start:end] for start, end in pairwise(bounds)]

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.frame(TEXT, parts[0], first=FIRST)
        for part in parts[1:-1]:
            await peer.raw(framed(PONG, b"") + framed(MORE, part, first=FIRST))
        await peer.raw(framed(MORE, parts[-1]) + framed(TEXT, EVENT))
        await peer.gone()

    async with connected(script) as (_, connection):
        assert await payloads(connection, 2) == [LONG, EVENT]


async def test_the_largest_message_is_taken_whole_or_in_parts() -> None:
    largest = b"x" * LARGEST_MESSAGE

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.frame(TEXT, largest)
        await peer.raw(framed(TEXT, largest[:-1], first=FIRST) + framed(MORE, b"x"))
        await peer.gone()

    async with connected(script) as (_, connection):
        assert await payloads(connection, 2) == [largest, largest]


async def test_messages_that_came_together_are_one_batch_with_the_time_of_the_last() -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.raw(3 * framed(TEXT, EVENT) + framed(PONG, b""))
        await peer.gone()

    async with connected(script) as (_, connection):
        batch = await connection.read()
        assert (batch.payloads, batch.received_us) == ([EVENT] * 3, NOW_US)


OTHERS = [
    *(b'{"e":"unheardOf","E":1}', b'{"result":null,"id":77}', b'{"code":2,"msg":"Invalid request"}', b"no JSON"),
    *(
        b"[1,2]",
        b"",
        b'{"x":' + b"[" * 100_000,
        b'{ "stream" : "x@trade", "data": 1}',
        b'{"stream":"!miniTicker@arr","data":[]}',
    ),
]


@pytest.mark.parametrize("text", OTHERS, ids=range(len(OTHERS)))
async def test_a_message_that_is_none_of_this_adapters_is_handed_over(text: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.read()
        await peer.raw(framed(TEXT, text) + framed(TEXT, EVENT))
        await peer.gone()

    async with connected(script) as (_, connection):
        connection.send(b"on")
        assert await payloads(connection, 2) == [text, EVENT]
        assert not connection.ending_announced


@pytest.mark.parametrize(
    "notice",
    [
        b'{"e":"serverShutdown","E":1770123456789}',
        b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
        b'{ "data": {"e":"serverShutdown","E":1}, "stream": "!serverShutdown" }',
    ],
)
async def test_a_shutdown_is_announced_and_the_connection_goes_on(notice: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.frame(TEXT, EVENT)
        await peer.read()
        await peer.raw(framed(TEXT, notice) + framed(TEXT, EVENT))
        await peer.gone()

    async with connected(script) as (_, connection):
        assert await payloads(connection, 1) == [EVENT]
        assert not connection.ending_announced
        connection.send(b"on")
        assert await payloads(connection, 1) == [EVENT]
        assert connection.ending_announced


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ((1008).to_bytes(2, "big") + b"too many requests", "closed with code 1008: too many requests"),
        ((1001).to_bytes(2, "big"), "closed with code 1001"),
        (b"", "closed with code 1005"),
    ],
)
async def test_a_close_frame_is_answered_and_told(payload: bytes, said: str) -> None:
    answered: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.raw(framed(TEXT, EVENT) + framed(CLOSE, payload) + framed(TEXT, EVENT))
        answered.set_result(await peer.read())
        await peer.gone()

    async with connected(script) as (rig, connection):
        found, cause, message = await to_the_end(connection)
        assert (found, cause) == ([EVENT], EndCause.CLOSED)
        assert message.endswith(said)
        assert await answered == (CLOSE, payload[:2])
        assert rig.observer.counts["stream_ends_total{cause=closed}"] == 1


@pytest.mark.parametrize("reset", [True, False])
async def test_a_connection_that_breaks_off_is_closed(reset: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.raw(framed(TEXT, EVENT) + framed(TEXT, EVENT)[:9])  # the second one is cut
        if not reset:
            peer.writer.write_eof()
            await peer.gone()

    async with connected(script) as (_, connection):
        found, cause, message = await to_the_end(connection)
        assert cause is EndCause.CLOSED
        assert "broke off" in message
        assert found == [EVENT] or (reset and not found)  # a reset may discard what the kernel holds


async def test_an_aborted_connection_is_gone_at_once() -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.frame(TEXT, EVENT)
        await peer.gone()
        gone.set()

    async with connected(script) as (_, connection):
        assert await payloads(connection, 1) == [EVENT]
        await connection.abort()
        await gone.wait()
        assert (await to_the_end(connection))[1] is EndCause.ABORTED
