"""Each fault does what its line in `FAULTS` says, as often as it was asked to, and nothing else."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import msgspec
import pytest

from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.faults import FAULTS, parse_fault
from streamforge_utils.model.errors import InvalidInput
from tests.exchange.conftest import MINUTE, NOW, Peer, ms, peer
from tests.limits import LIMIT_S

START = ms("2024-08-01")
OPEN_BAR = NOW - NOW % MINUTE
PLAIN = list(range(START, START + 10 * MINUTE, MINUTE))
WINDOW = {"startTime": START, "endTime": START + 9 * MINUTE}


def faulty(*faults: str) -> ExchangeConfig:
    return ExchangeConfig(faults=faults)


async def opens(exchange: Peer) -> list[int]:
    return (await exchange.klines(**WINDOW)).opens


@pytest.mark.parametrize(
    ("fault", "status", "part"),
    [
        ("429", 429, b'"code":-1003'),
        ("500", 500, b"<html>"),
        ("502", 502, b"502 Bad Gateway"),
        ("503", 503, b"<html>"),
        ("504", 504, b"<html>"),
        ("timeout", 504, b'"code":-1007'),
        ("waf", 403, b"403 Forbidden"),
        ("451", 451, b"restricted location"),
        ("garbage", 200, b"<html>"),
    ],
)
async def test_an_answer_is_replaced_once(fault: str, status: int, part: bytes) -> None:
    async with peer(faulty(f"{fault}:count=1")) as exchange:
        answer = await exchange.klines(**WINDOW)
        assert answer.status == status
        assert part in answer.body
        assert answer.headers["Content-Type"].startswith(
            "text/html" if b"<html>" in answer.body else "application/json"
        )
        assert await opens(exchange) == PLAIN


async def test_429_names_a_time_unless_asked_not_to() -> None:
    async with peer(faulty("429:count=1,retry_after=7", "429:retry_after=-1")) as exchange:
        assert (await exchange.klines()).headers["Retry-After"] == "7"
        assert "Retry-After" not in (await exchange.klines()).headers


async def test_418_bans_the_address_for_its_seconds() -> None:
    async with peer(faulty("418:count=1,seconds=3")) as exchange:
        answer = await exchange.klines()
        assert (answer.status, answer.headers["Retry-After"]) == (418, "3")
        assert (await exchange.get("/api/v3/ping")).status == 418
        exchange.clock.advance(3_000)
        assert (await exchange.get("/api/v3/ping")).status == 200
        assert len(exchange.state.limiter.bans) == 1


@pytest.mark.parametrize(
    ("faults", "pages"),
    [
        (["empty"], [[], PLAIN, PLAIN]),
        (["shifted:by=-1,count=1", "shifted:by=2,after=1"], [[START - MINUTE, *PLAIN], PLAIN[2:], PLAIN]),
        (["open-candle"], [[*PLAIN, OPEN_BAR]]),
    ],
    ids=lambda value: str(value[0]),
)
async def test_pages_are_harmed_once(faults: list[str], pages: list[list[int]]) -> None:
    async with peer(faulty(*faults)) as exchange:
        assert [await opens(exchange) for _ in pages] == pages


async def test_the_open_candle_is_not_added_to_a_page_that_has_it() -> None:
    async with peer(faulty("open-candle")) as exchange:
        assert (await exchange.klines(limit=2)).opens == [OPEN_BAR - MINUTE, OPEN_BAR]


async def test_each_row_is_missing_at_most_once() -> None:
    async with peer(faulty("missing:rows=3")) as exchange:
        pages = [set(await opens(exchange)) for _ in range(4)]
        assert len(pages[0]) == 7
        assert set.union(*pages) == set(PLAIN)


async def test_rows_come_twice_and_in_another_order() -> None:
    async with peer(faulty("duplicate:rows=2,count=1", "disordered:after=1")) as exchange:
        page = await opens(exchange)
        assert (len(page), sorted(set(page))) == (12, PLAIN)
        page = await opens(exchange)
        assert page != PLAIN
        assert sorted(page) == PLAIN


@pytest.mark.parametrize(
    ("kind", "cell"),
    [("nan", "NaN"), ("infinite", "Infinity"), ("text", "n/a"), ("null", None), ("negative", "-1.00000000")],
)
async def test_a_row_is_spoilt(kind: str, cell: str | None) -> None:
    async with peer(faulty(f"bad-number:kind={kind},count=1")) as exchange:
        rows = msgspec.json.decode((await exchange.klines(**WINDOW)).body)
        assert [row for row in rows if cell in row] != []
        assert await opens(exchange) == PLAIN


async def test_a_row_lacks_columns() -> None:
    async with peer(faulty("bad-number:kind=columns,count=1")) as exchange:
        assert sorted({len(row) for row in (await exchange.klines(**WINDOW)).rows}) == [9, 12]


@pytest.mark.parametrize(("path", "name"), [("historicalTrades", "id"), ("aggTrades", "a")])
@pytest.mark.parametrize(
    ("fault", "asked", "given"),
    [
        ("short:rows=3", 5000, [*range(5000, 5007)]),
        ("short:rows=99", 5000, [5000]),
        ("reversed", 5000, [*range(5009, 4999, -1)]),
        ("shifted:by=-10", 5000, [*range(4990, 5000)]),  # backwards
        ("floor:id=5005", 5000, [*range(5005, 5015)]),
        ("floor:id=5005", 1, [*range(5005, 5015)]),
        ("floor:id=5005", 5005, [*range(5005, 5015)]),
        ("floor:id=5005", 6000, [*range(6000, 6010)]),
        ("short:symbol=ETHUSDT", 5000, [*range(5000, 5010)]),
    ],
)
async def test_pages_by_id_are_harmed(path: str, name: str, fault: str, asked: int, given: list[int]) -> None:
    async with peer(faulty(fault)) as exchange:
        answer = await exchange.get(f"/api/v3/{path}", symbol="BTCUSDT", fromId=asked, limit=10)
        assert [row[name] for row in msgspec.json.decode(answer.body)] == given


@pytest.mark.parametrize(
    ("options", "torn"),
    [("", [("f", 0, -1), None]), ("side=last", [("l", -1, 1), None]), ("always=1", [("f", 0, -1), ("f", 0, -1)])],
)
async def test_a_page_of_aggregates_does_not_meet_its_neighbour(
    options: str, torn: list[tuple[str, int, int] | None]
) -> None:
    asked = {"symbol": "BTCUSDT", "fromId": 5000, "limit": 10}
    async with peer() as exchange:
        right = msgspec.json.decode((await exchange.get("/api/v3/aggTrades", **asked)).body)
        exchange.state.faults.add(f"torn:{options}")
        for change in torn:
            expected = [dict(row) for row in right]
            if change is not None:
                member, place, by = change
                expected[place][member] += by
            assert msgspec.json.decode((await exchange.get("/api/v3/aggTrades", **asked)).body) == expected
        whole = await exchange.get("/api/v3/historicalTrades", **asked)
        exchange.state.faults.active = []
        assert (await exchange.get("/api/v3/historicalTrades", **asked)).body == whole.body


async def test_a_candle_that_is_over_is_another_one_after_its_first_answer() -> None:
    async with peer() as exchange:
        right = msgspec.json.decode((await exchange.klines(**WINDOW)).body)
        exchange.state.faults.add("revised")
        first = msgspec.json.decode((await exchange.klines(**WINDOW, limit=3)).body)
        again = msgspec.json.decode((await exchange.klines(**WINDOW)).body)
        assert again[:3] == right[:3]
        for wrong in (*first, *again[3:]):
            true = right[(wrong[0] - START) // MINUTE]
            assert wrong[4] != true[4]
            assert wrong[4] in (true[2], true[3])
            assert wrong[8] == true[8] - 1
            assert [cell for n, cell in enumerate(wrong) if n not in (4, 8)] == [
                cell for n, cell in enumerate(true) if n not in (4, 8)
            ]


async def test_what_is_below_a_floor_is_not_found_by_time_either() -> None:
    async with peer() as exchange:
        span = {"symbol": "BTCUSDT", "startTime": START, "endTime": START + MINUTE, "limit": 1000}
        whole = msgspec.json.decode((await exchange.get("/api/v3/aggTrades", **span)).body)
        exchange.state.faults.add(f"floor:id={whole[4]['a']}")
        assert msgspec.json.decode((await exchange.get("/api/v3/aggTrades", **span)).body) == whole[4:]


async def test_truncated_json_is_a_whole_answer() -> None:
    async with peer(faulty("truncated:count=1")) as exchange:
        answer = await exchange.klines(**WINDOW)
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) == len(answer.body) > 100
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(answer.body)
        whole = await exchange.klines(**WINDOW)
        assert whole.body.startswith(answer.body)


async def test_a_cut_answer_ends_in_the_middle() -> None:
    async with peer(faulty("cut:count=1")) as exchange:
        with pytest.raises(aiohttp.ClientPayloadError):
            await exchange.klines(**WINDOW)
        assert await opens(exchange) == PLAIN
        assert exchange.state.counts()["requests"] == {"/api/v3/klines": {"closed": 1, "200": 1}}


@pytest.mark.e2e
async def test_a_slow_answer_comes_late_and_a_dripping_one_in_pieces() -> None:
    async with peer(faulty("slow:ms=150,count=1", "drip:bytes=400,ms=20,after=1")) as exchange:
        started = time.monotonic()
        assert await opens(exchange) == PLAIN
        assert time.monotonic() - started >= 0.15
        started = time.monotonic()
        assert await opens(exchange) == PLAIN
        assert time.monotonic() - started >= 0.06


@pytest.mark.e2e
async def test_a_stall_says_nothing_until_it_closes_the_connection() -> None:
    # twice, because aiohttp's client asks again by itself
    async with peer(faulty("stall:seconds=0.1,count=2", "stall:seconds=30")) as exchange:
        started = time.monotonic()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await exchange.klines()
        assert time.monotonic() - started >= 0.2
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await exchange.klines()


async def test_an_answer_is_held_until_the_fault_is_switched_off() -> None:
    async with peer(faulty("held:after=1")) as exchange:
        assert await opens(exchange) == PLAIN
        held = asyncio.create_task(opens(exchange))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.shield(held)
        exchange.state.faults.clear()
        assert await held == PLAIN


@pytest.mark.parametrize("fault", ["stall:seconds=300", "held"])
async def test_closing_does_not_wait_for_what_is_not_answered(fault: str) -> None:
    async with peer(faulty(fault)) as exchange:
        waiting = asyncio.create_task(exchange.klines())
        async with asyncio.timeout(LIMIT_S):
            while not exchange.state.faults.active[0].struck:  # noqa: ASYNC110 - the server reports it to nobody
                await asyncio.sleep(0.005)
            await exchange.exchange.close()
        with pytest.raises(aiohttp.ClientError):
            await waiting


async def test_the_clock_that_is_shown_is_wrong() -> None:
    async with peer(faulty("skew:seconds=-90,count=1")) as exchange:
        answer = await exchange.get("/api/v3/time")
        assert answer.json == {"serverTime": NOW - 90_000}
        assert answer.headers["Date"] == "Thu, 01 Aug 2024 11:59:15 GMT"
        assert (await exchange.get("/api/v3/time")).json == {"serverTime": NOW}


async def test_a_fault_strikes_its_path_after_so_many_and_so_often() -> None:
    async with peer(faulty("500:path=klines,after=2,count=2")) as exchange:
        assert (await exchange.get("/api/v3/ping")).status == 200
        assert [(await exchange.klines()).status for _ in range(6)] == [200, 200, 500, 500, 200, 200]


async def test_chance_follows_the_seed() -> None:
    async def statuses(*faults: str) -> list[int]:
        async with peer(faulty(*faults)) as exchange:
            return [(await exchange.get("/api/v3/ping")).status for _ in range(60)]

    first = await statuses("503:p=0.3,seed=4")
    assert 5 < first.count(503) < 35
    assert await statuses("503:p=0.3,seed=4") == first
    assert await statuses("503:p=0.3,seed=5") != first
    assert await statuses("503:p=0") == [200] * 60


async def test_faults_do_not_harm_what_is_refused_anyway() -> None:
    async with peer(faulty("500")) as exchange:
        assert (await exchange.klines(symbol="NO")).status == 400


async def test_faults_are_switched_while_it_runs(exchange: Peer) -> None:
    await exchange.send("POST", "/control/faults", {"fault": "500:count=3"})
    await exchange.send("POST", "/control/faults", {"fault": "empty"})
    assert (await exchange.klines()).status == 500
    listed = (await exchange.get("/control/faults")).json["faults"]
    assert listed == [{"fault": "500:count=3", "struck": 1}, {"fault": "empty", "struck": 1}]
    await exchange.send("DELETE", "/control/faults")
    assert await opens(exchange) == PLAIN
    refused = await exchange.send("POST", "/control/faults", {"fault": "fire"})
    assert refused.status == 400
    assert "choose one of 429, 418" in str(refused.json["error"])


@pytest.mark.parametrize(
    "text",
    [
        *("fire", "", "500:count", "500:often=1", "500:p=2", "500:p=x", "bad-number:kind=odd", "500:path=nowhere"),
        *("archive-rows:at=25:00", "archive-zip:kind=odd", "archive-missing:listed=x"),
    ],
)
def test_a_fault_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="fault"):
        parse_fault(text)


def test_every_fault_can_be_switched_on_by_its_name() -> None:
    assert [parse_fault(name).name for name in FAULTS] == list(FAULTS)
