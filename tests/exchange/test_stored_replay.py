"""What is stored is served as if it were the exchange: rows of REST, streams, books; clients see no difference."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import msgspec
import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.exchange_server import serve
from streamforge.exchange.state import ExchangeClock
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.model.timeranges import format_ms
from streamforge_utils.ports.store import Document
from tests.doubles.market import START_MS
from tests.doubles.stored_books import StoredBooks, at_ms
from tests.exchange.books import chained, of_stream, oracle, refusal, snapshot
from tests.exchange.conftest import DAY, MINUTE, Peer, peer
from tests.exchange.sockets import Json, socket
from tests.exchange.stored import load_of
from tests.exchange.test_depth_clients import ccxt_of, within

STREAM = "btcusdt@depth@100ms"
COUNT = 1500


@pytest.fixture
async def stored(tmp_path: Path) -> StoredBooks:
    """Books in a data directory: diffs of five updates each, in segments that overlap, with a hole of ten seconds."""
    books = StoredBooks(EmbeddedStore(tmp_path / "store"), tmp_path / "objects", COUNT)
    await books.checkpoint(10)
    await books.segment(1, 400)
    await books.segment_of(books.diffs(384, 400, 8) + books.diffs(400, 700))
    await books.entry(1, 704, cause="disconnect")
    await books.segment(801, COUNT)
    await books.checkpoint(805)
    await books.entry(801, COUNT)
    return books


def check(stored: StoredBooks, update_id: int, bids: list[list[str]], asks: list[list[str]]) -> None:
    """The levels are the market's best ones after that update."""
    market = stored.market.book(update_id)
    for told, side, reverse in ((bids, market[0], True), (asks, market[1], False)):
        best = [[price, side[price]] for price in sorted(side, reverse=reverse)][: len(told)]
        assert [[float(one) for one in level] for level in told] == best


async def diffs(exchange: Peer, until_id: int, stream: str = STREAM) -> list[Json]:
    """The diffs that a connection gets up to a moment."""
    async with socket(exchange, f"/stream?streams={stream}") as client:
        return of_stream(await client.sent(at_ms(until_id) - exchange.clock.now_ms()), stream)


async def test_diffs_come_as_one_connection_has_them_from_any_moment(tmp_path: Path, stored: StoredBooks) -> None:
    config = ExchangeConfig(replay=tmp_path)
    async with peer(config, at_ms(300), load_of(tmp_path)) as exchange:
        found = await diffs(exchange, 704)
        assert chained(found)
        assert (found[0]["U"], found[0]["u"], found[-1]["u"]) == (301, 305, 704)
        assert [one["E"] for one in found] == [at_ms(one["u"]) for one in found]
        behind = await diffs(exchange, COUNT)
        assert (behind[0]["U"], behind[-1]["u"], chained(behind)) == (801, COUNT, True)
        exchange.clock.set(at_ms(600))
        seconds = await diffs(exchange, 1000, "btcusdt@depth")
        assert [(one["U"], one["u"]) for one in seconds][:3] == [(600, 609), (610, 619), (620, 629)]
        assert [(one["U"], one["u"]) for one in seconds][8:14] == [
            (680, 689),
            (690, 699),
            (700, 704),
            (801, 805),
            (806, 815),
            (816, 825),
        ]
        exchange.clock.set(at_ms(50))
        assert [one["u"] for one in await diffs(exchange, 75)] == [55, 60, 65, 70, 75]
        assert exchange.state.ignored == {}


async def test_rest_has_the_book_of_each_moment_and_none_in_a_hole(tmp_path: Path, stored: StoredBooks) -> None:
    async with peer(ExchangeConfig(replay=tmp_path), at_ms(12), load_of(tmp_path)) as exchange:
        for last_id in (10, 305, 699, 850, COUNT - 5):
            exchange.clock.set(at_ms(last_id) + 30)
            taken = await snapshot(exchange, "BTCUSDT", 10)
            assert taken["lastUpdateId"] == last_id
            check(stored, last_id, taken["bids"], taken["asks"])
            assert (await oracle(exchange, "BTCUSDT"))["lastUpdateId"] == last_id
        for last_id, why in (
            (5, "no whole order book of BTCUSDT is stored of 2024-08-09T00:00:00.500Z or before"),
            (750, "not known: disconnect"),
        ):
            exchange.clock.set(at_ms(last_id))
            told = f"order book of BTCUSDT at {format_ms(at_ms(last_id))} is not verified ({why})."
            assert (await refusal(exchange, "BTCUSDT")).endswith(told)


@pytest.mark.long
async def test_ccxt_keeps_the_book_that_was_stored(tmp_path: Path, stored: StoredBooks) -> None:
    config, clock = ExchangeConfig(replay=tmp_path), ExchangeClock(at_ms(820), speed=1)
    ids: list[int] = []
    async with await serve(config, clock, load_of(tmp_path)) as running, ccxt_of(running) as client:
        while len(ids) < 20:
            book = await within(client.watch_order_book("BTC/USDT"))
            ids.append(book["nonce"])
            check(stored, ids[-1], book["bids"][:20], book["asks"][:20])
    assert ids == sorted(set(ids))


async def test_a_side_that_is_not_known_to_its_end_is_given_as_far_as_a_limit_reaches(tmp_path: Path) -> None:
    books = StoredBooks(EmbeddedStore(tmp_path / "store"), tmp_path / "objects", COUNT)
    last_id = next(one for one in range(100, COUNT, 5) if min(map(len, books.market.book(one))) >= 8)
    await books.checkpoint(last_id, limit=7)
    await books.segment(last_id + 1, last_id + 100)
    await books.entry(1, last_id + 100)
    async with peer(ExchangeConfig(replay=tmp_path), at_ms(last_id) + 10, load_of(tmp_path)) as exchange:
        taken = await snapshot(exchange, "BTCUSDT", 100)
        assert (len(taken["bids"]), len(taken["asks"])) == (5, 5)
        assert len((await snapshot(exchange, "BTCUSDT", 6))["bids"]) == 6


