"""What Binance's streams answer, and the limits that they keep, by the exchange's clock."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
import pytest
from websockets.exceptions import InvalidStatus

from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.exchange_server import serve
from streamforge.exchange.state import ExchangeClock
from tests.exchange.conftest import DAY, MINUTE, NOW, Peer, peer
from tests.exchange.sockets import Socket, socket
from tests.limits import LIMIT_S

Ask = tuple[str, tuple[object, ...]]


async def test_the_address_names_streams_raw_or_combined(exchange: Peer) -> None:
    for path, names, combined in (
        ("/ws", [], False),
        ("/ws/", [], False),
        ("/ws/btcusdt@trade", ["btcusdt@trade"], False),
        ("/ws/btcusdt@trade/ethusdt@aggTrade", ["btcusdt@trade", "ethusdt@aggTrade"], False),
        ("/ws/btcusdt%40trade%2Fethusdt%40trade", ["btcusdt@trade", "ethusdt@trade"], False),
        ("/stream", [], True),
        ("/stream?streams=btcusdt@trade/ethusdt@trade", ["btcusdt@trade", "ethusdt@trade"], True),
        ("/stream?streams=btcusdt%40trade%2Fethusdt%40trade", ["btcusdt@trade", "ethusdt@trade"], True),
    ):
        async with socket(exchange, path) as client:
            assert (await client.ask("LIST_SUBSCRIPTIONS"))["result"] == names
            assert (await client.ask("GET_PROPERTY", "combined"))["result"] is combined
            assert {"stream" in one for one in await client.sent(MINUTE)} == ({combined} if names else set())


async def test_subscriptions_come_and_go(exchange: Peer) -> None:
    async with socket(exchange, "/stream") as client:
        assert await client.sent(MINUTE) == []
        assert await client.ask("SUBSCRIBE", "btcusdt@trade", "ethusdt@trade") == {"result": None, "id": 1}
        first = await client.sent(MINUTE)
        assert {one["stream"] for one in first} == {"btcusdt@trade", "ethusdt@trade"}
        assert min(one["data"]["T"] for one in first) > NOW + MINUTE, "nothing from before"
        assert await client.ask("UNSUBSCRIBE", "btcusdt@trade", "no@trade") == {"result": None, "id": 1}
        assert {one["stream"] for one in await client.sent(MINUTE)} == {"ethusdt@trade"}
        assert (await client.ask("LIST_SUBSCRIPTIONS"))["result"] == ["ethusdt@trade"]


async def test_a_stream_subscribed_to_twice_is_sent_once(exchange: Peer) -> None:
    async with socket(exchange, "/ws/btcusdt@trade/btcusdt@trade") as client:
        await client.ask("SUBSCRIBE", "btcusdt@trade")
        ids = [one["t"] for one in await client.sent(MINUTE)]
        assert ids == list(range(ids[0], ids[0] + len(ids)))


@pytest.mark.parametrize(
    "name", ["nosuch@trade", "BTCUSDT@trade", "btcusdt@nothing", "btcusdt", "", "!all@arr", "@", "é"]
)
async def test_what_does_not_exist_is_acknowledged_and_silent(name: str, exchange: Peer) -> None:
    async with socket(exchange, "/ws") as client:
        assert await client.ask("SUBSCRIBE", name) == {"result": None, "id": 1}
        assert await client.sent(5 * MINUTE) == []


@pytest.mark.parametrize("request_id", [0, -7, 2**63 - 1, "a", "0123456789abcdefABCDEF0123456789abcd", None])
async def test_an_id_comes_back(request_id: object, exchange: Peer) -> None:
    async with socket(exchange, "/ws") as client:
        assert await client.ask("LIST_SUBSCRIPTIONS", request_id=request_id) == {"result": [], "id": request_id}


async def test_the_form_can_be_changed(exchange: Peer) -> None:
    async with socket(exchange, "/ws/btcusdt@trade") as client:
        assert await client.ask("SET_PROPERTY", "combined", True) == {"result": None, "id": 1}
        assert (await client.ask("GET_PROPERTY", "combined"))["result"] is True
        assert {one["stream"] for one in await client.sent(MINUTE)} == {"btcusdt@trade"}


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ('{"method":"GET_PROPERTY","params":["colour"],"id":9}', 0, "Unknown property"),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":9}', 1, "Invalid value type: expected Boolean"),
        ('{"method":"SET_PROPERTY","params":["combined"],"id":9}', 1, "Invalid value type: expected Boolean"),
        ('{"method":"GET_PROPERTY","params":[5],"id":9}', 2, "Invalid request: property name must be a string"),
        ('{"method":"GET_PROPERTY","id":9}', 2, "Invalid request: property name must be a string"),
        ('{"method":"GET_PROPERTY","params":["combined",1],"id":9}', 2, "Invalid request: too many parameters"),
        (
            '{"method":"SUBSCRIB","id":9}',
            2,
            "Invalid request: unknown variant `SUBSCRIB`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, "
            "`LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY` at line 1 column 20",
        ),
        ('{"id":9,"params":[]}', 2, "Invalid request: missing field `method` at line 1 column 20"),
        ('{"method":"SUBSCRIBE","params":[7],"id":9}', 2, "Invalid request: stream names must be strings"),
        ('{"method":"SUBSCRIBE","params":[],"id":9}', 2, "Invalid request: stream names must be strings"),
        ('{"method":"SUBSCRIBE","params":"a","id":9}', 2, "Invalid request: params is not an array"),
        *(
            (f'{{"method":"LIST_SUBSCRIPTIONS"{one}}}', 2, "Invalid request: request ID must be an unsigned integer")
            for one in ("", ',"id":1.5', ',"id":true', ',"id":[]', f',"id":"{"a" * 37}"', f',"id":{2**63}')
        ),
        ("[1]", 2, "Invalid request: missing field `method` at line 1 column 3"),
        ("nonsense", 3, "Invalid JSON: expected value at line 1 column 5"),
        ('{"method":\n  oops}', 3, "Invalid JSON: expected value at line 2 column 3"),
        ("", 3, "Invalid JSON: expected value at line 1 column 1"),
    ],
)
async def test_what_is_wrong_is_told(text: str, code: int, message: str, exchange: Peer) -> None:
    async with socket(exchange, "/ws/btcusdt@trade") as client:
        await client.ws.send(text)
        refused = await client.next()
        assert (refused["code"], refused["msg"]) == (code, message)
        assert refused["id"] == (9 if re.search('"id":9[,}]', text) else None)
        assert len(await client.sent(MINUTE)) > 10, "it goes on"


@pytest.mark.parametrize("unit", ["MICROSECOND", "microsecond", "MicroSecond"])
async def test_times_in_microseconds(unit: str, exchange: Peer) -> None:
    streams = "btcusdt@trade/btcusdt@aggTrade/btcusdt@kline_1m"
    async with socket(exchange, f"/stream?streams={streams}&timeUnit={unit}") as client:
        micro = [one["data"] for one in await client.sent(MINUTE)]
    exchange.clock.advance(-MINUTE)
    async with socket(exchange, f"/stream?streams={streams}&timeUnit=millisecond") as client:
        milli = [one["data"] for one in await client.sent(MINUTE)]
    assert {one["e"] for one in milli} == {"trade", "aggTrade", "kline"}
    for one in milli:
        one["E"] *= 1000
        if one["e"] == "kline":
            one["k"] |= {"t": one["k"]["t"] * 1000, "T": one["k"]["T"] * 1000 + 999}
        else:
            one["T"] *= 1000
    assert micro == milli


async def test_a_ping_every_20_seconds_with_a_payload() -> None:
    async with peer() as exchange, socket(exchange, "/ws") as client:
        await client.sent(19_999)
        assert client.pings == []
        await client.sent(60_001)
        assert client.pings == [str(NOW + n * 20_000).encode() for n in (1, 2, 3, 4)]


async def test_who_answers_pings_is_kept_for_a_day_and_no_longer(exchange: Peer) -> None:
    async with socket(exchange, "/ws") as client:
        assert await client.sent(DAY - 1) == []
        exchange.clock.advance(1)
        assert await client.closed() == (1008, "24 hours")
        assert len(client.pings) == 4_319
    assert exchange.state.streams.ended == {"24 hours": 1}


async def silent_client(exchange: Peer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which nobody answers a ping."""
    reader, writer = await asyncio.open_connection("127.0.0.1", exchange.exchange.port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT_S)
    return reader, writer


