"""TLS in front of a server that speaks none, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.limits import LIMIT_S

_PIECE = 64 * 1024


@contextmanager
def tls_front(port: int, certificate: Path) -> Iterator[int]:
    """Forward to `port` on loopback; gives the port that speaks TLS. certificate: PEM, with its key."""
    front = _Front(port, certificate)
    front.start()
    try:
        yield front.port
    finally:
        front.stop()


class _Front(threading.Thread):
    def __init__(self, to: int, certificate: Path) -> None:
        super().__init__(name="tls-front", daemon=True)
        self.port = 0
        self._to = to
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._over = asyncio.Event()

    def start(self) -> None:
        super().start()
        assert self._up.wait(LIMIT_S), "the TLS front did not come up"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self.join(10)

    def run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        await self._over.wait()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while piece := await source.read(_PIECE):
            target.write(piece)
            await target.drain()
    target.close()
