"""Each fault of order books does what its line in `FAULTS` says, and the faults of streams and REST strike them too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from streamforge.exchange.book_faults import BOOK_FAULTS
from streamforge.exchange.config import ExchangeConfig
from tests.exchange.books import PlainBook, chained, oracle, snapshot
from tests.exchange.conftest import NOW, Peer, peer
from tests.exchange.sockets import Json, socket

DIFFS = "/ws/btcusdt@depth@100ms"
TICKERS = "/ws/btcusdt@bookTicker"
STRUCK = 3


def faulty(*faults: str) -> ExchangeConfig:
    return ExchangeConfig(faults=faults)


async def sent(path: str, *faults: str) -> list[Json]:
    """What comes in ten seconds; each fault strikes once."""
    async with peer(faulty(*faults)) as exchange, socket(exchange, path) as client:
        found = await client.sent(10_000)
        assert [one.fault for one in exchange.state.faults.strikes] == list(faults)
        return found


async def both(fault: str, path: str = DIFFS) -> tuple[list[Json], list[Json]]:
    """What comes without the fault, and with it in the fourth event."""
    separator = "," if ":" in fault else ":"
    return await sent(path), await sent(path, f"{fault}{separator}after={STRUCK},count=1")


def others(events: Sequence[Json], *changed: int) -> list[Json]:
    return [one for place, one in enumerate(events) if place not in changed]


async def kept(diffs: Sequence[Json]) -> bool:
    """Whether a plain book that takes `diffs` is the oracle's in the end. Raises ValueError where one does not join."""
    async with peer() as exchange:
        book = PlainBook(await snapshot(exchange, "BTCUSDT"))
        for diff in diffs:
            book.apply(diff)
        exchange.clock.advance(10_000)
        whole = await oracle(exchange, "BTCUSDT", u=book.last)
        return (whole["bids"], whole["asks"]) == book.sides()


async def test_a_diff_that_is_never_sent_leaves_a_gap() -> None:
    right, wrong = await both("stream-missing:stream=*@depth*")
    assert wrong == others(right, STRUCK)
    assert chained(right)
    with pytest.raises(ValueError, match="does not follow"):
        await kept(wrong)
    assert await kept(right)


async def test_a_diff_that_comes_twice_changes_nothing() -> None:
    right, wrong = await both("stream-duplicate:stream=*@depth*")
    assert wrong == [*right[: STRUCK + 1], *right[STRUCK:]]
    assert await kept(wrong)


async def test_a_diff_begins_where_the_one_before_it_began_and_has_both() -> None:
    right, wrong = await both("depth-overlap")
    first, joined = right[STRUCK], wrong[STRUCK + 1]
    assert others(wrong, STRUCK + 1) == others(right, STRUCK + 1)
    assert joined["U"] == first["U"] < right[STRUCK + 1]["U"]
    for side in "ba":
        latest = dict([*first[side], *right[STRUCK + 1][side]])
        assert dict(joined[side]) == latest
        assert len(joined[side]) == len(latest)
    assert await kept(wrong)
    assert await kept(others(wrong, STRUCK)), "it has what the one before it had"


@pytest.mark.parametrize(
    ("kind", "moved"), [("back", (-100, 0)), ("jump", (100, 0)), ("older", (-100, -100)), ("newer", (100, 100))]
)
async def test_the_ids_of_a_diff_are_wrong(kind: str, moved: tuple[int, int]) -> None:
    right, wrong = await both(f"depth-ids:kind={kind},ids=100")
    struck = right[STRUCK]
    assert others(wrong, STRUCK) == others(right, STRUCK)
    assert wrong[STRUCK] == struck | {"U": struck["U"] + moved[0], "u": struck["u"] + moved[1]}
    if kind == "back":
        assert await kept(wrong)
    else:
        with pytest.raises(ValueError, match="does not follow"):
            await kept(wrong)


async def test_a_diff_crosses_the_book() -> None:
    right, wrong = await both("depth-crossed")
    extra, *bids = wrong[STRUCK]["b"]
    assert wrong[STRUCK] | {"b": bids} == right[STRUCK]
    assert others(wrong, STRUCK) == others(right, STRUCK)
    async with peer() as exchange:
        book = PlainBook(await snapshot(exchange, "BTCUSDT"))
    for diff in wrong[: STRUCK + 1]:
        book.apply(diff)
    (best_bid,), (best_ask,) = book.sides(1)
    assert best_bid == extra
    assert float(best_bid[0]) >= float(best_ask[0])
    assert not await kept(wrong)


@pytest.mark.parametrize(
    ("kind", "quantity"),
    [("negative", "-1.00000000"), ("nan", "NaN"), ("infinite", "Infinity"), ("text", "n/a"), ("null", None)],
)
async def test_a_quantity_is_none(kind: str, quantity: str | None) -> None:
    right, wrong = await both(f"depth-quantity:kind={kind}")
    (price, _), *bids = right[STRUCK]["b"]
    assert wrong[STRUCK] == right[STRUCK] | {"b": [[price, quantity], *bids]}
    assert others(wrong, STRUCK) == others(right, STRUCK)


