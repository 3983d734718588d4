"""Packed messages (permessage-deflate) are unpacked within the limits."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Sequence

import pytest

from streamforge_utils.adapters.binance.streams.message_frames import LARGEST_MESSAGE
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.stream import EndCause
from tests.adapters.binance.streams.rig import EVENT, connected, payloads, rig, to_the_end
from tests.doubles.streamserver import TEXT, Peer, framed, scripted_server

PACKED, PLAIN = 0xC0, 0x80
AGREED = "permessage-deflate"


class Packer:
    """keeps_window: as the server has agreed. bits: of the window."""

    def __init__(self, *, keeps_window: bool = True, bits: int = 15) -> None:
        self._keeps_window, self._bits = keeps_window, bits
        self._new()

    def _new(self) -> None:
        self._deflater = zlib.compressobj(9, zlib.DEFLATED, -self._bits)

    def pack(self, text: bytes, *, last: bool = False) -> bytes:
        """last: with a block that says that it is the last one."""
        packed = self._deflater.compress(text)
        if last:
            packed += self._deflater.flush() + b"\0"
        else:
            packed += self._deflater.flush(zlib.Z_SYNC_FLUSH)
            assert packed.endswith(b"\0\0\xff\xff")
            packed = packed[:-4]
        if last or not self._keeps_window:
            self._new()
        return packed


@pytest.mark.parametrize(
    ("agreed", "packer"),
    [
        (AGREED, Packer()),
        (f"{AGREED}; server_no_context_takeover", Packer(keeps_window=False)),
        (f"{AGREED};server_max_window_bits=9", Packer(bits=9)),
        (f"{AGREED}; server_no_context_takeover; server_max_window_bits=9", Packer(keeps_window=False, bits=9)),
    ],
)
async def test_packed_and_plain_messages_whole_and_in_parts(agreed: str, packer: Packer) -> None:
    events = [b'{"stream":"x@trade","data":{"t":%d,"s":"\xe8\xbf\x99"}}' % number for number in range(20)]

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        for number, event in enumerate(events):
            packed = packer.pack(event)
            if number % 3 == 0:
                await peer.frame(TEXT, event)
                packer.pack(b"")
                await peer.frame(TEXT, packed, first=PACKED)
            elif number % 3 == 1:
                await peer.raw(framed(TEXT, packed[:5], first=0x40) + framed(0, packed[5:]))
            else:
                await peer.frame(TEXT, packed, first=PACKED)
        await peer.gone()

    expected = [event for number, event in enumerate(events) for _ in range(2 if number % 3 == 0 else 1)]
    async with connected(script, extensions=agreed) as (_, connection):
        assert await payloads(connection, len(expected)) == expected


async def test_a_message_may_end_with_a_last_block() -> None:
    packer = Packer()

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        for last in (True, False, True, True):
            await peer.frame(TEXT, packer.pack(EVENT, last=last), first=PACKED)
        await peer.gone()

    async with connected(script, extensions=AGREED) as (_, connection):
        assert await payloads(connection, 4) == [EVENT] * 4


WRONG = {
    "no packed data": ([framed(TEXT, EVENT, first=PACKED)], "cannot be unpacked"),
    "too large unpacked": ([framed(TEXT, Packer().pack(b"x" * (LARGEST_MESSAGE + 1)), first=PACKED)], "unpacked"),
    "no UTF-8 unpacked": ([framed(TEXT, Packer().pack(b"\xff\xff"), first=PACKED)], "UTF-8"),
    "marked in the middle": ([framed(TEXT, b"", first=0x40), framed(0, b"", first=PACKED)], "reserved bit"),
    "much at once": (
        200 * [framed(TEXT, Packer(keeps_window=False).pack(b"x" * LARGEST_MESSAGE), first=PACKED)],
        "came at once",
    ),
}


@pytest.mark.parametrize(("frames", "said"), WRONG.values(), ids=WRONG)
async def test_what_is_packed_wrongly_or_to_do_harm_ends_the_connection(frames: Sequence[bytes], said: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.frame(TEXT, EVENT)
        await peer.read()
        await peer.raw(b"".join(frames))
        await peer.gone()

    agreed = f"{AGREED}; server_no_context_takeover"
    async with connected(script, extensions=agreed) as (_, connection):
        assert await payloads(connection, 1) == [EVENT]
        connection.send(b"on")
        _, cause, message = await to_the_end(connection)
        assert cause is EndCause.MALFORMED
        assert said in message


async def test_what_is_too_large_is_not_unpacked_whole() -> None:
    packed = Packer().pack(bytes(256 * LARGEST_MESSAGE))

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.frame(TEXT, packed, first=PACKED)
        await peer.gone()

    async with connected(script, extensions=AGREED) as (_, connection):
        tracemalloc.start()
        try:
            assert (await to_the_end(connection))[1] is EndCause.MALFORMED
            assert tracemalloc.get_traced_memory()[1] < 32 * LARGEST_MESSAGE
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "agreed",
    ["x-webkit-deflate-frame", f"{AGREED}; client_max_window_bits=9", f"{AGREED}, {AGREED}", f"{AGREED}; unheard_of"],
)
async def test_an_agreement_that_was_not_offered_is_refused(agreed: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    async with scripted_server(script, extensions=agreed) as url, rig(url) as made:
        with pytest.raises(PermanentError, match="which was not offered"):
            await made.stream.connect(["btcusdt@trade"])
