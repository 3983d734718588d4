"""The exchange's state: weight, 429 and 418, counted by a clock that stands still unless it is moved."""

from __future__ import annotations

from streamforge.exchange.config import ExchangeConfig
from tests.exchange.conftest import MINUTE, NOW, Peer, peer

LEFT_MS = MINUTE - NOW % MINUTE
"""The clock starts 15 s before the end of a minute."""
UPDATES = "Please use WebSocket Streams for live updates to avoid"


async def spend(exchange: Peer, times: int) -> list[int]:
    return [(await exchange.klines(limit=1)).status for _ in range(times)]


async def test_each_endpoint_has_its_weight_and_the_header_shows_the_sum(exchange: Peer) -> None:
    shown = []
    for path in ("ping", "time", "exchangeInfo", "klines?symbol=BTCUSDT&interval=1m", "klines?symbol=NO"):
        answer = await exchange.get(f"/api/v3/{path}")
        shown.append(int(answer.headers["X-MBX-USED-WEIGHT-1M"]))
    assert shown == [1, 2, 22, 24, 26]
    exchange.clock.advance(LEFT_MS)
    assert (await exchange.get("/api/v3/ping")).headers["x-mbx-used-weight-1m"] == "1"


async def test_beyond_the_limit_the_answer_is_429_until_the_minute_is_over() -> None:
    async with peer(ExchangeConfig(weight_limit=10)) as exchange:
        assert await spend(exchange, 5) == [200] * 5
        answer = await exchange.klines()
        assert answer.status == 429
        assert answer.headers["Retry-After"] == "15"
        assert answer.headers["X-MBX-USED-WEIGHT-1M"] == "12"
        assert answer.json == {
            "code": -1003,
            "msg": "Too much request weight used; current limit is 10 request weight per 1 MINUTE. "
            f"{UPDATES} polling the API.",
        }
        exchange.clock.advance(LEFT_MS)
        assert await spend(exchange, 1) == [200]
        assert exchange.state.counts()["max_weight_in_a_minute"] == 12


async def test_a_client_that_goes_on_is_banned_longer_each_time() -> None:
    async with peer(ExchangeConfig(weight_limit=2)) as exchange:
        assert await spend(exchange, 7) == [200, *[429] * 5, 418]
        answer = await exchange.klines()
        assert (answer.status, answer.headers["Retry-After"]) == (418, "120")
        until = NOW + 2 * MINUTE
        assert answer.json["msg"] == (f"Way too much request weight used; IP banned until {until}. {UPDATES} bans.")
        exchange.clock.set(until - 1)
        assert await spend(exchange, 1) == [418]
        exchange.clock.advance(1)
        for _ in range(12):
            assert await spend(exchange, 7) == [200, *[429] * 5, 418]
            exchange.clock.set(exchange.state.limiter.bans[-1].until_ms)
        minutes = [(ban.until_ms - ban.from_ms) // MINUTE for ban in exchange.state.limiter.bans]
        assert minutes == [min(2 * 2**n, 3 * 1440) for n in range(13)]
        assert exchange.state.counts()["refused_while_banned"] == 2


async def test_without_a_limit_nothing_is_refused_but_all_is_counted() -> None:
    async with peer(ExchangeConfig(weight_limit=None)) as exchange:
        for _ in range(310):
            assert (await exchange.get("/api/v3/exchangeInfo", symbol="BTCUSDT")).status == 200
        assert exchange.state.counts()["max_weight_in_a_minute"] == 6200


async def test_counts_can_be_read_and_forgotten_and_the_clock_can_be_moved(exchange: Peer) -> None:
    await exchange.klines()
    await exchange.klines(symbol="NO")
    await exchange.get("/nowhere")
    stats = (await exchange.get("/control/stats")).json
    assert stats["requests"] == {"/api/v3/klines": {"200": 1, "400": 1}, "other": {"404": 1}}
    assert (stats["weight_limit"], stats["bans"]) == (6000, [])
    await exchange.send("DELETE", "/control/stats")
    assert (await exchange.get("/control/stats")).json["requests"] == {}
    assert (await exchange.send("POST", "/control/clock", {"now_ms": 1_600_000_000_000})).status == 200
    assert (await exchange.get("/api/v3/time")).json == {"serverTime": 1_600_000_000_000}
    assert (await exchange.send("POST", "/control/clock", {"then": 1})).status == 400


async def test_requests_before_the_pause_of_a_429_is_over_are_counted(exchange: Peer) -> None:
    async def asked() -> tuple[int, object]:
        return (await spend(exchange, 1))[0], exchange.state.counts()["asked_in_pause"]

    exchange.state.faults.add("429:retry_after=2,count=1")
    assert await asked() == (429, 0)
    exchange.clock.advance(1_999)
    assert await asked() == (200, 1)
    exchange.clock.advance(1)
    assert await asked() == (200, 1)
    exchange.state.faults.add("429:retry_after=-1,count=1")
    assert await asked() == (429, 1)
    exchange.clock.advance(LEFT_MS - 2_001)
    assert await asked() == (200, 2)
    exchange.clock.advance(1)
    assert await asked() == (200, 2)
    pauses = [(pause.from_ms, pause.until_ms) for pause in exchange.state.limiter.pauses]
    assert pauses == [(NOW, NOW + 2_000), (NOW + 2_000, NOW + LEFT_MS)]
