"""Order books over REST and streams: each connection gets diffs of its own, and all lead to the oracle's book."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from streamforge.exchange.config import DEFAULT_SYMBOLS, ExchangeConfig
from tests.exchange.books import PlainBook, chained, of_stream, oracle, snapshot
from tests.exchange.conftest import MINUTE, NOW, Peer, peer
from tests.exchange.sockets import Json, Socket, socket

MEMBERS = ("e", "E", "s", "U", "u", "b", "a")
SYMBOLS = ("BTCUSDT", "ETHUSDT", "NEWUSDT")


def names(word: str) -> list[str]:
    return [f"{symbol.lower()}@{word}" for symbol in SYMBOLS]


def combined(*streams: str) -> str:
    return f"/stream?streams={'/'.join(streams)}"


async def sent_to(exchange: Peer, clients: Sequence[Socket], milliseconds: int) -> list[list[Json]]:
    """What comes to each client while the clock is moved on."""
    first = await clients[0].sent(milliseconds)
    others: list[list[Json]] = [[] for _ in clients[1:]]
    for client, found in zip(clients[1:], others, strict=True):
        while (message := await client.next()).get("stream") != "!serverShutdown":
            found.append(message)
    return [first, *others]


async def checked(exchange: Peer, symbol: str, book: PlainBook, diffs: Sequence[Json]) -> None:
    """Apply `diffs`, and compare the book with the oracle's after each of them."""
    for diff in diffs:
        book.apply(diff)
        top = await oracle(exchange, symbol, u=book.last, limit=20)
        assert (top["bids"], top["asks"]) == book.sides(20)
    whole = await oracle(exchange, symbol, u=book.last)
    assert (whole["bids"], whole["asks"]) == book.sides()


@pytest.mark.parametrize(("word", "step_ms"), [("depth@100ms", 100), ("depth", 1_000)])
async def test_the_books_of_two_connections_are_the_oracles_and_their_diffs_are_not_the_same(
    exchange: Peer, word: str, step_ms: int
) -> None:
    path = combined(*names(word))
    async with socket(exchange, path) as one, socket(exchange, path) as other:
        before = await sent_to(exchange, (one, other), 777 + step_ms)
        snapshots = {symbol: await snapshot(exchange, symbol) for symbol in SYMBOLS}
        after = await sent_to(exchange, (one, other), 30_000)
    for symbol, name in zip(SYMBOLS, names(word), strict=True):
        told = [of_stream([*early, *late], name) for early, late in zip(before, after, strict=True)]
        for diffs in told:
            await checked(exchange, symbol, PlainBook(snapshots[symbol]), diffs)
            assert chained(diffs)
            assert {(tuple(diff), diff["e"], diff["s"]) for diff in diffs} == {(MEMBERS, "depthUpdate", symbol)}
            assert {diff["E"] % step_ms for diff in diffs} == {diffs[0]["E"] % step_ms}
            assert len(diffs) > 27_000 // step_ms
            assert any(diff["U"] <= snapshots[symbol]["lastUpdateId"] + 1 <= diff["u"] for diff in diffs)
        assert not {(diff["U"], diff["u"]) for diff in told[0]} & {(diff["U"], diff["u"]) for diff in told[1]}


async def test_tickers_are_the_best_levels_of_the_oracle_at_their_ids(exchange: Peer) -> None:
    async with socket(exchange, combined(*names("bookTicker"))) as client:
        messages = await client.sent(10_000)
    for symbol, name in zip(SYMBOLS, names("bookTicker"), strict=True):
        tickers = of_stream(messages, name)
        assert len(tickers) > 50
        for ticker in tickers:
            best = await oracle(exchange, symbol, u=ticker["u"], limit=1)
            assert ticker == {
                "u": best["lastUpdateId"],
                "s": symbol,
                "b": best["bids"][0][0],
                "B": best["bids"][0][1],
                "a": best["asks"][0][0],
                "A": best["asks"][0][1],
            }


@pytest.mark.parametrize(("word", "levels", "step_ms"), [("depth5", 5, 1_000), ("depth20@100ms", 20, 100)])
async def test_the_best_levels_come_at_every_step(exchange: Peer, word: str, levels: int, step_ms: int) -> None:
    async with socket(exchange, f"/ws/btcusdt@{word}") as client:
        messages = await client.sent(10_000)
    assert len(messages) == 10_000 // step_ms
    for number, message in enumerate(messages, 1):
        expected = await oracle(exchange, "BTCUSDT", time=NOW + number * step_ms, limit=levels)
        assert message == {name: expected[name] for name in ("lastUpdateId", "bids", "asks")}
        assert len(message["bids"]) == levels


@pytest.mark.parametrize("word", ["depth7", "depth@250ms", "depth5@1s", "depth@5", "bookTicker@100ms"])
async def test_a_stream_of_no_such_levels_or_step_is_silent(exchange: Peer, word: str) -> None:
    async with socket(exchange, f"/ws/btcusdt@{word}") as client:
        assert await client.sent(5_000) == []


