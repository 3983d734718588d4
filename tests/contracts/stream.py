"""What every stream adapter promises. A subclass says how to make one whose events are known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.stream import EndCause, Stream, StreamConnection, StreamEnded
from tests.limits import LIMIT_S


class KnownStreams(msgspec.Struct, kw_only=True):
    """Streams and what comes on them.

    names: that exist, at least three; one has characters beyond ASCII. unknown: one that does not exist.
    happen: lets events come on all of them; returns by name what who has subscribed gets, at least one event of each.
    cut: lets the exchange close all connections.
    """

    stream: Stream
    names: Sequence[str]
    unknown: str
    happen: Callable[[], Awaitable[Mapping[str, Sequence[Any]]]]
    cut: Callable[[], Awaitable[None]]


class StreamContract:
    """The promises of `ports.stream`."""

    def known_streams(self) -> AbstractAsyncContextManager[KnownStreams]:
        """Streams, until they are closed."""
        raise NotImplementedError

    @pytest_asyncio.fixture
    async def known(self) -> AsyncIterator[KnownStreams]:
        async with asyncio.timeout(LIMIT_S), self.known_streams() as known:
            yield known
            await known.stream.close()

    async def test_events_of_the_streams_asked_for_come_in_their_order_and_no_others(self, known: KnownStreams) -> None:
        first, second = known.names[:2]
        connection = await known.stream.connect([first, second])
        for _ in range(2):
            await self.gets(connection, await known.happen(), first, second)

    async def test_every_name_can_be_asked_for(self, known: KnownStreams) -> None:
        connection = await known.stream.connect(known.names)
        await self.gets(connection, await known.happen(), *known.names)

    async def test_an_unknown_stream_is_acknowledged_and_silent(self, known: KnownStreams) -> None:
        connection = await known.stream.connect([known.unknown, known.names[0]])
        await self.gets(connection, await known.happen(), known.names[0])

    async def test_connections_are_numbered_and_each_gets_every_event(self, known: KnownStreams) -> None:
        connections = [await known.stream.connect(known.names[:1]) for _ in range(2)]
        assert [connection.number for connection in connections] == [1, 2]
        assert not any(connection.ending_announced for connection in connections)
        happened = await known.happen()
        for connection in connections:
            await self.gets(connection, happened, known.names[0])
            assert connection.age_s >= connection.frame_age_s >= 0

    async def test_a_cancelled_read_loses_no_event(self, known: KnownStreams) -> None:
        connection = await known.stream.connect(known.names[:1])
        reading = asyncio.create_task(connection.read())
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await self.gets(connection, await known.happen(), known.names[0])

    async def test_streams_are_added_to_an_open_connection_and_taken_away(self, known: KnownStreams) -> None:
        first, second, third = known.names[:3]
        connection = await known.stream.connect([first])
        await connection.subscribe([second, third])
        await self.gets(connection, await known.happen(), first, second, third)
        await connection.unsubscribe([first, third])
        await self.gets(connection, await known.happen(), second)
        await connection.subscribe([first])
        await self.gets(connection, await known.happen(), second, first)

    async def test_an_ended_connection_takes_no_more_streams(self, known: KnownStreams) -> None:
        connection = await known.stream.connect(known.names[:1])
        await connection.abort()
        for call in (connection.subscribe, connection.unsubscribe):
            with pytest.raises(StreamEnded):
                await call(known.names[1:2])

    async def test_what_came_before_the_end_is_read_before_it(self, known: KnownStreams) -> None:
        connection = await known.stream.connect(known.names[:1])
        happened = await known.happen()
        await known.cut()
        await self.gets(connection, happened, known.names[0])
        for _ in range(2):
            with pytest.raises(StreamEnded) as ended:
                await connection.read()
            assert ended.value.cause is EndCause.CLOSED

    async def test_an_aborted_connection_ends_a_read_that_waits_and_the_others_go_on(self, known: KnownStreams) -> None:
        connection, other = [await known.stream.connect(known.names[:1]) for _ in range(2)]
        reading = asyncio.create_task(connection.read())
        await asyncio.sleep(0)
        await connection.abort()
        with pytest.raises(StreamEnded) as ended:
            await reading
        assert ended.value.cause is EndCause.ABORTED
        await connection.abort()
        await self.gets(other, await known.happen(), known.names[0])

    async def test_closing_aborts_all_and_nothing_more_is_connected(self, known: KnownStreams) -> None:
        connections = [await known.stream.connect(known.names[:1]) for _ in range(2)]
        await known.stream.close()
        for connection in connections:
            with pytest.raises(StreamEnded) as ended:
                await connection.read()
            assert ended.value.cause is EndCause.ABORTED
        with pytest.raises(PermanentError, match="closed"):
            await known.stream.connect(known.names[:1])

    async def test_more_streams_than_a_connection_takes_are_refused(self, known: KnownStreams) -> None:
        for count in (0, 1025):
            with pytest.raises(PermanentError, match=f"{count} streams"):
                await known.stream.connect([f"s{number}@trade" for number in range(count)])

    async def gets(self, connection: StreamConnection, happened: Mapping[str, Sequence[Any]], *names: str) -> None:
        """Read as many events as came on the streams, and see that they are those, in the order of each stream."""
        found: dict[str, list[Any]] = {name: [] for name in names}
        while sum(map(len, found.values())) < sum(len(happened[name]) for name in names):
            batch = await connection.read()
            assert batch.payloads
            assert batch.received_us > 10**15
            for payload in batch.payloads:
                message = msgspec.json.decode(payload)
                found[message["stream"]].append(message["data"])
        assert found == {name: happened[name] for name in names}
