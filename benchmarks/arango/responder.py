"""A server that says what ArangoDB would and does nothing: it takes bodies and answers that all documents are stored.

`python -m benchmarks.arango.responder [--delay SECONDS]`; the first line printed is its address. What a client needs of
a server costs almost nothing here, so that a client is what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
from typing import cast

import uvloop

_GET = {
    b"/_api/version": b'{"server":"arango","version":"3.12.10","license":"community"}',
    b"/_api/collection": b'{"error":false,"code":200,"result":[]}',
}
_ABOUT = b'{"error":false,"code":200,"name":"x","type":2,"isSystem":false}'


class _Answering(asyncio.Protocol):
    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._head = b""
        self._parts: list[bytes] = []
        self._missing = 0
        self._count = 0
        self._line = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is none by its bases

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._take(data)
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return
        head, rest = self._head[:end].lower(), self._head[end + 4 :]
        at = head.find(b"content-length:")
        self._missing = 0 if at < 0 else int(head[at + 15 :].split(b"\r\n", 1)[0])
        self._head, self._count, self._line = b"", 0, self._head.split(b"\r\n", 1)[0]
        self._parts = [b""]
        if self._missing:
            self._take(rest)
        else:
            self._answer()

    def _take(self, data: bytes) -> None:
        self._missing -= len(data)
        # A key that is cut in two is counted with the piece that follows.
        joined = self._parts[-1][-7:] + data
        self._count += joined.count(b'"_key":"')
        self._parts = [data]
        if self._missing <= 0:
            self._missing = 0
            self._answer()

    def _answer(self) -> None:
        method, path, _ = self._line.split(b" ", 2)
        path = b"/" + path.split(b"?", 1)[0].split(b"/", 3)[-1]
        if method == b"POST" and path.startswith(b"/_api/document/"):
            status, body = b"202 Accepted", _stored(self._count)
        elif method == b"POST" and path == b"/_api/cursor":
            status, body = b"201 Created", b'{"result":[],"hasMore":false,"error":false,"code":201}'
        else:
            status, body = b"200 OK", _GET.get(path, _ABOUT)
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        if self._delay_s and method == b"POST":
            asyncio.get_running_loop().call_later(self._delay_s, self._write, head + body)
        else:
            self._write(head + body)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


@functools.lru_cache(maxsize=64)
def _stored(count: int) -> bytes:
    one = b'{"_id":"candles_bench0/BTCUSDT_1m_1672531200000","_key":"BTCUSDT_1m_1672531200000","_rev":"_l6zhbUW---"}'
    return b"[" + b",".join([one] * count) + b"]"


async def _serve(delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Answering(delay_s), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.arango.responder", description=__doc__)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before every answer to a write")
    uvloop.run(_serve(parser.parse_args().delay))