async def frames(reader: asyncio.StreamReader, count: int) -> list[tuple[int, bytes]]:
    """Small frames: opcode and payload."""
    found = []
    for _ in range(count):
        first, size = await asyncio.wait_for(reader.readexactly(2), LIMIT_S)
        found.append((first & 0x0F, await asyncio.wait_for(reader.readexactly(size), LIMIT_S)))
    return found


async def test_a_ping_without_a_pong_for_a_minute_ends_it() -> None:
    async with peer(ExchangeConfig(pong_s=0)) as exchange:
        reader, writer = await silent_client(exchange)
        try:
            exchange.clock.advance(79_999)
            assert [payload for _, payload in await frames(reader, 3)] == [
                str(NOW + n * 20_000).encode() for n in (1, 2, 3)
            ]
            assert exchange.state.streams.open == 1
            exchange.clock.advance(1)
            assert await frames(reader, 1) == [(8, b"\x03\xf0Pong timeout")]
        finally:
            writer.close()
    assert exchange.state.streams.ended == {"Pong timeout": 1}


async def test_the_payload_of_a_pong_must_be_that_of_the_ping() -> None:
    async with peer(ExchangeConfig(pong_s=0)) as exchange:
        reader, writer = await silent_client(exchange)
        try:
            exchange.clock.advance(20_000)
            ((_, payload),) = await frames(reader, 1)
            writer.write(b"\x8a\x80\0\0\0\0")  # an empty one
            writer.write(b"\x8a" + bytes([0x80 | len(payload)]) + b"\0\0\0\0" + payload[::-1])
            writer.write(b"\x89\x80\0\0\0\0")  # a ping, whose answer shows that the pongs were read
            assert await frames(reader, 1) == [(10, b"")]
            exchange.clock.advance(60_000)
            assert (await frames(reader, 3))[-1][0] == 8
        finally:
            writer.close()


