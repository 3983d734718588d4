"""Streams are asked for in requests that it reads, within its pace, and are acknowledged or the call fails."""

from __future__ import annotations

import asyncio
import json

import pytest

from streamforge_utils.adapters.binance.streams.binance_connection import HELD_BYTES, BinanceConnection
from streamforge_utils.model.errors import PermanentError, RetryableError, StreamForgeError
from streamforge_utils.ports.stream import EndCause, StreamEnded
from tests.adapters.binance.streams.rig import EVENT, Rig, connected, payloads, rig
from tests.doubles.manualclock import ManualClock
from tests.doubles.streamserver import CLOSE, PING, PONG, TEXT, Peer, framed, scripted_server

MANY = [f"symbol{number}usdt@depth@100ms" for number in range(1022)] + ["这是测试币456@trade", "1000satsusdt@trade"]


async def test_a_thousand_streams_take_few_requests_none_larger_than_the_exchange_reads() -> None:
    asked: list[str] = []
    sizes: list[int] = []
    times: list[float] = []
    clocks: list[ManualClock] = []
    acknowledgements: list[bytes] = []

    async def script(peer: Peer) -> None:
        while len(asked) < len(MANY):
            opcode, payload = await peer.read()
            times.append(clocks[0].monotonic())
            if opcode == PONG:
                continue
            request = json.loads(payload)
            assert request["method"] == "SUBSCRIBE"
            sizes.append(len(payload) + 8)
            asked.extend(request["params"])
            acknowledgements.append(json.dumps({"result": None, "id": request["id"]}).encode())
            await peer.raw(framed(PING, b"a") + framed(PING, b"b") + framed(PING, b"c"))
        await peer.raw(b"".join(framed(TEXT, one) for one in reversed(acknowledgements)))
        await peer.gone()

    async with scripted_server(script) as url, rig(url) as made:
        clocks.append(made.clock)
        await while_time_passes(made, [*MANY, MANY[0]])
        assert asked == MANY
        assert max(sizes) <= 4088 + 8
        assert len(sizes) < 12
        assert len(times) > len(sizes)  # pongs, too
        assert all(later - earlier > 1 for earlier, later in zip(times, times[5:], strict=False))


async def while_time_passes(made: Rig, streams: list[str]) -> BinanceConnection:
    async def pass_time() -> None:
        while True:
            await asyncio.sleep(0.001)
            made.clock.advance(0.01)

    passing = asyncio.create_task(pass_time())
    try:
        return await made.stream.connect(streams)
    finally:
        passing.cancel()


async def test_events_that_come_before_the_acknowledgement_are_read_first() -> None:
    async def script(peer: Peer) -> None:
        request = json.loads((await peer.read())[1])
        await peer.raw(framed(TEXT, EVENT) + framed(TEXT, b'{"e":"unheardOf","E":1}'))
        await peer.text('{"result":null,"id":null}', '{"result":null,"id":99}')
        await peer.text(json.dumps({"id": request["id"], "result": None}))
        await peer.gone()

    async with connected(script) as (_, connection):
        assert await payloads(connection, 2) == [EVENT, b'{"e":"unheardOf","E":1}']


async def test_much_that_comes_before_the_acknowledgement_does_not_hold_it_back() -> None:
    large, count = b'{"stream":"x","data":"' + b"x" * 500_000 + b'"}', 3 * HELD_BYTES // 500_000

    async def script(peer: Peer) -> None:
        request = json.loads((await peer.read())[1])
        for _ in range(count):
            await peer.frame(TEXT, large)
        await peer.text(json.dumps({"id": request["id"], "result": None}))
        await peer.gone()

    async with connected(script) as (rig, connection):
        assert rig.observer.counts["stream_pauses_total"] == 1
        assert await payloads(connection, count) == [large] * count


@pytest.mark.parametrize("answers", [(), ('{"result":null,"id":2}',), ('{"result":null,"id":"1"}',)])
async def test_streams_that_are_not_acknowledged_fail_the_call_and_end_the_connection(answers: tuple[str, ...]) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.text(*answers)
        asked.set()
        await peer.gone()
        gone.set()

    async with scripted_server(script) as url, rig(url) as made:
        connecting = asyncio.create_task(made.stream.connect(["btcusdt@trade", "ethusdt@trade"]))
        await asked.wait()
        await made.clock.sleeping(2)  # the limit of the answers, and the watch for silence
        made.clock.advance(10)
        with pytest.raises(RetryableError, match=r"acknowledge 2 of 2 streams within 10 s, btcusdt@trade among"):
            await connecting
        await gone.wait()
        assert made.observer.counts["stream_connects_total{outcome=failed}"] == 1


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ('{"code":2,"msg":"Invalid request: bad stream","id":1}', PermanentError, "code 2: Invalid request: bad"),
        ('{"code":3,"msg":"Invalid JSON"}', PermanentError, "code 3: Invalid JSON"),
        ('{"error":{"code":2,"msg":"Invalid request"},"id":1}', PermanentError, "code 2: Invalid request"),
        ('{"error":{"code":4,"msg":"Too many subscriptions"},"id":1}', RetryableError, "code 4: Too many"),
        ('{"error":"busy","id":1}', RetryableError, "busy"),
    ],
)
async def test_an_error_names_the_streams_and_what_the_exchange_says(
    answer: str, kind: type[StreamForgeError], said: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.text(answer)
        await peer.gone()

    async with scripted_server(script) as url, rig(url) as made:
        with pytest.raises(kind, match=f"1 streams, btcusdt@trade among them: .*{said}"):
            await made.stream.connect(["btcusdt@trade"])


async def test_an_end_while_subscribing_is_told_as_such() -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.frame(CLOSE, (1008).to_bytes(2, "big") + b"Too many requests")
        await peer.gone()

    async with scripted_server(script) as url, rig(url) as made:
        with pytest.raises(StreamEnded, match="1008: Too many requests") as ended:
            await made.stream.connect(["btcusdt@trade"])
        assert ended.value.cause is EndCause.CLOSED


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 401])
async def test_what_is_no_name_of_a_stream_is_refused_before_connecting(name: str) -> None:
    async with rig("ws://127.0.0.1:9") as made:
        with pytest.raises(PermanentError, match="no name of a stream"):
            await made.stream.connect(["btcusdt@trade", name])
        assert not made.observer.counts


async def test_a_call_that_is_cancelled_ends_the_connection() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read()
        asked.set()
        await peer.gone()
        gone.set()

    async with scripted_server(script) as url, rig(url) as made:
        connecting = asyncio.create_task(made.stream.connect(["btcusdt@trade"]))
        await asked.wait()
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        await gone.wait()
        assert connecting.cancelled()
