"""The best levels of stored books are those that the exchange had, and nothing is told where the ledger doubts them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from streamforge.exchange.config import ExchangeConfig
from streamforge.workers import loader_ws_orderbook
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.model.books.trust import Trust
from tests.doubles.market import text
from tests.doubles.stored_books import StoredBooks, at_ms
from tests.exchange.books import of_stream, oracle, refusal, snapshot
from tests.exchange.conftest import Peer, peer
from tests.exchange.sockets import Json, socket
from tests.exchange.stored import load_of
from tests.workers.test_orderbook import BookRig

TICKER, DEPTH = "btcusdt@bookTicker", "btcusdt@depth"
NAMES = ("bidPrice", "bidQty", "askPrice", "askQty")
NONE = {"symbol": "BTCUSDT", **dict.fromkeys(NAMES, "0.00000000")}
WIDTH, COUNT = 5, 1500
"""Updates of a stored diff, and of the market."""


async def heard(exchange: Peer, until_ms: int, *names: str) -> dict[str, list[Json]]:
    """What comes on each stream until a moment."""
    async with socket(exchange, f"/stream?streams={'/'.join(names)}") as client:
        sent = await client.sent(until_ms - exchange.clock.now_ms())
    return {name: of_stream(sent, name) for name in names}


def levels_of(event: Json) -> list[list[list[float]]]:
    return [[[float(one) for one in level] for level in event[side]] for side in ("bids", "asks")]


async def test_the_best_levels_of_recorded_books_are_those_of_the_exchange_of_the_same_update(tmp_path: Path) -> None:
    streams = {f"{DEPTH}5@100ms": (5, 100), f"{DEPTH}10": (10, 1_000), f"{DEPTH}20@100ms": (20, 100)}
    async with peer() as exchange:
        rig = BookRig(tmp_path, exchange.exchange)
        await rig.prepare()
        async with rig.working(loader_ws_orderbook.DEFINITION):
            await rig.verified(exchange)
            await rig.passed(exchange, 20_000)
        await rig.sink()
        begin_ms = (await rig.documents("depth_checkpoint"))[0].timestamp
        stored = [one for one in await rig.diffs() if one.time_ms >= begin_ms]
        async with peer(ExchangeConfig(replay=tmp_path), begin_ms, load_of(tmp_path)) as replay:
            found = await heard(replay, stored[-1].time_ms, TICKER, *streams)
        tops = {one.last_id: await oracle(exchange, "BTCUSDT", u=one.last_id, limit=20) for one in stored}
        best = {u: [top["bids"][0], top["asks"][0]] for u, top in tops.items()}
        ids = list(best)
        changed = [after for before, after in pairwise(ids) if best[before] != best[after]]
        assert len(changed) > 100
        assert [one["u"] for one in found[TICKER]] == changed
        for one in found[TICKER]:
            assert [[one["b"], one["B"]], [one["a"], one["A"]]] == best[one["u"]]
            assert one.keys() == {"u", "s", "b", "B", "a", "A"}
        for name, (levels, step_ms) in streams.items():
            steps = range(begin_ms // step_ms * step_ms + step_ms, stored[-1].time_ms + 1, step_ms)
            last_ids = [max(one.last_id for one in stored if one.time_ms <= time_ms) for time_ms in steps]
            assert [one["lastUpdateId"] for one in found[name]] == last_ids
            for one in found[name]:
                assert levels_of(one) == [side[:levels] for side in levels_of(tops[one["lastUpdateId"]])]
    await rig.close()


WHY = {
    250: "suspect: awaiting snapshot",
    410: "unverifiable: awaiting snapshot",
    510: "not known: disconnect",
    530: "not known: disconnect",
    750: "not known: what came behind it is not stored yet",
}
"""Of some moments at which it is not."""


def shown(number: int) -> bool:
    """Whether the books of `doubtful` are known to be those of the exchange at the moment of an update."""
    return number < 205 or 320 <= number < 405 or number in range(430, 501) or 550 <= number <= 700


async def doubtful(folder: Path) -> StoredBooks:
    """Books that are suspect, then unverifiable, then lost, then without a part of their segments."""
    books = StoredBooks(EmbeddedStore(folder / "store"), folder / "objects", COUNT)
    await books.segment(1, 500)
    await books.segment(521, 700)
    for first_id, last_id, trust in ((1, 200, "verified"), (201, 300, "suspect"), (301, 400, "verified")):
        await books.entry(first_id, last_id, trust=Trust(trust))
    await books.entry(401, 420, trust=Trust.UNVERIFIABLE)
    await books.entry(421, 500, cause="disconnect")
    await books.entry(521, 800)
    for last_id in (10, 320, 430, 550):
        await books.checkpoint(last_id, limit=999)  # with all levels
    return books


def best(books: StoredBooks, last_id: int) -> Json:
    """The event about the best levels after an update; 0: a side has none."""
    bids, asks = books.market.book(last_id)
    bid, ask = max(bids, default=0), min(asks, default=0)
    amounts = {"b": bid, "B": bids.get(bid, 0), "a": ask, "A": asks.get(ask, 0)}
    return {"u": last_id, "s": "BTCUSDT", **{name: text(amount) for name, amount in amounts.items()}}


def tickers(books: StoredBooks, ids: Iterable[int]) -> list[Json]:
    """What is to be told of the best levels after diffs."""
    found: list[Json] = []
    before: Json | None = None
    for last_id in ids:
        event = best(books, last_id) if shown(last_id) else None
        if event is not None and (before is None or before | {"u": last_id} != event):
            found.append(event)
        before = event
    return found


async def test_nothing_but_why_is_told_of_books_that_are_not_verified_or_not_known(tmp_path: Path) -> None:
    books = await doubtful(tmp_path)
    async with peer(ExchangeConfig(replay=tmp_path), at_ms(100), load_of(tmp_path)) as exchange:
        found = await heard(exchange, at_ms(900), TICKER, f"{DEPTH}5@100ms", f"{DEPTH}@100ms", f"{DEPTH}7")
        ids = [one["u"] for one in found[f"{DEPTH}@100ms"]]
        assert found[TICKER] == tickers(books, [100, *ids])[1:]
        assert {one["u"] // 100 for one in found[TICKER]} == {1, 2, 3, 4, 5, 6, 7}
        numbers = [one for one in range(101, 901) if shown(one)]
        assert [one["lastUpdateId"] for one in found[f"{DEPTH}5@100ms"]] == [one // WIDTH * WIDTH for one in numbers]
        for one in found[f"{DEPTH}5@100ms"]:
            sides = zip(books.market.book(one["lastUpdateId"]), (True, False), strict=True)
            assert levels_of(one) == [
                [[price, side[price]] for price in sorted(side, reverse=reverse)][:5] for side, reverse in sides
            ]
        assert found[f"{DEPTH}7"] == []
        exchange.clock.set(at_ms(612))
        later = await heard(exchange, at_ms(900), TICKER)
        assert later[TICKER] == [one for one in found[TICKER] if one["u"] > 612]
        for number in (*WHY, 100, 350, 460, 600):
            exchange.clock.set(at_ms(number))
            told = (await exchange.get("/api/v3/ticker/bookTicker", symbol="BTCUSDT")).json
            event = best(books, number)
            prices = {name: event[member] for name, member in zip(NAMES, "bBaA", strict=True)}
            assert told == ({**NONE, **prices} if shown(number) else NONE)
            if (why := WHY.get(number)) is not None:
                assert (await refusal(exchange, "BTCUSDT")).endswith(f"is not verified ({why}).")
                continue
            taken = await snapshot(exchange, "BTCUSDT", 5)
            assert (taken["lastUpdateId"], *taken["bids"][:1], *taken["asks"][:1]) == (
                number,
                [event["b"], event["B"]],
                [event["a"], event["A"]],
            )


async def test_no_level_is_left_out_that_is_not_known(tmp_path: Path) -> None:
    books = StoredBooks(EmbeddedStore(tmp_path / "store"), tmp_path / "objects", COUNT)
    last_id = next(one for one in range(100, COUNT, WIDTH) if min(map(len, books.market.book(one))) >= 8)
    await books.checkpoint(last_id, limit=7)
    await books.segment(last_id - WIDTH + 1, last_id + 20)
    await books.entry(1, last_id + 20)
    async with peer(ExchangeConfig(replay=tmp_path), at_ms(last_id - 1), load_of(tmp_path)) as exchange:
        assert "no whole order book of BTCUSDT is stored" in await refusal(exchange, "BTCUSDT")
        found = await heard(exchange, at_ms(last_id + 4), *(f"{DEPTH}{levels}@100ms" for levels in (5, 10, 20)))
    assert [len(one) for one in found.values()] == [5, 0, 0]