async def send(client: Socket, count: int) -> None:
    for _ in range(count):
        await client.ws.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')


async def test_more_than_five_messages_a_second_end_it(exchange: Peer) -> None:
    async with socket(exchange, "/ws") as client:
        for _ in range(3):
            await send(client, 5)
            assert len([await client.next() for _ in range(5)]) == 5
            exchange.clock.advance(1_000)
            await client.sent()
        await send(client, 6)
        assert await client.closed() == (1008, "Too many requests")


async def test_pings_and_pongs_of_a_client_count_as_messages(exchange: Peer) -> None:
    async with socket(exchange, "/ws") as client:
        for _ in range(2):
            await client.ws.ping()
            await client.ws.pong(b"")
        await send(client, 2)
        assert await client.closed() == (1008, "Too many requests")


async def test_no_limit_where_none_is_set() -> None:
    async with peer(ExchangeConfig(message_limit=None)) as exchange, socket(exchange, "/ws") as client:
        await send(client, 50)
        assert len([await client.next() for _ in range(50)]) == 50


async def test_1024_streams_are_the_most(exchange: Peer) -> None:
    names = [f"s{n}@trade" for n in range(1_025)]
    async with socket(exchange, "/ws") as client:
        assert (await client.ask("SUBSCRIBE", *names))["code"] == 2
        assert (await client.ask("SUBSCRIBE", *names[:1_024]))["result"] is None
        assert (await client.ask("SUBSCRIBE", names[0]))["result"] is None
        assert (await client.ask("SUBSCRIBE", names[-1]))["code"] == 2
        assert (await client.ask("LIST_SUBSCRIPTIONS"))["result"] == names[:1_024]
    with pytest.raises(InvalidStatus) as refused:
        async with socket(exchange, f"/ws/{'/'.join(f'{n}@x' for n in range(1_025))}"):
            pass
    assert refused.value.response.status_code == 400


