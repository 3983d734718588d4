"""Servers of trades on a stream, each a process that prints its URL as JSON.

One sends them as fast as they are read; the other so many a second, and writes down when it has sent which.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks.common.processes import ROOT, ended
from tests.cleanenv import environment
from tests.doubles.streamserver import TEXT, Peer, Script, framed, scripted_server

NAME = "btcusdt@trade"
FIRST_ID = 3_700_000_000
TOGETHER = 500
"""Trades that are sent in one piece, about as many as one read of a socket takes."""

AHEAD = 64 * 1024 * 1024
TICK_S = 0.001


class Sent(msgspec.Struct, frozen=True):
    """What a paced server has sent: by when (the machine's monotonic clock) how many trades in all, piece by piece."""

    at_ns: list[int]
    counts: list[int]


def trades_server(count: int) -> contextlib.AbstractContextManager[str]:
    """The URL of a server that sends so many trades to each client, as fast as it reads: `count / TOGETHER` pieces.

    They are in Binance's combined form, at `/ws` in the raw one; aggregated ones where the path names the streams.
    """
    return _server(str(count))


def paced_server(phases: Sequence[tuple[int, float]], sent: Path) -> contextlib.AbstractContextManager[str]:
    """The URL of a server that sends so many trades a second for so many seconds, phase by phase, to its client.

    sent: the file that has `Sent` in the end.
    """
    return _server(json.dumps(phases), str(sent))


@contextlib.contextmanager
def _server(*arguments: str) -> Iterator[str]:
    command = [sys.executable, "-m", __name__, *arguments]
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment())) as process:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["url"])


def trade(number: int) -> bytes:
    """A trade as Binance sends it, in the combined form."""
    return b'{"stream":"%b","data":%b}' % (NAME.encode(), _raw(number))


def _raw(number: int) -> bytes:
    return (
        b'{"e":"trade","E":1722513630%03d,"s":"BTCUSDT","t":%d,"p":"64123.%02d000000",'
        b'"q":"0.00%03d000","T":1722513630%03d,"m":true,"M":true}'
    ) % (number % 1000, FIRST_ID + number, number % 100, number % 999 + 1, number % 1000)


def _aggregated(number: int) -> bytes:
    one = FIRST_ID + number
    return (
        b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1722513630%03d,"s":"BTCUSDT","a":%d,'
        b'"p":"64123.%02d000000","q":"0.00%03d000","f":%d,"l":%d,"T":1722513630%03d,"m":true,"M":true}}'
    ) % (number % 1000, one, number % 100, number % 999 + 1, one, one, number % 1000)


@functools.cache
def _pieces(write: Callable[[int], bytes], count: int) -> list[bytes]:
    return [
        b"".join(framed(TEXT, write(number)) for number in range(first, first + TOGETHER))
        for first in range(0, count, TOGETHER)
    ]


def _flood(count: int) -> Script:
    async def script(peer: Peer) -> None:
        peer.writer.transport.set_write_buffer_limits(AHEAD)  # it never waits for the client's turn on the processor
        named = "streams=" in peer.path
        pieces = _pieces(_aggregated if named else _raw if peer.path.startswith("/ws") else trade, count)
        if not named:
            await peer.subscribed()
        for piece in pieces:
            await peer.raw(piece)
        await peer.gone()

    return script


def _paced(phases: Sequence[tuple[int, float]], sent: Path) -> Script:
    async def script(peer: Peer) -> None:
        await peer.subscribed()
        found, total, began = Sent([], []), 0, time.monotonic()
        for rate, seconds in phases:
            before, end = total, total + round(rate * seconds)
            while total < end:
                due = min(end, before + int((time.monotonic() - began) * rate))
                piece = b"".join(framed(TEXT, trade(number)) for number in range(total, due))
                if piece:
                    found.at_ns.append(time.monotonic_ns())
                    found.counts.append(due)
                    peer.writer.write(piece)
                    total = due
                await asyncio.sleep(TICK_S)
            began += seconds
        await asyncio.to_thread(sent.write_bytes, msgspec.json.encode(found))
        await peer.gone()

    return script


async def main(*arguments: str) -> None:
    """Serve until the process is ended."""
    first, *others = arguments
    script = _paced(json.loads(first), Path(*others)) if others else _flood(int(first))
    async with scripted_server(script) as url:
        print(json.dumps({"url": url}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
