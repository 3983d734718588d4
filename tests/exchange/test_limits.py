"""Weight, 429, 418: counted by a clock that stands still unless it is moved."""

from __future__ import annotations

import msgspec

from streamforge.exchange.config import ExchangeConfig
from tests.exchange.support import MINUTE, NOW, Peer, peer

LEFT_MS = MINUTE - NOW % MINUTE
"""The clock starts 15 s before the end of a minute."""


async def spend(exchange: Peer, times: int, client: str = "10.0.0.1") -> list[int]:
    return [(await exchange.klines({"X-Forwarded-For": client}, limit=1)).status for _ in range(times)]


async def test_each_endpoint_has_its_weight_and_the_header_shows_the_sum() -> None:
    async with peer() as exchange:
        shown = []
        for path in ("ping", "time", "exchangeInfo", "klines?symbol=BTCUSDT&interval=1m", "klines?symbol=NO"):
            answer = await exchange.get(f"/api/v3/{path}")
            shown.append(int(answer.headers["X-MBX-USED-WEIGHT-1M"]))
        assert shown == [1, 2, 22, 24, 26]
        assert exchange.state.counts()["weight_limit"] == 6000
        exchange.clock.advance(LEFT_MS)
        assert (await exchange.get("/api/v3/ping")).headers["x-mbx-used-weight-1m"] == "1"


async def test_beyond_the_limit_the_answer_is_429_until_the_minute_is_over() -> None:
    async with peer(ExchangeConfig(weight_limit=10)) as exchange:
        assert await spend(exchange, 5) == [200] * 5
        answer = await exchange.klines({"X-Forwarded-For": "10.0.0.1"})
        assert answer.status == 429
        assert answer.headers["Retry-After"] == "15"
        assert answer.headers["X-MBX-USED-WEIGHT-1M"] == "12"
        assert answer.json == {
            "code": -1003,
            "msg": "Too much request weight used; current limit is 10 request weight per 1 MINUTE. "
            "Please use WebSocket Streams for live updates to avoid polling the API.",
        }
        assert await spend(exchange, 1, "10.0.0.2") == [200]
        exchange.clock.advance(LEFT_MS)
        assert await spend(exchange, 1) == [200]
        assert exchange.state.counts()["max_weight_in_a_minute"] == 12


async def test_who_goes_on_is_banned_longer_each_time() -> None:
    async with peer(ExchangeConfig(weight_limit=2, ban_after=1, ban_ms=60_000, ban_limit_ms=180_000)) as exchange:
        assert await spend(exchange, 3) == [200, 429, 418]
        answer = await exchange.klines({"X-Forwarded-For": "10.0.0.1"})
        assert answer.status == 418
        assert answer.headers["Retry-After"] == "60"
        until = NOW + 60_000
        assert answer.json["msg"] == (
            f"Way too much request weight used; IP banned until {until}. "
            "Please use WebSocket Streams for live updates to avoid bans."
        )
        assert await spend(exchange, 1, "10.0.0.2") == [200]
        exchange.clock.advance(59_999)
        assert await spend(exchange, 1) == [418]
        exchange.clock.advance(1)
        lengths = [60_000]
        for _ in range(3):
            assert await spend(exchange, 3) == [200, 429, 418]
            ban = exchange.state.limiter.bans[-1]
            lengths.append(ban.until_ms - ban.from_ms)
            exchange.clock.set(ban.until_ms)
        assert lengths == [60_000, 120_000, 180_000, 180_000]
        assert exchange.state.counts()["refused_while_banned"] == 2


async def test_without_a_limit_nothing_is_refused_but_all_is_counted() -> None:
    async with peer(ExchangeConfig(weight_limit=None)) as exchange:
        for _ in range(310):
            assert (await exchange.get("/api/v3/exchangeInfo", symbol="BTCUSDT")).status == 200
        assert exchange.state.counts()["max_weight_in_a_minute"] == 6200
        assert exchange.state.counts()["weight_limit"] is None


async def test_counts_can_be_read_and_forgotten() -> None:
    async with peer() as exchange:
        await exchange.klines()
        await exchange.klines(symbol="NO")
        await exchange.get("/nowhere")
        stats = (await exchange.get("/control/stats")).json
        assert stats["requests"] == {"/api/v3/klines": {"200": 1, "400": 1}, "other": {"404": 1}}
        assert stats["minutes"] == [{"start_ms": NOW - NOW % MINUTE, "client": "127.0.0.1", "weight": 4}]
        assert stats["max_in_flight"] == 1
        assert stats["bans"] == []
        await exchange.send("DELETE", "/control/stats")
        assert (await exchange.get("/control/stats")).json["requests"] == {}


async def test_the_clock_can_be_moved() -> None:
    async with peer() as exchange:
        assert (await exchange.send("POST", "/control/clock", {"advance_ms": 5})).json == {"now_ms": NOW + 5}
        assert (await exchange.send("POST", "/control/clock", {"now_ms": 1_600_000_000_000})).status == 200
        assert msgspec.json.decode((await exchange.get("/api/v3/time")).body) == {"serverTime": 1_600_000_000_000}
        assert (await exchange.send("POST", "/control/clock", {"then": 1})).status == 400


async def test_who_asks_before_the_pause_of_a_429_is_over_is_counted() -> None:
    async with peer() as exchange:
        exchange.state.faults.add("429:retry_after=2,count=1")
        exchange.state.faults.add("429:retry_after=-1,count=1")

        async def asked() -> tuple[int, object]:
            return (await spend(exchange, 1))[0], exchange.state.counts()["asked_in_pause"]

        assert await asked() == (429, 0)
        exchange.clock.advance(1_999)
        exchange.state.faults.active[1].options["count"] = 0
        assert await asked() == (200, 1)
        exchange.clock.advance(1)
        assert await asked() == (200, 1)
        exchange.state.faults.active[1].options["count"] = 1
        assert await asked() == (429, 1)
        exchange.clock.advance(LEFT_MS - 2_001)
        assert await asked() == (200, 2)
        exchange.clock.advance(1)
        assert await asked() == (200, 2)
        pauses = [(pause.from_ms, pause.until_ms) for pause in exchange.state.limiter.pauses]
        assert pauses == [(NOW, NOW + 2_000), (NOW + 2_000, NOW + LEFT_MS)]