@pytest.mark.parametrize(("kind", "name"), [("quantity", "B"), ("price", "b")])
async def test_a_ticker_differs_from_the_book(kind: str, name: str) -> None:
    right, wrong = await both(f"ticker-differs:kind={kind}", TICKERS)
    assert wrong[STRUCK] == right[STRUCK] | {name: wrong[STRUCK][name]}
    assert float(wrong[STRUCK][name]) == pytest.approx(0.75 * float(right[STRUCK][name]))
    assert others(wrong, STRUCK) == others(right, STRUCK)


async def test_faults_of_books_strike_nothing_else() -> None:
    path = "/stream?streams=btcusdt@trade/btcusdt@depth5@100ms/btcusdt@kline_1m"
    async with peer(faulty(*BOOK_FAULTS)) as exchange, socket(exchange, path) as client:
        assert len(await client.sent(10_000)) > 100
        assert (await exchange.get("/api/v3/ticker/bookTicker", symbol="BTCUSDT")).status == 200
        assert not exchange.state.faults.strikes


async def test_faults_select_symbols_and_streams() -> None:
    path = "/stream?streams=btcusdt@depth@100ms/ethusdt@depth@100ms"
    async with peer(faulty("stream-missing:symbol=ETHUSDT")) as exchange, socket(exchange, path) as client:
        assert {one["stream"] for one in await client.sent(10_000)} == {"btcusdt@depth@100ms"}
    async with peer(faulty("depth-ids:stream=eth*,kind=newer")) as exchange, socket(exchange, path) as client:
        messages = await client.sent(10_000)
        last = {symbol: (await oracle(exchange, symbol))["lastUpdateId"] for symbol in ("BTCUSDT", "ETHUSDT")}
    latest = {one["data"]["s"]: one["data"]["u"] for one in messages}
    assert latest["BTCUSDT"] <= last["BTCUSDT"]
    assert latest["ETHUSDT"] > last["ETHUSDT"]


Change = Callable[[Json, Json, Json], Json]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("snapshot-old:seconds=20", lambda _now, before, _cached: before),
        ("snapshot-cached:seconds=30", lambda _now, _before, cached: cached),
        ("snapshot-few:levels=100", lambda now, _before, _cached: few(now, 100)),
        ("snapshot-few:levels=100000", lambda now, _before, _cached: now),
        ("snapshot-crossed", lambda now, _before, _cached: crossed(now)),
    ],
)
async def test_a_snapshot_is_not_what_it_should_be(fault: str, expected: Change) -> None:
    async with peer(faulty(f"{fault},count=1" if ":" in fault else f"{fault}:count=1")) as exchange:
        wrong = await snapshot(exchange, "BTCUSDT")
        right = await snapshot(exchange, "BTCUSDT")
        at = [await book_at(exchange, time_ms) for time_ms in (NOW, NOW - 20_000, NOW // 30_000 * 30_000)]
    assert right == at[0]
    assert wrong == expected(at[0], at[1], at[2])


async def book_at(exchange: Peer, time_ms: int) -> Json:
    found = await oracle(exchange, "BTCUSDT", time=time_ms)
    return {name: found[name] for name in ("lastUpdateId", "bids", "asks")}


def few(book: Json, levels: int) -> Json:
    return book | {"bids": book["bids"][:levels], "asks": book["asks"][:levels]}


def crossed(book: Json) -> Json:
    return book | {"bids": [[book["asks"][0][0], book["bids"][0][1]], *book["bids"][1:]]}


async def test_a_cached_snapshot_is_the_same_for_its_time_and_then_another() -> None:
    async with peer(faulty("snapshot-cached:seconds=30"), NOW // 30_000 * 30_000 + 1) as exchange:
        found = []
        for _ in range(3):
            found.append((await snapshot(exchange, "BTCUSDT", 5))["lastUpdateId"])
            exchange.clock.advance(16_000)
    assert found[0] == found[1] < found[2]


async def test_an_old_snapshot_ends_before_the_first_diff() -> None:
    async with peer(faulty("snapshot-old:seconds=30,count=1")) as exchange, socket(exchange, DIFFS) as client:
        first = (await client.sent(1_000))[0]
        assert (await snapshot(exchange, "BTCUSDT", 5))["lastUpdateId"] < first["U"] - 1
        assert (await snapshot(exchange, "BTCUSDT", 5))["lastUpdateId"] >= first["U"] - 1


@pytest.mark.parametrize(("fault", "status"), [("429", 429), ("418", 418), ("slow:ms=1", 200)])
async def test_faults_of_rest_strike_snapshots(fault: str, status: int) -> None:
    separator = "," if ":" in fault else ":"
    async with peer(faulty(f"{fault}{separator}path=depth,count=1")) as exchange:
        assert (await exchange.klines()).status == 200
        assert (await exchange.get("/api/v3/depth", symbol="BTCUSDT")).status == status
        assert [one.path for one in exchange.state.faults.strikes] == ["depth"]
