"""A source of streams beside those that there are: its events are sent, to each connection its own if it says so."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from streamforge.exchange import stream_feed
from streamforge.exchange.config import ExchangeConfig, SymbolSpec
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.state import ExchangeState
from streamforge.exchange.stream_feed import Agenda, StreamFeed
from streamforge.exchange.stream_source import StreamEvent, StreamName, StreamSource, read_name
from streamforge.exchange.streams import source_classes
from tests.exchange.conftest import NOW, Peer
from tests.exchange.sockets import socket


class Ticks(StreamSource):
    """One a second, with the number of the connection."""

    words = ("tick",)

    def events(
        self, name: StreamName, spec: SymbolSpec, after_ms: int, until_ms: int, connection: int
    ) -> Sequence[StreamEvent]:
        seconds = range(after_ms // 1_000 + 1, until_ms // 1_000 + 1)
        return [StreamEvent(s * 1_000, msgspec.json.encode({"E": s * 1_000, "n": connection})) for s in seconds]


class OwnTicks(Ticks):
    words = ("own",)
    shared = False


class Broken(Ticks):
    words = ("broken",)

    def events(
        self, name: StreamName, spec: SymbolSpec, after_ms: int, until_ms: int, connection: int
    ) -> Sequence[StreamEvent]:
        if until_ms > NOW + 30_000:
            raise ValueError("broken")
        return []


@pytest.fixture(autouse=True)
def more_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_feed, "source_classes", lambda: [*source_classes(), Ticks, OwnTicks, Broken])


async def test_its_events_are_sent_at_their_times(exchange: Peer) -> None:
    async with socket(exchange, "/ws/btcusdt@tick") as client:
        assert [one["E"] for one in await client.sent(30_500)] == [NOW + n * 1_000 for n in range(1, 31)]
        assert [one["E"] for one in await client.sent(499)] == []
        assert [one["E"] for one in await client.sent(1)] == [NOW + 31_000]


async def test_connections_share_events_unless_they_are_their_own(exchange: Peer) -> None:
    async with (
        socket(exchange, "/ws/btcusdt@tick/btcusdt@own") as first,
        socket(exchange, "/ws/btcusdt@tick/btcusdt@own") as second,
    ):
        exchange.clock.advance(3_000)
        events = [[await client.next() for _ in range(6)] for client in (first, second)]
    numbers = [sorted(one["n"] for one in found) for found in events]
    assert numbers == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 2, 2, 2]]


async def test_a_source_that_fails_ends_the_connection(exchange: Peer, caplog: pytest.LogCaptureFixture) -> None:
    async with socket(exchange, "/ws/btcusdt@broken") as client:
        exchange.clock.advance(60_000)
        assert await client.closed() == (1006, "")
    assert exchange.state.streams.ended == {"error": 1}
    assert "ValueError: broken" in caplog.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("btcusdt@trade", ("BTCUSDT", "trade", ())),
        ("btcusdt@kline_1m", ("BTCUSDT", "kline", ("1m",))),
        ("btcusdt@kline_1m@+08:00", ("BTCUSDT", "kline", ("1m", "+08:00"))),
        ("btcusdt@depth20@100ms", ("BTCUSDT", "depth", ("20", "100ms"))),
        ("这是测试币456@aggTrade", ("这是测试币456", "aggTrade", ())),
        ("BTCUSDT@trade", None),
        ("btcusdt", None),
        ("@trade", None),
        ("btcusdt@", None),
    ],
)
def test_a_name_has_parts(text: str, expected: tuple[str, str, tuple[str, ...]] | None) -> None:
    name = read_name(text)
    assert (None if name is None else (name.symbol, name.word, name.options)) == expected


class Pairs(Ticks):
    """Two events at once."""

    words = ("pair",)

    def events(
        self, name: StreamName, spec: SymbolSpec, after_ms: int, until_ms: int, connection: int
    ) -> Sequence[StreamEvent]:
        found = super().events(name, spec, after_ms, until_ms, connection)
        return [StreamEvent(one.time_ms, b"%d" % number) for one in found for number in range(2)]


async def test_streams_that_have_changed_go_on_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_feed, "source_classes", lambda: [*source_classes(), Ticks, Pairs])
    state = ExchangeState(ExchangeConfig())
    rows = [one for one in state.endpoints if isinstance(one, RowsEndpoint)]
    feed, end_ms = StreamFeed(state.config, rows, state.symbols, None), NOW + 25_000
    names = ["btcusdt@tick", "btcusdt@pair", "ethusdt@pair", "ethusdt@depth@100ms", "btcusdt@nothing"]

    def taken(agenda: Agenda, most: int = 1_000) -> list[tuple[int, str, bytes]]:
        found = list[tuple[int, str, bytes]]()
        while agenda.next_ms <= end_ms and len(found) < most:
            popped = agenda.pop()
            if popped is not None:
                found.append((popped[0].event.time_ms, popped[0].name.text, popped[0].event.data))
        return found

    def begun() -> Agenda:
        agenda = Agenda(feed, 1)
        agenda.subscribe(names, NOW)
        return agenda

    expected = taken(begun())
    assert len(expected) > 200
    for count in range(40):
        agenda = begun()
        first = taken(agenda, count)
        for _ in range(2):
            feed.forget()
            agenda.restart(end_ms, changed=True)
        assert sorted([*first, *taken(agenda)]) == sorted(expected), count
        assert agenda.names == names
