"""The loader of live trades against the bare client and the same bus, and against other projects' clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.common.bench import Bench
from benchmarks.common.exchange import SYMBOL
from benchmarks.common.fresh import Fresh, fresh
from benchmarks.common.measuring import Line, Section, Size, in_turn, median
from benchmarks.common.processes import exchange
from benchmarks.common.stream_server import FIRST_ID, NAME, TOGETHER, trades_server
from benchmarks.common.workflow import read_all
from benchmarks.kafka import others
from benchmarks.live import peers
from benchmarks.live.confirmations import UNHINDERED, make_topics, published, workflow_in
from benchmarks.live.peers import Received
from streamforge import wiring
from streamforge_utils.model.kinds.trades import Trade
from streamforge_utils.ports.columns import MessageColumns
from streamforge_utils.runtime.life.worker_process import tune_interpreter

PIECES = {Size.FULL: 800, Size.QUICK: 400, Size.TINY: 4}
PEER_PIECES = {Size.FULL: 100, Size.QUICK: 50, Size.TINY: 2}
"""Of the clients that take longer for a trade."""
ROUNDS = {Size.FULL: 5, Size.QUICK: 3, Size.TINY: 1}
BATCH = 5000


def run(bench: Bench) -> Section:
    """Measure it. Raises RuntimeError where a client is missing, or not all trades came."""
    count, few = PIECES[bench.size] * TOGETHER, PEER_PIECES[bench.size] * TOGETHER
    with trades_server(count) as url, trades_server(few) as slow_url, exchange() as rest:
        runs: dict[str, Callable[[], Received]] = {
            "raw": partial(_on_bus, bench, raw, url, count),
            "loader": partial(_on_bus, bench, loader, url, count),
            "ccxt.pro": partial(fresh, peers.ccxt_pro, slow_url, rest, few, FIRST_ID + few - 1),
        }
        if _has_cryptofeed():
            runs["cryptofeed"] = partial(Fresh(others.PYTHON, others.PYTHONPATH), peers.cryptofeed, slow_url, few)
        elif bench.size is not Size.TINY:
            raise RuntimeError("cryptofeed is missing: make bench-others")
        found = in_turn(
            ROUNDS[bench.size],
            {name: partial(bench.undisturbed, call) for name, call in runs.items()},
            lambda name, one: bench.say(f"{name}: {one.trades / one.cpu_s:,.0f}/s"),
        )
    for name, them in found.items():
        wanted = count if name in ("raw", "loader") else few
        if {(one.trades, one.last) for one in them} != {(wanted, FIRST_ID + wanted - 1)}:
            raise RuntimeError(f"{name} did not receive the trades that were sent")
    rates = {name: [one.trades / one.cpu_s for one in them] for name, them in found.items()}
    targets = {"ccxt.pro": 3.0, "cryptofeed": 1.0}
    lines = [Line(what="trades: loader, share of raw", measured=100 * _ratio(rates, "raw"), unit="%", at_least=60)]
    lines += [
        Line(
            what=f"trades: loader, which publishes, against {name}, which does not",
            measured=_ratio(rates, name),
            unit="times",
            at_least=target,
        )
        for name, target in targets.items()
        if name in rates
    ]
    medians = ", ".join(f"{name} {median(them):,.0f}/s" for name, them in rates.items())
    return Section(
        title="Live trades",
        how=(
            "A server in another process sends trades as fast as they are read. Raw: a listener of picows decodes each "
            "frame with msgspec, makes the record and encodes it, and batches go to the same embedded bus. Loader: "
            "loader-ws-trades in its process, which also checks each message, puts ids in their order, and looks for "
            "gaps; both put the same records on the topic, which is looked at. The other clients have a callback that "
            "counts; cryptofeed without TLS, and without asking for the list of markets. Rates are per second of the "
            "client's processor time, from the subscription to the last trade."
        ),
        lines=tuple(lines),
        details=(f"{count:,} trades a run of raw and loader, {few:,} of the others; median: {medians}.",),
    )


def _ratio(rates: dict[str, list[float]], name: str) -> float:
    return median([ours / theirs for ours, theirs in zip(rates["loader"], rates[name], strict=True)])


def _has_cryptofeed() -> bool:
    return any((others.PYTHON.parents[1] / "lib").glob("python*/site-packages/cryptofeed"))


def _on_bus(bench: Bench, client: Any, url: str, count: int) -> Received:
    """Run a client that publishes, in a process of its own, and look at what is on the topic."""
    with bench.folder() as folder:
        workflow = workflow_in(folder)
        asyncio.run(make_topics(workflow))
        cpu_s: float = fresh(client, str(folder), url, count)
        return Received(*asyncio.run(_topic(folder, count)), cpu_s)


async def _topic(folder: Path, count: int) -> tuple[int, int]:
    """How many trades are on the topic in the order of their ids, and the last id."""
    workflow = workflow_in(folder)
    bus = wiring.make_bus(workflow.data)
    found = [(one.key, one.value) for one in await read_all(bus, workflow.topic, count)]
    await bus.close()
    trades = [msgspec.json.decode(value, type=Trade) for _, value in found]
    right = all(
        (key, one.trade_id) == (one.key.encode(), FIRST_ID + place)
        for place, ((key, _), one) in enumerate(zip(found, trades, strict=True))
    )
    return (len(trades) if right else 0), trades[-1].trade_id


def loader(folder: str, url: str, count: int) -> float:
    """Publish with loader-ws-trades; its processor time, seconds."""
    return published(folder, url, count, UNHINDERED).cpu_s


def raw(folder: str, url: str, count: int) -> float:
    """Publish with picows, msgspec and the bus alone; its processor time, seconds."""
    return asyncio.run(_raw(Path(folder), url, count))


class _Trade(msgspec.Struct, gc=False):
    t: int
    p: str
    q: str
    T: int
    m: bool


class _Message(msgspec.Struct, gc=False):
    data: _Trade


async def _raw(folder: Path, url: str, count: int) -> float:
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

    decode, encode = msgspec.json.Decoder(_Message).decode, msgspec.json.Encoder().encode
    keys, values, came = list[bytes](), list[bytes](), asyncio.Event()
    version = time.time_ns() // 1_000_000

    class Listener(WSListener):
        acknowledged = False

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if not self.acknowledged:
                self.acknowledged = True
                return
            one = decode(frame.get_payload_as_memoryview()).data
            key = f"{SYMBOL}_{one.t:012}"
            record = Trade(
                key=key,
                version=version,
                symbol=SYMBOL,
                trade_id=one.t,
                price=one.p,
                quantity=one.q,
                timestamp=one.T,
                is_buyer_maker=one.m,
            )
            keys.append(key.encode())
            values.append(encode(record))
            if frame.last_in_buffer:
                came.set()

    tune_interpreter()
    workflow = workflow_in(folder)
    bus = wiring.make_bus(workflow.data)
    producer = await bus.producer(bulk=True)
    began, sent = time.process_time(), 0
    transport, _ = await ws_connect(Listener, f"{url}/stream")
    transport.send(WSMsgType.TEXT, b'{"method":"SUBSCRIBE","params":["%s"],"id":1}' % NAME.encode())
    while sent < count:
        await came.wait()
        came.clear()
        while len(keys) > sent:
            batch = MessageColumns(keys[sent : sent + BATCH], values[sent : sent + BATCH])
            await producer.send(workflow.topic, batch)
            sent += len(batch)
    cpu_s = time.process_time() - began
    transport.disconnect(graceful=False)
    await bus.close()
    return cpu_s
