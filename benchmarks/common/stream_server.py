"""A server of trades on a stream, which sends them as fast as they are read: prints its URL as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.common.processes import ROOT, ended
from tests.cleanenv import environment
from tests.doubles.streamserver import TEXT, Peer, framed, scripted_server

NAME = "btcusdt@trade"
TOGETHER = 500
"""Trades that are sent in one piece, about as many as one read of a socket takes."""

AHEAD = 16 * 1024 * 1024


@contextlib.contextmanager
def trades_server(count: int) -> Iterator[str]:
    """The URL of a server that sends so many trades to each client, a new process."""
    command = [sys.executable, "-m", __name__, str(count)]
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment())) as process:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["url"])


def trade(number: int) -> bytes:
    """A trade as Binance sends it, in the combined form."""
    return (
        b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1722513630%03d,"s":"BTCUSDT","t":%d,"p":"64123.%02d000000",'
        b'"q":"0.00%03d000","T":1722513630%03d,"m":%s,"M":true}}'
    ) % (number % 1000, 3_700_000_000 + number, number % 100, number % 1000, number % 1000, b"true")


async def main(count: int) -> None:
    """Serve until the process is ended."""
    piece = b"".join(framed(TEXT, trade(number)) for number in range(TOGETHER))

    async def script(peer: Peer) -> None:
        peer.writer.transport.set_write_buffer_limits(AHEAD)  # it never waits for the client's turn on the processor
        await peer.subscribed()
        for _ in range(count // TOGETHER):
            await peer.raw(piece)
        await peer.gone()

    async with scripted_server(script) as url:
        print(json.dumps({"url": url}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
