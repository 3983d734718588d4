"""Each fault of the streams does what its line in `FAULTS` says, as often as it was asked to, and nothing else."""

from __future__ import annotations

import asyncio
import socket as network
from collections.abc import Sequence

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.faults import FAULTS
from streamforge.exchange.stream_frames import KINDS
from streamforge_utils.model.timeranges import TimeRange
from tests.exchange.conftest import MINUTE, NOW, Peer, peer
from tests.exchange.sockets import Json, socket
from tests.limits import LIMIT_S

TRADES = "/ws/btcusdt@trade"
BARS = "/ws/btcusdt@kline_1m"
OPEN = NOW - NOW % MINUTE


def faulty(*faults: str) -> ExchangeConfig:
    return ExchangeConfig(faults=faults)


async def plain(path: str, milliseconds: int = MINUTE) -> list[Json]:
    """What comes without faults."""
    async with peer() as exchange, socket(exchange, path) as client:
        return await client.sent(milliseconds)


async def spoilt(fault: str, path: str = TRADES, milliseconds: int = MINUTE) -> list[Json]:
    """What comes with a fault, which strikes once and is in the log."""
    async with peer(faulty(fault)) as exchange, socket(exchange, path) as client:
        found = await client.sent(milliseconds)
        assert [one.fault for one in exchange.state.faults.strikes] == [fault]
        return found


def ids(events: Sequence[Json]) -> list[int]:
    return [one["t"] for one in events]


@pytest.mark.parametrize(
    ("fault", "order"),
    [
        ("stream-missing:after=3,count=1", [0, 1, 2, 4, 5, 6, 7]),
        ("stream-duplicate:after=3,count=1", [0, 1, 2, 3, 3, 4, 5]),
        ("stream-disordered:after=3,count=1", [0, 1, 2, 4, 3, 5, 6]),
        ("stream-disordered:after=3,count=1,rows=3", [0, 1, 2, 4, 5, 6, 3]),
    ],
)
async def test_trades_are_missing_doubled_or_in_another_order(fault: str, order: list[int]) -> None:
    right, wrong = await plain(TRADES), await spoilt(fault)
    assert wrong[:7] == [right[place] for place in order]
    assert wrong[7:] == right[max(order) + 1 :]


async def test_an_event_comes_later() -> None:
    right, wrong = await plain(TRADES), await spoilt("stream-late:count=1,seconds=20")
    late_ms = right[0]["T"] + 20_000
    assert wrong == [
        *(one for one in right[1:] if one["T"] <= late_ms),
        right[0],
        *(one for one in right[1:] if one["T"] > late_ms),
    ]


async def test_an_event_that_nobody_knows_comes_before_another() -> None:
    right, wrong = await plain(TRADES), await spoilt("stream-unknown:after=1,count=1")
    assert wrong[1] == {"e": "somethingNew", "E": right[1]["E"], "s": "BTCUSDT"}
    assert wrong[:1] + wrong[2:] == right


async def test_a_fault_of_diffs_leaves_an_event_that_nobody_knows_alone() -> None:
    config = faulty("stream-unknown:count=1", "depth-quantity:count=1")
    async with peer(config) as exchange, socket(exchange, "/ws/bnbusdt@depth@100ms") as client:
        sent = await client.sent(10_000)
    assert [one["e"] for one in sent[:3]] == ["somethingNew", "depthUpdate", "depthUpdate"]
    assert next(level[1] for level in (*sent[1]["b"], *sent[1]["a"])) == "-1.00000000"


@pytest.mark.parametrize("unit", [1, 1000])
async def test_times_are_in_the_other_unit(unit: int) -> None:
    path = TRADES + ("" if unit == 1 else "?timeUnit=MICROSECOND")
    right, wrong = await plain(path), await spoilt("stream-unit:after=1,count=1", path)
    factor = 1000 if unit == 1 else 1 / 1000
    assert wrong[1] == right[1] | {"E": right[1]["E"] * factor, "T": right[1]["T"] * factor}
    assert wrong[:1] + wrong[2:] == right[:1] + right[2:]


