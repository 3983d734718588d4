"""Order books by loader-ws-orderbook and arango-orderbook: on the test exchange, and from recorded sessions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge.workers import arango_orderbook, loader_ws_orderbook
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.books.book_messages import BookTicker, DepthDiff, read_message, read_snapshot
from streamforge_utils.model.books.book_reconstruction import PastBook
from streamforge_utils.model.books.records import StoredDepthInterval, kind_name_of
from streamforge_utils.model.books.segments import CONTENT, MANIFEST, decode_manifest, first_id_of, segment_prefix
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.model.messages import EOS_KEY, Live
from streamforge_utils.model.series import Series
from streamforge_utils.ports.exchange import Rank
from streamforge_utils.runtime.life.worker_process import load_worker
from streamforge_utils.runtime.sink.past_books import NoBook, PastBooks
from tests.doubles.candles import FixedExchange
from tests.doubles.stored_books import diffs_of
from tests.doubles.stream import ScriptedStream
from tests.exchange.books import oracle
from tests.exchange.conftest import MINUTE, NOW, Peer, peer
from tests.limits import LIMIT_S
from tests.model.books.test_recorded_books import FOUR, FOUR_SNAPSHOTS, MIDNIGHT, lines
from tests.runtime.rig import COLLECTION, TOPIC, markers, words
from tests.workers.live import LiveRig


class BookRig(LiveRig):
    """The two workers, one after the other."""

    def __init__(self, folder: Path, exchange: Any) -> None:
        super().__init__(folder, exchange, "ws_orderbook")
        self.objects = ObjectFolder(folder / "objects")
        self.environment |= {"STREAMFORGE_TOP_SECONDS": "1", "STREAMFORGE_CHECKPOINT_SECONDS": "5"}
        self.environment["STREAMFORGE_HEARTBEAT_SECONDS"] = "0.2"

    async def positions(self) -> list[int]:
        """The last ids of the diffs on the topic."""
        keys = [one.key or b"" for one in await self.read(TOPIC) if one.key != EOS_KEY]
        return [self.kind.position_of(key.decode()) or 0 for key in keys if kind_name_of(key) == "depth"]

    async def passed(self, exchange: Peer, span_ms: int) -> Live:
        """So much time has passed at the exchange, and what its stream gave then is written."""
        exchange.clock.advance(span_ms)
        now_ms = exchange.clock.now_ms()
        return await self.until_told(lambda live: (live.last_time or 0) >= now_ms - 100)

    async def verified(self, exchange: Peer) -> None:
        """Time passes until the book is verified: a snapshot came, and the stream reached it."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                exchange.clock.advance(500)
                await asyncio.sleep(0.2)
                live = await self.told()
                if (
                    live is not None
                    and live.trust == "verified"
                    and (live.last_time or 0) >= exchange.clock.now_ms() - 600
                ):
                    return

    async def sink(self, attempt: int = 1) -> None:
        """Store what is on the topic, to its marker."""
        self.environment["STREAMFORGE_UPSTREAM"] = f"loader-ws-orderbook__abc123:{attempt}"
        code = await self.live(arango_orderbook.DEFINITION)
        assert code == 0, self.logs.getvalue()[-3000:]

    async def documents(self, kind_name: str, symbol: str = "BTCUSDT") -> list[Any]:
        """What is stored of a kind."""
        kind, series = kind_named(kind_name), Series(symbol, kind_name)
        first, last = kind.key_range(series, range(10**kind.digits - 1))
        found = await self.stored.read(COLLECTION, first=first, last=last, limit=100_000)
        return [msgspec.json.decode(one.body, type=kind.stored) for one in found]

    async def diffs(self, symbol: str = "BTCUSDT") -> list[DepthDiff]:
        """What the segments have, in their order; each is as its manifest says."""
        found: list[DepthDiff] = []
        async for one in self.objects.list(segment_prefix(symbol)):
            if one.name.endswith(MANIFEST):
                content = await self.content(one.name.removesuffix(MANIFEST) + CONTENT)
                manifest = decode_manifest(await self.content(one.name))
                of_segment = diffs_of(content, manifest)
                assert (manifest.count, manifest.closed) == (len(of_segment), True)
                assert manifest.first_u == min(diff.first_id for diff in of_segment) == first_id_of(one.name)
                assert manifest.last_u == max(diff.last_id for diff in of_segment)
                found += of_segment
        return found

    async def content(self, name: str) -> bytes:
        return b"".join([block async for block in self.objects.get(name)])

    def books(self, symbol: str = "BTCUSDT") -> PastBooks:
        return PastBooks(self.stored, self.objects, COLLECTION, symbol)