async def test_event_times_are_in_the_unit_that_is_asked_for(exchange: Peer) -> None:
    path = "/ws/btcusdt@depth@100ms"
    async with socket(exchange, path + "?timeUnit=MICROSECOND") as client:
        messages = await client.sent(1_000)
    assert all(NOW * 1000 < one["E"] <= (NOW + 1_000) * 1000 for one in messages)
    assert len(messages) > 5


@pytest.mark.parametrize(
    ("limit", "levels", "weight"),
    [
        ("", 100, 5),
        (1, 1, 5),
        (100, 100, 5),
        (101, 101, 25),
        (500, 500, 25),
        (501, 501, 50),
        (1_000, 1_000, 50),
        (1_001, 1_001, 250),
        (5_000, None, 250),
        (9_999, None, 250),
    ],
)
async def test_a_snapshot_costs_by_its_levels(exchange: Peer, limit: object, levels: int | None, weight: int) -> None:
    query = {"limit": limit} if limit else {}
    answer = await exchange.get("/api/v3/depth", symbol="BTCUSDT", **query)
    expected = await oracle(exchange, "BTCUSDT")
    assert answer.headers["x-mbx-used-weight-1m"] == str(weight)
    assert answer.json == {
        "lastUpdateId": expected["lastUpdateId"],
        "bids": expected["bids"][:levels],
        "asks": expected["asks"][:levels],
    }
    assert len(expected["bids"]) > 2_000


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"symbol": "BTCUSDT", "limit": 0}, -1130),
        ({"symbol": "BTCUSDT", "limit": "x"}, -1100),
        ({"symbol": "NOPE"}, -1121),
        ({}, -1102),
        ({"symbol": "BTCUSDT", "levels": 5}, -1104),
    ],
)
async def test_a_wrong_request_is_refused(exchange: Peer, query: dict[str, object], code: int) -> None:
    answer = await exchange.get("/api/v3/depth", **query)
    assert (answer.status, answer.json["code"]) == (400, code)


async def test_the_best_levels_over_rest(exchange: Peer) -> None:
    path, weights, found = "/api/v3/ticker/bookTicker", [], []
    for query in ({"symbol": "BTCUSDT"}, {"symbols": '["BTCUSDT","ETHUSDT"]'}, {}):
        before = exchange.state.limiter.used(NOW)
        answer = await exchange.get(path, **query)
        weights.append(exchange.state.limiter.used(NOW) - before)
        found.append(msgspec.json.decode(answer.body))
    best = await oracle(exchange, "BTCUSDT", limit=1)
    (bid, bids), (ask, asks) = best["bids"][0], best["asks"][0]
    expected = {"symbol": "BTCUSDT", "bidPrice": bid, "bidQty": bids, "askPrice": ask, "askQty": asks}
    listed = [spec.symbol for spec in DEFAULT_SYMBOLS]
    assert found[0] == expected == found[1][0] == found[2][0]
    assert [one["symbol"] for one in found[1]] == ["BTCUSDT", "ETHUSDT"]
    assert [one["symbol"] for one in found[2]] == listed
    assert found[2][listed.index("OLDUSDT")]["bidPrice"] == "0.00000000", "it is traded no more"
    assert weights == [2, 4, 4]
    wrong = await exchange.get(path, symbols="BTCUSDT")
    assert (wrong.status, wrong.json["code"]) == (400, -1100)


async def test_a_book_that_is_not_traded_is_empty_and_silent() -> None:
    spec = msgspec.structs.replace(DEFAULT_SYMBOLS[0], symbol="AAAUSDT", base="AAA")
    for changes in ({"status": "BREAK"}, {"status": "BREAK", "delisted_ms": NOW - MINUTE}):
        one: Any = msgspec.structs.replace(spec, **changes)
        streams = ("depth@100ms", "depth5@100ms", "bookTicker")
        async with (
            peer(ExchangeConfig(symbols=(one,))) as exchange,
            socket(exchange, combined(*(f"aaausdt@{word}" for word in streams))) as client,
        ):
            assert await snapshot(exchange, "AAAUSDT") == {"lastUpdateId": 0, "bids": [], "asks": []}
            assert await client.sent(MINUTE) == []


async def test_the_oracle_knows_the_past_and_not_the_future(exchange: Peer) -> None:
    now = await oracle(exchange, "BTCUSDT", limit=5)
    before = await oracle(exchange, "BTCUSDT", time=NOW - MINUTE, limit=5)
    assert await oracle(exchange, "BTCUSDT", u=before["lastUpdateId"], limit=5) == before
    assert NOW - MINUTE - 1_000 < before["T"] <= NOW - MINUTE < now["T"] <= NOW
    assert before["bids"] != now["bids"]
    for query in ({"u": now["lastUpdateId"] + 20}, {"u": 1}, {"u": "x"}, {"since": 1}):
        answer = await exchange.get("/oracle/depth", symbol="BTCUSDT", **query)
        assert answer.status == 400, query
