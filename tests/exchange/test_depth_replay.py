"""A replay has the order books that were recorded: REST says at each moment what the diffs lead to."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge_utils.model.errors import PermanentError
from tests.exchange.books import Json, PlainBook, chained, of_stream, oracle, snapshot
from tests.exchange.conftest import DAY, MINUTE, Peer, ms, peer
from tests.exchange.sockets import socket
from tests.places import market_data

AUGUST = ms("2024-08-08T23:54:15")
APRIL = ms("2021-04-04T20:03:11")
OCTOBER = ms("2021-10-12T00:28:32")


def copied(folder: Path, pattern: str) -> Path:
    """A folder with the raw recordings that `pattern` names."""
    for file in market_data("ws-recordings-raw").glob(pattern):
        shutil.copy(file, folder)
    return folder


def recorded_tickers(folder: Path) -> dict[int, Json]:
    """The recorded messages of bookTicker by their update."""
    found: dict[int, Json] = {}
    for file in folder.glob("*.gz"):
        for line in gzip.decompress(file.read_bytes()).splitlines():
            if b"@bookTicker" in line:
                ticker = msgspec.json.decode(line[line.index(b"{") :], type=Json)["data"]
                found[ticker["u"]] = ticker
    return found


async def sent(exchange: Peer, streams: Sequence[str], milliseconds: int) -> list[Json]:
    async with socket(exchange, f"/stream?streams={'/'.join(streams)}") as client:
        return await client.sent(milliseconds)


@pytest.mark.long
async def test_the_best_levels_are_those_of_every_recorded_ticker_of_the_same_update(tmp_path: Path) -> None:
    replay = copied(tmp_path, "spot_BTCUSDT_depth*.gz")
    async with peer(ExchangeConfig(replay=replay), AUGUST + 350) as exchange:
        early = await snapshot(exchange, "BTCUSDT")
        assert early["lastUpdateId"] == 50093239218, "the recorded one, until a diff joins it"
        assert (len(early["bids"]), len(early["asks"])) == (1000, 1000)
        tickers = recorded_tickers(replay)
        book, compared = PlainBook(early), 0
        for diff in of_stream(await sent(exchange, ["btcusdt@depth@100ms"], 20 * MINUTE), "btcusdt@depth@100ms"):
            book.apply(diff)
            ticker = tickers.get(diff["u"])
            if ticker is not None and diff["u"] == book.last:
                compared += 1
                assert book.sides(1) == ([[ticker["b"], ticker["B"]]], [[ticker["a"], ticker["A"]]])
                if compared % 50 == 0:
                    known = await oracle(exchange, "BTCUSDT", u=diff["u"])
                    assert (known["bids"], known["asks"]) == book.sides()
                    assert book.sides(1) == (known["bids"][:1], known["asks"][:1])
        assert compared == 1072
        late = await snapshot(exchange, "BTCUSDT")
        assert (late["lastUpdateId"], late["bids"], late["asks"]) == (book.last, *book.sides(5_000))
        best = (await exchange.get("/api/v3/ticker/bookTicker", symbol="BTCUSDT")).json
    assert [float(str(best[name])) for name in ("bidPrice", "bidQty", "askPrice", "askQty")] == [
        *(61602.01, 1.67177),
        *(61602.02, 2.66795),
    ]


@pytest.mark.parametrize(
    ("pattern", "begin_ms", "symbols"),
    [
        ("*2021-04-04*", APRIL + 350, ("BTCUSDT", "ETHUSDT", "DOTUSDT")),
        ("*2021-10-12*", OCTOBER + 14_000, ("NKNUSDT", "BLZETH", "LRCBTC", "RUNEEUR")),
    ],
)
async def test_several_symbols_each_from_its_snapshot_and_from_one_that_is_taken_later(
    tmp_path: Path, pattern: str, begin_ms: int, symbols: Sequence[str]
) -> None:
    names = {symbol: f"{symbol.lower()}@depth@100ms" for symbol in symbols}
    async with peer(ExchangeConfig(replay=copied(tmp_path, pattern)), begin_ms) as exchange:
        first = {symbol: await snapshot(exchange, symbol, 1_000) for symbol in symbols}
        async with socket(exchange, f"/stream?streams={'/'.join(names.values())}") as client:
            messages = await client.sent(20_000)
            second = {symbol: await snapshot(exchange, symbol) for symbol in symbols}
            messages += await client.sent(DAY // 2)
        for symbol, name in names.items():
            diffs = of_stream(messages, name)
            assert chained(diffs)
            books = [PlainBook(taken[symbol]) for taken in (first, second)]
            for book in books:
                for diff in diffs:
                    book.apply(diff)
            known = await oracle(exchange, symbol, u=diffs[-1]["u"])
            assert books[0].sides() == books[1].sides() == (known["bids"], known["asks"])
            assert second[symbol]["lastUpdateId"] > first[symbol]["lastUpdateId"]


async def test_files_of_snapshots_and_of_diffs_years_apart() -> None:
    folder = market_data("depth-snapshot-and-diffs")
    bests = {
        ("BTCUSDT", APRIL + 2 * MINUTE): (9893046554, 58005.11, 58005.12),
        ("BTCUSDT", AUGUST + 350): (50093239218, 61837.63, 61837.64),
        ("BTCUSDT", AUGUST + DAY): (50093421584, 61685.99, 61686.0),
        ("NKNUSDT", OCTOBER + DAY): (499870179, 0.3527, 0.3531),
    }
    async with peer(ExchangeConfig(replay=folder), APRIL + 10) as exchange:
        for (symbol, time_ms), expected in bests.items():
            exchange.clock.set(time_ms)
            found = await snapshot(exchange, symbol, 1)
            assert (found["lastUpdateId"], float(found["bids"][0][0]), float(found["asks"][0][0])) == expected
        assert "spot_BTCUSDT_snapshot-top10_2021-10-22.json" not in exchange.state.ignored


async def test_what_is_known_only_between_updates_or_not_at_all_is_refused(tmp_path: Path) -> None:
    replay = copied(tmp_path, "spot_BTCUSDT_depth*0000.gz")
    async with peer(ExchangeConfig(replay=replay), AUGUST + MINUTE) as exchange:
        before = await oracle(exchange, "BTCUSDT", time=AUGUST + 10_000)
        now = await oracle(exchange, "BTCUSDT", limit=1)
        assert await oracle(exchange, "BTCUSDT", u=before["lastUpdateId"]) == before
        assert before["bids"][0] != now["bids"][0]
        for update_id in (now["lastUpdateId"] - 1, 50093239202, 1):
            answer = await exchange.get("/oracle/depth", symbol="BTCUSDT", u=update_id)
            assert (answer.status, answer.json["code"]) == (400, -1130)
        assert (await oracle(exchange, "BTCUSDT", u=50093239218))["lastUpdateId"] == 50093239218


async def test_a_recording_without_a_snapshot_has_diffs_and_no_book(tmp_path: Path) -> None:
    replay = copied(tmp_path, "spot_BTCUSDT_depth*0005.gz")
    async with peer(ExchangeConfig(replay=replay), ms("2024-08-09T00:00:01")) as exchange:
        assert len(await sent(exchange, ["btcusdt@depth@100ms"], MINUTE)) > 500
        assert await snapshot(exchange, "BTCUSDT") == {"lastUpdateId": 0, "bids": [], "asks": []}
        assert (await exchange.get("/oracle/depth", symbol="BTCUSDT")).status == 400


async def test_a_book_is_not_built_over_a_hole_in_the_diffs(tmp_path: Path) -> None:
    folder = market_data("depth-snapshot-and-diffs")
    for file in folder.glob("spot_NKNUSDT*"):
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        (tmp_path / file.name).write_text("".join(lines[:50] + lines[51:]), encoding="utf-8")
    async with peer(ExchangeConfig(replay=tmp_path), OCTOBER + 5_000) as exchange:
        assert (await snapshot(exchange, "NKNUSDT"))["bids"]
        exchange.clock.advance(MINUTE)
        assert (await snapshot(exchange, "NKNUSDT"))["bids"] == []


async def test_a_file_with_a_snapshot_inside_of_something_else_is_ignored(tmp_path: Path) -> None:
    replay = copied(tmp_path, "spot_BTCUSDT_depth*0000.gz")
    (replay / "BTCUSDT_answer.json").write_text('{"body":{"lastUpdateId":1,"bids":[],"asks":[]}}')
    async with peer(ExchangeConfig(replay=replay), AUGUST + 350) as exchange:
        assert exchange.state.ignored.keys() == {"BTCUSDT_answer.json"}
        assert (await snapshot(exchange, "BTCUSDT", 5))["lastUpdateId"] == 50093239218


async def test_a_file_that_is_no_snapshot_is_named(tmp_path: Path) -> None:
    replay = copied(tmp_path, "spot_BTCUSDT_depth*0000.gz")
    (replay / "BTCUSDT_snapshot.json").write_text('{"lastUpdateId":1,"bids":[["1"]],"asks":[]}')
    with pytest.raises(PermanentError, match=r"BTCUSDT_snapshot\.json: no snapshot of an order book: "):
        async with peer(ExchangeConfig(replay=replay)):
            pass