async def test_300_connections_in_five_minutes_are_the_most(exchange: Peer) -> None:
    async def connect() -> None:
        async with socket(exchange, "/ws"):
            pass

    for _ in range(299):
        await connect()
    exchange.clock.advance(MINUTE)
    await connect()
    for _ in range(2):
        with pytest.raises(InvalidStatus) as refused:
            await connect()
        assert refused.value.response.status_code == 429
    exchange.clock.advance(4 * MINUTE)
    await connect()
    assert (exchange.state.streams.connects, exchange.state.streams.refused) == (301, 2)


async def test_a_shutdown_is_announced_raw_and_combined_and_follows(exchange: Peer) -> None:
    async with socket(exchange, "/ws/btcusdt@trade") as raw, socket(exchange, "/stream") as combined:
        answer = await exchange.send("POST", "/control/shutdown", {"notice_s": 30})
        assert answer.json == {"open": 2}
        assert await raw.next() == {"e": "serverShutdown", "E": NOW}
        assert await combined.next() == {
            "stream": "!serverShutdown",
            "data": {"e": "serverShutdown", "E": NOW},
        }
        exchange.clock.advance(30_000)
        assert (await raw.next())["e"] == "trade"
        exchange.clock.advance(1)
        assert await raw.closed() == await combined.closed() == (1001, "shutdown")


async def test_the_clock_can_be_controlled(exchange: Peer) -> None:
    async def clock(**asked: object) -> dict[str, Any]:
        return dict((await exchange.send("POST", "/control/clock", asked)).json)

    assert await clock(advance_ms=DAY) == {"now_ms": NOW + DAY, "speed": 0.0}
    assert await clock(now_ms=NOW, advance_ms=5) == {"now_ms": NOW + 5, "speed": 0.0}
    assert (await clock(speed=1440))["speed"] == 1440
    async with socket(exchange, "/ws/btcusdt@trade") as client:
        ids = [(await client.next())["t"] for _ in range(100)]
    assert ids == list(range(ids[0], ids[0] + 100))
    assert (await exchange.send("POST", "/control/clock", {"speed": -1})).status == 400


async def test_a_clock_that_was_set_back_begins_anew(exchange: Peer) -> None:
    async with socket(exchange, "/ws/btcusdt@trade") as client:
        first = await client.sent(MINUTE)
        exchange.clock.set(NOW)
        assert await client.sent() == []
        assert await client.sent(MINUTE) == first


async def test_a_clock_of_speed_1440_lets_a_day_pass_in_a_minute() -> None:
    clock = ExchangeClock(NOW, speed=1440)
    async with await serve(ExchangeConfig(speed=1440), clock) as running:
        started_ms, loop = clock.now_ms(), asyncio.get_running_loop()
        started_s = loop.time()
        while clock.now_ms() - started_ms < MINUTE:  # noqa: ASYNC110 - the machine's own clock is what is waited for
            await asyncio.sleep(0.001)
        assert loop.time() - started_s >= 0.99 * 60 / 1440  # both readings of the clock are cut to milliseconds
        assert running.state.clock.speed == 1440


@pytest.mark.long
async def test_what_is_compressed_says_the_same(exchange: Peer) -> None:
    async with (
        socket(exchange, "/ws/btcusdt@trade") as plain,
        socket(exchange, "/ws/btcusdt@trade", compression="deflate") as packed,
    ):
        assert "permessage-deflate" in str(packed.ws.response and packed.ws.response.headers)
        exchange.clock.advance(MINUTE)
        assert [await plain.text() for _ in range(20)] == [await packed.text() for _ in range(20)]


async def test_the_counters_tell_what_was_done(exchange: Peer) -> None:
    async with socket(exchange, "/ws/btcusdt@trade") as client:
        await client.ask("LIST_SUBSCRIPTIONS")
        many = len(await client.sent(10_000))
        stats = msgspec.json.decode((await exchange.get("/control/stats")).body)["streams"]
        assert stats == {
            "open": 1,
            "connects": 1,
            "refused": 0,
            "ended": {},
            "received": 1,
            "sent": {"btcusdt@trade": many, "!serverShutdown": 1},
        }
    async with socket(exchange, "/ws") as client:
        forgotten = msgspec.json.decode((await exchange.send("DELETE", "/control/stats")).body)["streams"]
        assert (forgotten["open"], forgotten["connects"]) == (1, 0)