async def test_a_folder_in_which_nothing_is_stored_and_a_record_that_is_none_are_named(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "store")
    with pytest.raises(PermanentError, match="no candles, trades or order books are stored there"):
        async with peer(ExchangeConfig(replay=tmp_path), load=load_of(tmp_path)):
            pass
    await store.upsert("others", [Document("k", 1, b'{"a":1}')])
    books = StoredBooks(store, tmp_path / "objects")
    await books.segment(1, 50)
    async with peer(ExchangeConfig(replay=tmp_path), at_ms(10), load_of(tmp_path)) as exchange:
        assert exchange.state.ignored == {"others": "no candles, trades or order books"}
        answer = msgspec.json.decode((await exchange.get("/api/v3/exchangeInfo")).body)
        assert [one["symbol"] for one in answer["symbols"]] == ["BTCUSDT"]


async def _store(store: EmbeddedStore, kind_name: str, records: list[Json], collection: str = "mine") -> None:
    kind = kind_named(kind_name)
    documents = [Document(*kind.document(None, msgspec.json.encode(one))) for one in records]
    await store.upsert(f"{collection}_{kind_name}", documents)


async def test_candles_and_trades_of_several_symbols_come_in_step_on_streams_and_are_there_by_rest(
    tmp_path: Path,
) -> None:
    store = EmbeddedStore(tmp_path / "store")
    trade = {"symbol": "ETHUSDT", "price": "61837.63000000", "quantity": "0.10000000", "is_buyer_maker": True}
    trades = [
        trade | {"_key": f"ETHUSDT_{one:012}", "_version": 1, "trade_id": one, "timestamp": START_MS + one * 20_000 + 1}
        for one in range(7)
    ]
    amounts = ("open", "high", "low", "close", "volume", "quote_asset_volume")
    takers = ("taker_buy_base_asset_volume", "taker_buy_quote_asset_volume")
    candles = [
        {
            "_key": f"BTCUSDT_1m_{open_ms}",
            "_version": 1,
            "symbol": "BTCUSDT",
            "interval": "1m",
            "open_time": open_ms,
            "close_time": open_ms + MINUTE - 1,
            "number_of_trades": 3,
            **dict.fromkeys((*amounts, *takers), "123456789.12345678"),
        }
        for open_ms in (START_MS, START_MS + MINUTE)
    ]
    await _store(store, "trades", trades)
    await _store(store, "candles", [one | {"close": "1.00000000", "_version": 0} for one in candles], "a_copy")
    await _store(store, "candles", candles)
    await _store(store, "candles", [one | {"close": "1.00000000", "_version": 0} for one in candles], "older")
    await store.close()
    text = "123456789.12345678"
    async with peer(ExchangeConfig(replay=tmp_path), START_MS - 1, load_of(tmp_path)) as exchange:
        async with socket(exchange, "/stream?streams=ethusdt@trade/btcusdt@kline_1m") as client:
            sent = await client.sent(2 * MINUTE + 2)
        assert [(one["stream"], one["data"].get("t")) for one in sent] == [
            *(("ethusdt@trade", one) for one in range(3)),
            ("btcusdt@kline_1m", None),
            *(("ethusdt@trade", one) for one in range(3, 6)),
            ("btcusdt@kline_1m", None),
            ("ethusdt@trade", 6),
        ]
        bar = next(one["data"]["k"] for one in sent if one["stream"] == "btcusdt@kline_1m")
        assert (bar["t"], bar["c"], bar["x"]) == (START_MS, text, True)
        rows = (await exchange.get("/api/v3/historicalTrades", symbol="ETHUSDT", fromId=5)).body
        row = {"price": "61837.63000000", "qty": "0.10000000", "quoteQty": "6183.76300000", "isBuyerMaker": True}
        assert msgspec.json.decode(rows) == [
            {"id": one, **row, "time": START_MS + one * 20_000 + 1, "isBestMatch": True} for one in (5, 6)
        ]
        assert (await exchange.klines(startTime=START_MS, limit=1)).rows == [
            [START_MS, *[text] * 5, START_MS + MINUTE - 1, text, 3, text, text, "0"]
        ]
        aggregates = (await exchange.get("/api/v3/aggTrades", symbol="ETHUSDT")).body
        assert [one["l"] for one in msgspec.json.decode(aggregates)] == list(range(7))
        exchange.clock.advance(2 * DAY)
        zipped = await exchange.get("/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-08-09.zip")
        with zipfile.ZipFile(io.BytesIO(zipped.body)) as archive:
            lines = archive.read(archive.namelist()[0]).splitlines()
        assert [line.split(b",")[:2] for line in lines] == [
            [str(open_ms).encode(), text.encode()] for open_ms in (START_MS, START_MS + MINUTE)
        ]


async def test_a_diff_of_a_second_tells_nothing_over_a_gap(tmp_path: Path) -> None:
    books = StoredBooks(EmbeddedStore(tmp_path / "store"), tmp_path / "objects")
    await books.segment_of(one for one in books.diffs(1, 20, 2) if b'"U":13' not in one)
    async with peer(ExchangeConfig(replay=tmp_path), at_ms(0), load_of(tmp_path)) as exchange:
        found = await diffs(exchange, 25, "btcusdt@depth")
    assert [(one["U"], one["u"]) for one in found] == [(1, 8), (9, 12), (15, 18), (19, 20)]