async def test_a_stream_is_silent_for_a_time_and_others_are_not() -> None:
    path = "/stream?streams=btcusdt@trade/ethusdt@trade"
    right = await plain(path, 3 * MINUTE)
    wrong = await spoilt("stream-silence:stream=btcusdt@trade,after=5,count=1,seconds=60", path, 3 * MINUTE)
    struck = [one for one in right if one["stream"] == "btcusdt@trade"][5:]
    gone = [one for one in struck if one["data"]["T"] < struck[0]["data"]["T"] + MINUTE]
    assert len(gone) > 10
    assert wrong == [one for one in right if one not in gone]


async def test_a_stream_is_silent_for_ever_on_the_connection_that_was_struck() -> None:
    async with peer(faulty("stream-silence:after=5,count=1")) as exchange, socket(exchange, TRADES) as client:
        assert len(await client.sent(60 * MINUTE)) == 5
        async with socket(exchange, TRADES) as other:
            assert len(await other.sent(MINUTE)) > 10


@pytest.mark.parametrize(("pings", "expected"), [(1, 9), (0, 6)])
async def test_a_connection_is_silent_with_or_without_pings(pings: int, expected: int) -> None:
    fault = f"stream-stall:stream=btcusdt@trade,count=1,seconds=60,pings={pings}"
    async with peer(faulty(fault)) as exchange, socket(exchange, f"{TRADES}/ethusdt@trade") as client:
        sent = await client.sent(3 * MINUTE)
        assert exchange.state.faults.active[0].struck == 1
        assert len(client.pings) == expected
    right = await plain(f"{TRADES}/ethusdt@trade", 3 * MINUTE)
    struck = next(one["T"] for one in right if one["s"] == "BTCUSDT")
    assert [one for one in sent if struck < one["T"] < struck + MINUTE] == []
    assert [one for one in sent if one["T"] >= struck + MINUTE] == [one for one in right if one["T"] >= struck + MINUTE]


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        ("stream-reset", (1006, "")),
        ("stream-close:code=1012", (1012, "fault")),
        ("stream-old", (1008, "24 hours")),
        ("stream-shutdown:seconds=1", (1001, "shutdown")),
    ],
)
@pytest.mark.parametrize("everyone", [0, 1])
async def test_a_connection_ends_in_the_middle_of_what_it_sends(
    fault: str, ending: tuple[int, str], everyone: int
) -> None:
    options = f"stream=btcusdt@trade,after=7,count=1,all={everyone}"
    text = fault + ("," if ":" in fault else ":") + options
    async with peer(faulty(text)) as exchange, socket(exchange, TRADES) as one, socket(exchange, "/ws") as other:
        exchange.clock.advance(MINUTE)
        assert await one.closed() == ending
        if everyone:
            assert await other.closed() == ending
        else:
            assert await other.sent(MINUTE) == []
        assert exchange.state.streams.sent["btcusdt@trade"] == (8 if "shutdown" in fault else 7)


async def test_a_shutdown_without_notice_is_announced_in_the_same_moment() -> None:
    right = await plain(TRADES)
    async with peer(faulty("stream-shutdown:after=2,count=1")) as exchange, socket(exchange, TRADES) as client:
        exchange.clock.advance(MINUTE)
        before = [one for one in right if one["T"] <= right[2]["T"]]
        assert [await client.next() for _ in before] == before
        assert await client.next() == {"e": "serverShutdown", "E": right[2]["T"]}
        assert await client.closed() == (1001, "shutdown")


@pytest.mark.parametrize(
    ("kind", "code"),
    [("utf8", 1007), ("masked", 1002), ("cut", None), ("fragment", 1002), ("reserved", 1002), ("length", 1009)],
)
async def test_a_frame_is_wrong(kind: str, code: int | None) -> None:
    fault = f"stream-frame:kind={kind},after=3,count=1"
    async with peer(faulty(fault)) as exchange, socket(exchange, TRADES) as client:
        exchange.clock.advance(MINUTE)
        assert [await client.next() for _ in range(3)] == (await plain(TRADES))[:3]
        with pytest.raises(ConnectionClosed) as ended:
            await client.text()
        assert (ended.value.sent and ended.value.sent.code) == code


