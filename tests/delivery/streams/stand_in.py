"""A proxy behind which the test exchange stands in for the hosts of Binance, and a client as a process behind it."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.cleanenv import environment
from tests.engines.tls import Authority
from tests.places import ROOT

PYTHON = ROOT / "build" / "stream-clients-env" / "bin" / "python"
SCRIPT = Path(__file__).with_name("stream_clients.py")
HOSTS = ("api.binance.com", "stream.binance.com")
LOOPBACK = "127.0.0.1"

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def stand_in(port: int, folder: Path) -> AsyncIterator[dict[str, str]]:
    """The environment of a client whose connections to Binance come to the exchange at `port` of this machine."""
    authority = Authority.create()
    ca, chain = folder / "ca.pem", folder / "server.pem"
    ca.write_text(authority.pem)
    chain.write_text(authority.issue(hosts=HOSTS))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain)

    async def unwrap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _join(reader, writer, port)

    async with _served(unwrap, tls) as secured:

        async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            method, target, *_ = (await reader.readuntil(b"\r\n\r\n")).decode().split()
            known = method == "CONNECT" and target.rpartition(":")[0] in HOSTS
            writer.write(b"HTTP/1.1 %s\r\n\r\n" % (b"200 Connected" if known else b"403 Forbidden"))
            if known:
                await _join(reader, writer, secured)

        async with _served(tunnel) as proxy:
            yield {
                "HTTPS_PROXY": f"http://{LOOPBACK}:{proxy}",
                "NO_PROXY": "",
                "REQUESTS_CA_BUNDLE": str(ca),
                "SSL_CERT_FILE": str(ca),
            }


@asynccontextmanager
async def _served(handle: Handle, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server that handles connections so."""
    tasks: set[asyncio.Task[None] | None] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            await handle(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # one side has ended it, or the test has
        finally:
            writer.close()

    server = await asyncio.start_server(run, LOOPBACK, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        left = [task for task in tasks if task is not None]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Pass on what comes, in both directions, until one side ends it."""
    far_reader, far_writer = await asyncio.open_connection(LOOPBACK, port)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        finally:
            sink.close()

    await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer), return_exceptions=True)


class Client:
    """A client that runs. lines: what it has told, in order."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.lines: list[Any] = []
        self._process, self._log = process, log

    async def read(self) -> None:
        """Take what it tells, until it ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if line.startswith((b"[", b"{")):  # else a library talks to a person
                self.lines.append(json.loads(line))

    async def step(self, seconds: float = 0.05) -> None:
        """Let it work for a moment; it must not have ended."""
        await asyncio.sleep(seconds)
        assert self._process.returncode is None, self._log.read_text(errors="replace")[-3000:]


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


@asynccontextmanager
async def client(name: str, symbol: str, port: int, folder: Path) -> AsyncIterator[Client]:
    """A client of `stream_clients.py`, which takes the exchange at `port` for Binance."""
    assert PYTHON.exists(), "the packages are missing: make stream-clients"
    log = _new(folder) / "log"
    async with stand_in(port, folder) as way:
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *(str(PYTHON), str(SCRIPT), name, symbol),
                cwd=folder,
                env=environment(**way),
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=1 << 24,
            )
        running = Client(process, log)
        reading = asyncio.create_task(running.read())
        try:
            yield running
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await reading