async def check(exchange: Peer, past: PastBook) -> None:
    """A book is that of the exchange, as far as it is known."""
    true = await oracle(exchange, "BTCUSDT", u=past.book.last_id)
    for told, side in zip(past.book.levels(), (true["bids"], true["asks"]), strict=True):
        assert [[float(one) for one in level] for level in told] == [
            [float(one) for one in level] for level in side[: len(told)]
        ]


@pytest.mark.e2e
async def test_books_of_the_test_exchange_are_stored_and_come_back_as_they_were(tmp_path: Path) -> None:
    async with peer() as exchange:
        rig = BookRig(tmp_path, exchange.exchange)
        await rig.prepare()
        async with rig.working(loader_ws_orderbook.DEFINITION):
            await rig.verified(exchange)
            live = await rig.passed(exchange, MINUTE)
            last = live.last_id or 0
            ids = await rig.until_written(last)
        assert live.suspect == 0
        assert live.agreed > 0
        assert [one.reason for one in await markers(rig)] == ["interrupted"]
        assert words(await rig.events()) == ["started", "interrupted"]
        await rig.sink()
        assert [one.last_id for one in await rig.diffs()] == ids
        assert await rig.documents("depth") == []
        assert len(await rig.documents("depth_top")) > 30
        assert len(await rig.documents("depth_checkpoint")) > 5
        ledger = await rig.documents("depth_interval")
        assert [one.cause for one in ledger if one.cause] == ["stopped"]
        assert ledger[-1].last_update_id == last
        for at_ms in range(NOW + 10_000, NOW + MINUTE, 7_777):
            past = await rig.books().at(at_ms)
            assert (past.verified, past.why) == (True, "")
            assert past.time_ms <= at_ms
            await check(exchange, past)
            true = await oracle(exchange, "BTCUSDT", time=past.time_ms)
            assert past.book.last_id == true["lastUpdateId"]
        with pytest.raises(NoBook, match="stopped"):
            await rig.books().at(NOW + 10 * MINUTE)
        with pytest.raises(NoBook):
            await rig.books().at(NOW - 1)
        await rig.close()


@pytest.mark.e2e
@pytest.mark.parametrize("fault", ["stream-missing:after=30,count=2", "stream-reset:after=30,count=1"])
async def test_under_faults_a_verified_book_is_the_exchanges(tmp_path: Path, fault: str) -> None:
    async with peer(ExchangeConfig(faults=(fault,))) as exchange:
        rig = BookRig(tmp_path, exchange.exchange)
        await rig.prepare()
        async with rig.working(loader_ws_orderbook.DEFINITION):
            await rig.verified(exchange)
            for _ in range(3):
                exchange.clock.advance(5_000)
                await rig.verified(exchange)
        assert exchange.state.faults.strikes
        await rig.sink()
        verified = 0
        for at_ms in range(NOW, exchange.clock.now_ms(), 1_911):
            try:
                past = await rig.books().at(at_ms)
            except NoBook:
                continue
            if past.verified:
                verified += 1
                await check(exchange, past)
                true = await oracle(exchange, "BTCUSDT", time=past.time_ms)
                assert past.book.last_id == true["lastUpdateId"]
        assert verified > 5
        await rig.close()


# Recorded sessions


class _Snapshots(FixedExchange):
    """Answers with recorded snapshots."""

    def __init__(self, bodies: dict[str, bytes]) -> None:
        self.bodies = bodies

    async def snapshot(self, series: Series, limit: int, *, rank: Rank = tuple) -> bytes:
        return self.bodies[series.symbol]