async def test_json_ends_in_its_middle() -> None:
    async with peer(faulty("stream-frame:kind=json,count=1")) as exchange, socket(exchange, TRADES) as client:
        exchange.clock.advance(MINUTE)
        with pytest.raises(msgspec.DecodeError, match="truncated"):
            await client.next()
        assert (await client.next())["e"] == "trade"


async def test_a_message_in_two_frames_is_whole() -> None:
    assert await spoilt("stream-frame:kind=fragments,after=1,count=1") == await plain(TRADES)


def test_each_kind_of_wrong_frame_is_tested() -> None:
    assert set(KINDS) == {"json", "utf8", "masked", "cut", "fragment", "fragments", "reserved", "length"}


async def test_that_a_bar_is_over_is_never_told() -> None:
    right = await plain(BARS, 3 * MINUTE)
    wrong = await spoilt("stream-open-bar:after=1,count=1", BARS, 3 * MINUTE)
    assert wrong == [one for one in right if not (one["k"]["x"] and one["k"]["t"] == OPEN + MINUTE)]


async def test_a_bar_is_corrected_after_its_end() -> None:
    fault = "stream-corrected-bar:count=1,seconds=5"
    async with peer(faulty(fault)) as exchange, socket(exchange, BARS) as client:
        sent = [one["k"] for one in await client.sent(MINUTE) if one["k"]["t"] == OPEN]
        ((_, o, h, low, c, v, *_),) = await exchange.oracle(TimeRange(OPEN, OPEN + MINUTE))
    first, second = (one for one in sent if one["x"])
    assert [second[name] for name in "ohlcv"] == [o, h, low, c, v]
    assert first != second
    assert first == second | {"c": first["c"], "n": second["n"] - 1}
    assert first["c"] in (h, low)


async def test_bars_come_late_and_trades_do_not() -> None:
    path = "/ws/btcusdt@kline_1m/btcusdt@trade"
    right = await plain(path, 2 * MINUTE)
    async with peer(faulty("stream-late:stream=*@kline_*,seconds=30")) as exchange, socket(exchange, path) as client:
        wrong = await client.sent(2 * MINUTE)
        exchange.state.faults.active = []
    bars = [one for one in right if one["e"] == "kline"]
    assert [one for one in wrong if one["e"] == "trade"] == [one for one in right if one["e"] == "trade"]
    assert [one for one in wrong if one["e"] == "kline"] == [
        one for one in bars if one["E"] + 30_000 <= NOW + 2 * MINUTE
    ]


async def test_a_connection_is_refused_as_often_as_was_asked() -> None:
    async with peer(faulty("stream-refused:count=2", "stream-refused:symbol=ETHUSDT,status=503")) as exchange:
        for path, status in ((TRADES, 429), ("/ws", 429), ("/ws/ethusdt@trade", 503)):
            with pytest.raises(InvalidStatus) as refused:
                async with socket(exchange, path):
                    pass
            assert refused.value.response.status_code == status
        async with socket(exchange, TRADES) as client:
            assert len(await client.sent(MINUTE)) > 10
        assert exchange.state.streams.refused == 3


async def test_a_client_that_takes_nothing_is_cut_by_a_fault_alone() -> None:
    names = "/".join(
        f"{symbol}usdt@{word}" for symbol in ("btc", "eth", "bnb", "sol") for word in ("trade", "aggTrade")
    )
    config = ExchangeConfig(trades_a_minute=20_000, faults=("stream-slow:seconds=0.05",))
    async with peer(config) as exchange:
        link = network.socket()
        link.setsockopt(network.SOL_SOCKET, network.SO_RCVBUF, 4_096)  # so that the kernel does not take it all
        link.connect(("127.0.0.1", exchange.exchange.port))
        async with socket(exchange, f"/ws/{names}", max_queue=1, sock=link) as client:
            exchange.clock.advance(MINUTE)
            async with asyncio.timeout(LIMIT_S):
                while exchange.state.streams.open:  # noqa: ASYNC110 - the server reports it to nobody
                    await asyncio.sleep(0.01)
            assert await client.closed() == (1006, "")
        assert exchange.state.streams.ended == {"slow client": 1}


