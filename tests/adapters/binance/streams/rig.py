"""A client of streams whose time stands still until a test moves it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from streamforge_utils.adapters.binance.streams.binance_connection import BinanceConnection
from streamforge_utils.adapters.binance.streams.binance_stream import BinanceStream
from streamforge_utils.adapters.binance.streams.stream_address import stream_address
from streamforge_utils.ports.stream import EndCause, StreamEnded
from tests.doubles.manualclock import ManualClock
from tests.doubles.observer import RecordingObserver
from tests.doubles.streamserver import Script, scripted_server

NOW_US = 1_722_600_000_123_456
EVENT = b'{"stream":"btcusdt@trade","data":{"t":1}}'


class Rig:
    """clock, observer: the client's."""

    def __init__(self, url: str, *, connects: int = 30, ca_path: Path | None = None) -> None:
        self.clock = ManualClock()
        self.observer = RecordingObserver()
        self.stream = BinanceStream(
            stream_address(url, (), ca_path),
            connects=connects,
            clock=self.clock,
            observer=self.observer,
            now_us=lambda: NOW_US,
        )


@asynccontextmanager
async def rig(url: str, *, connects: int = 30, ca_path: Path | None = None) -> AsyncIterator[Rig]:
    made = Rig(url, connects=connects, ca_path=ca_path)
    try:
        yield made
    finally:
        await made.stream.close()


@asynccontextmanager
async def connected(
    script: Script, *, extensions: str = "", streams: Sequence[str] = ("btcusdt@trade",)
) -> AsyncIterator[tuple[Rig, BinanceConnection]]:
    """A connection to a server that runs `script`."""
    async with scripted_server(script, extensions=extensions) as url, rig(url) as made:
        yield made, await made.stream.connect(streams)


async def until(condition: Callable[[], bool]) -> None:
    """Return once it is true (the test's own limit of time bounds it)."""
    while not condition():  # noqa: ASYNC110 (no event tells it)
        await asyncio.sleep(0.001)


async def payloads(connection: BinanceConnection, count: int) -> list[bytes]:
    """At least the next `count`."""
    found: list[bytes] = []
    while len(found) < count:
        batch = await connection.read()
        assert batch.received_us == NOW_US
        found.extend(batch.payloads)
    return found


async def to_the_end(connection: BinanceConnection) -> tuple[list[bytes], EndCause, str]:
    """All that is still read, and why there is no more."""
    found: list[bytes] = []
    while True:
        try:
            batch = await connection.read()
            assert batch.received_us == NOW_US
            found.extend(batch.payloads)
        except StreamEnded as ended:
            return found, ended.cause, str(ended)