class RecordedRig(BookRig):
    """Plays recorded messages."""

    def __init__(self, folder: Path, symbol: str, bodies: dict[str, bytes]) -> None:
        super().__init__(folder, type("Nowhere", (), {"url": "http://127.0.0.1:9"}))
        self.environment |= {"SYMBOL": symbol, "STREAMFORGE_LIMIT": "1001"}
        self.environment |= {"STREAMFORGE_CHECKPOINT_SECONDS": "60", "STREAMFORGE_TOP_SECONDS": "10"}
        self.stream = ScriptedStream(self.clock)
        self.snapshots = _Snapshots(bodies)

    def make_exchange(self, settings: Any, **more: Any) -> Any:
        return self.snapshots

    def make_stream(self, settings: Any, exchange: Any, **more: Any) -> Any:
        return self.stream

    async def play(self, payloads: list[bytes], last: int) -> None:
        """Give the messages; the loader is stopped once the last diff is written."""
        async with self.working(loader_ws_orderbook.DEFINITION):
            diffs = (at for at, one in enumerate(payloads) if (said := read_message(one)) and self._follows(said))
            begun = next(diffs) + 1
            self.stream.live[0].give(*payloads[:begun])
            await self.until_told(lambda live: live.trust == "verified")
            for first in range(begun, len(payloads), 50):
                self.stream.live[0].give(*payloads[first : first + 50])
            await self.until_told(lambda live: live.last_id == last and live.trust == "verified")

    def _follows(self, message: DepthDiff | BookTicker) -> bool:
        """Whether it is the diff behind the snapshot."""
        symbol = self.environment["SYMBOL"]
        last_id = read_snapshot(self.snapshots.bodies[symbol], 5000).last_id
        return isinstance(message, DepthDiff) and message.symbol == symbol and message.last_id > last_id


def _tickers(payloads: list[bytes], symbol: str) -> dict[int, BookTicker]:
    found = (read_message(payload) for payload in payloads if b"@bookTicker" in payload)
    return {one.id: one for one in found if isinstance(one, BookTicker) and one.symbol == symbol}


@pytest.mark.parametrize(
    ("symbol", "names", "last", "tickers"),
    [
        pytest.param("BTCUSDT", MIDNIGHT, 50093696318, 1072, marks=pytest.mark.e2e),
        ("NKNUSDT", (FOUR, FOUR_SNAPSHOTS), 499870179, 19),
    ],
)
async def test_recorded_books_equal_the_best_prices_at_every_update(
    tmp_path: Path, symbol: str, names: tuple[str, ...], last: int, tickers: int
) -> None:
    recorded = [one for name in names for one in lines(name)]
    payloads = [body for _, of, body in recorded if not of]
    rig = RecordedRig(tmp_path, symbol, {of: body for _, of, body in recorded if of})
    await rig.prepare()
    await rig.play(payloads, last)
    await rig.sink()
    diffs = await rig.diffs(symbol)
    ledger: list[StoredDepthInterval] = await rig.documents("depth_interval", symbol)
    assert sum(one.messages for one in ledger) == len(diffs)
    best, compared = _tickers(payloads, symbol), 0
    verified = {one.last_id for one in diffs for i in ledger if i.trust == "verified" and _in(one, i)}
    for ticker in best.values():
        if ticker.id not in verified:
            continue
        compared += 1
        if compared % max(1, tickers // 20) == 0:
            time_ms = next(one.time_ms for one in diffs if one.last_id == ticker.id)
            past = await rig.books(symbol).at(time_ms)
            assert past.verified, past.why
            assert past.book.agrees(ticker)
    assert compared == tickers
    await rig.close()


def _in(diff: DepthDiff, interval: StoredDepthInterval) -> bool:
    return interval.first_update_id <= diff.last_id <= interval.last_update_id


def test_the_first_generations_environment_works(tmp_path: Path) -> None:
    environ = {
        "QUEUE_ID": "wf-btcusdt-ws_orderbook-20240801-abc123",
        "SYMBOL": "btcusdt",
        "TYPE": "ws_depth",
        "KAFKA_TOPIC": "t",
        "STREAMFORGE_DATA_DIR": str(tmp_path),
        "LIMIT": "5000",
    }
    settings, parameters = load_worker(loader_ws_orderbook.DEFINITION, environ)
    assert (settings.type, settings.symbol, parameters.limit) == ("ws_orderbook", "BTCUSDT", 5000)