async def test_a_client_that_takes_nothing_makes_the_exchange_wait() -> None:
    config = ExchangeConfig(trades_a_minute=20_000)
    async with peer(config) as exchange, socket(exchange, TRADES, max_queue=1) as client:
        exchange.clock.advance(MINUTE)
        sent = await client.sent()
        assert ids(sent) == list(range(sent[0]["t"], sent[0]["t"] + len(sent)))
        assert len(sent) > 10_000


async def test_an_option_selects_streams_and_symbols(exchange: Peer) -> None:
    for fault, silent in (
        ("stream-missing:symbol=ETHUSDT", {"ethusdt@trade", "ethusdt@aggTrade"}),
        ("stream-missing:stream=*@trade", {"btcusdt@trade", "ethusdt@trade"}),
        ("stream-missing:stream=btcusdt@aggTrade", {"btcusdt@aggTrade"}),
        ("stream-missing:path=klines", set()),
    ):
        exchange.state.faults.active = []
        exchange.state.faults.add(fault)
        names = [f"{symbol}usdt@{word}" for symbol in ("btc", "eth") for word in ("trade", "aggTrade")]
        async with socket(exchange, f"/stream?streams={'/'.join(names)}") as client:
            assert {one["stream"] for one in await client.sent(MINUTE)} == set(names) - silent


async def test_the_oracle_and_rest_stay_the_same() -> None:
    streams = ",".join(name for name, kind in FAULTS.items() if kind.of_streams)
    async with peer(faulty(*streams.split(","))) as exchange:
        span = TimeRange(OPEN - 5 * MINUTE, OPEN)
        async with peer() as other:
            assert await exchange.oracle(span) == await other.oracle(span)
            bounds = {"startTime": span.start_ms, "endTime": span.end_ms - 1}
            assert (await exchange.klines(**bounds)).rows == (await other.klines(**bounds)).rows


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.e2e) for seed in (1, 2))])
async def test_after_any_mixture_of_faults_the_exchange_is_as_it_was(seed: int) -> None:
    kinds = [f"stream-frame:kind={kind},p=0.004,seed={seed}" for kind in KINDS]
    others = [name for name, kind in FAULTS.items() if kind.of_streams and name != "stream-frame"]
    faults = [*kinds, *(f"{name}:p={0.05 if 'bar' in name else 0.004},seed={seed}" for name in others)]
    config = ExchangeConfig(faults=tuple(faults), connect_limit=None)
    names = ("btcusdt@trade", "ethusdt@aggTrade", "btcusdt@kline_1m", "bnbusdt@depth@100ms", "bnbusdt@bookTicker")
    path = f"/stream?streams={'/'.join(names)}"
    async with peer(config) as exchange:
        for turn in range(20):
            try:
                async with (
                    socket(exchange, path, compression="deflate" if turn % 2 else None) as one,
                    socket(exchange, path) as other,
                ):
                    exchange.clock.advance(3 * MINUTE)
                    await exchange.send("POST", "/control/shutdown")
                    exchange.clock.advance(1)
                    await asyncio.gather(one.closed(), other.closed())
            except InvalidStatus:
                continue  # it was refused
        assert sum(bool(fault.struck) for fault in exchange.state.faults.active) > len(faults) / 2
        exchange.state.faults.active = []
        start_ms = exchange.clock.now_ms()
        async with socket(exchange, TRADES) as client:
            sent = await client.sent(MINUTE)
        answer = await exchange.get(
            "/oracle/historicalTrades", symbol="BTCUSDT", startTime=start_ms + 1, endTime=start_ms + MINUTE + 1
        )
        assert ids(sent) == [row["id"] for row in msgspec.json.decode(answer.body)]
        assert "error" not in exchange.state.streams.ended
