"""The adapter of the exchange's streams against the bare client under it."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.fresh import fresh
from benchmarks.common.measuring import Line, Section, Size, in_turn, median
from benchmarks.common.stream_server import NAME, TOGETHER, trades_server
from streamforge import wiring
from streamforge_utils.runtime.life.settings import ExchangeSettings
from streamforge_utils.runtime.live.stream_settings import StreamSettings

PIECES = {Size.FULL: 1000, Size.QUICK: 500, Size.TINY: 4}
ROUNDS = {Size.FULL: 5, Size.QUICK: 3, Size.TINY: 1}


class _Trade(msgspec.Struct, gc=False):
    t: int
    p: str
    q: str
    T: int
    m: bool


class _Message(msgspec.Struct, gc=False):
    stream: str
    data: _Trade


class Received(msgspec.Struct, frozen=True):
    """What a client received. cpu_s: processor time of its process, from the subscription to the last trade."""

    trades: int
    last: int
    cpu_s: float


def run(bench: Bench) -> Section:
    """Measure it."""
    count = PIECES[bench.size] * TOGETHER
    with trades_server(count) as url:
        runs = {
            "bare": partial(bench.undisturbed, partial(fresh, bare, url, count)),
            "adapter": partial(bench.undisturbed, partial(fresh, adapter, url, count)),
        }
        found = in_turn(ROUNDS[bench.size], runs, lambda name, r: bench.say(f"{name}: {r.trades / r.cpu_s:,.0f}/s"))
    if len({(one.trades, one.last) for one in (*found["bare"], *found["adapter"])}) != 1:
        raise RuntimeError("the adapter did not receive the same trades as the bare client")
    rates = {name: median([one.trades / one.cpu_s for one in received]) for name, received in found.items()}
    share = median([b.cpu_s / a.cpu_s for b, a in zip(found["bare"], found["adapter"], strict=True)])
    return Section(
        title="Streams",
        how=(
            "A server in another process sends trades in Binance's combined form as fast as they are read. Bare: a "
            "listener of picows that decodes each frame with msgspec where it comes. Adapter: the port's connection "
            "(frames joined and checked, signs of life, limits), then the same decoding. Rates are "
            "per second of the client's processor time."
        ),
        lines=(Line(what="stream adapter, share of the bare client", measured=100 * share, unit="%", at_least=60),),
        details=(f"{count:,} trades a run; median: bare {rates['bare']:,.0f}/s, adapter {rates['adapter']:,.0f}/s.",),
    )


def bare(url: str, count: int) -> Received:
    """Receive with picows alone."""
    return asyncio.run(_bare(url, count))


async def _bare(url: str, count: int) -> Received:
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

    decoder, done = msgspec.json.Decoder(_Message), asyncio.get_running_loop().create_future()

    class Listener(WSListener):
        trades = -1  # the acknowledgement comes first

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if self.trades >= 0:
                self.message = decoder.decode(frame.get_payload_as_memoryview())
            self.trades += 1
            if self.trades == count:
                done.set_result(self.message.data.t)

    transport, _ = await ws_connect(Listener, f"{url}/stream")
    began = time.process_time()
    transport.send(WSMsgType.TEXT, b'{"method":"SUBSCRIBE","params":["%s"],"id":1}' % NAME.encode())
    last = await done
    found = Received(count, last, time.process_time() - began)
    transport.disconnect(graceful=False)
    return found


def adapter(url: str, count: int) -> Received:
    """Receive with the adapter."""
    return asyncio.run(_adapter(url, count))


async def _adapter(url: str, count: int) -> Received:
    decoder = msgspec.json.Decoder(_Message)
    stream = wiring.make_stream(StreamSettings(url=url), ExchangeSettings())
    began = time.process_time()
    connection = await stream.connect([NAME])
    trades = last = 0
    while trades < count:
        for payload in (await connection.read()).payloads:
            last = decoder.decode(payload).data.t
            trades += 1
    found = Received(trades, last, time.process_time() - began)
    await stream.close()
    return found
