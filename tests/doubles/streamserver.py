"""Servers of streams: one that speaks as the exchange does, made with `websockets`, and one that sends what it is told.

The second writes its frames itself, so that it can write wrong ones.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class StreamServer:
    """heard: every message of clients. clients: those that are connected, in order. paths: asked for, in order."""

    def __init__(self) -> None:
        self.url = ""
        self.heard: list[str] = []
        self.paths: list[str] = []
        self.clients: list[ServerConnection] = []
        self._names: dict[ServerConnection, set[str]] = {}

    async def handle(self, client: ServerConnection) -> None:
        assert client.request is not None
        self.paths.append(client.request.path)
        self.clients.append(client)
        names = self._names[client] = set()
        try:
            async for message in client:
                assert isinstance(message, str)
                self.heard.append(message)
                asked = json.loads(message)
                if asked["method"] == "SUBSCRIBE":
                    names.update(asked["params"])
                else:
                    names.difference_update(asked["params"])
                await client.send(json.dumps({"result": None, "id": asked["id"]}))
        except ConnectionClosed:
            pass
        finally:
            self.clients.remove(client)
            del self._names[client]

    async def publish(self, name: str, data: object) -> None:
        """Send an event of a stream to who has subscribed to it, and is there still."""
        text = combined(name, data)
        for client in list(self.clients):
            if name in self._names.get(client, ()):
                with suppress(ConnectionClosed):
                    await client.send(text)

    def names(self) -> set[str]:
        """The streams of the newest connection."""
        return self._names[self.clients[-1]]


def combined(name: str, data: object) -> str:
    return json.dumps({"stream": name, "data": data}, ensure_ascii=False, separators=(",", ":"))


@asynccontextmanager
async def stream_server(
    *, compression: str | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[StreamServer]:
    """A server on a free port of this machine. compression: `deflate` agrees to packed messages."""
    server = StreamServer()
    async with serve(
        server.handle, "127.0.0.1", 0, compression=compression, ssl=tls, ping_interval=None, close_timeout=0.1
    ) as running:
        port = next(iter(running.sockets)).getsockname()[1]
        server.url = f"{'ws' if tls is None else 'wss'}://127.0.0.1:{port}"
        yield server


class Peer:
    """The server's end of one connection, after the handshake. path: what the client has asked for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.path = ""

    async def frame(self, opcode: int, payload: bytes, *, first: int = 0x80, masked: bool = False) -> None:
        """Send a frame. first: the bits beside the opcode; 0x80 is the last frame of a message."""
        await self.raw(framed(opcode, payload, first=first, masked=masked))

    async def text(self, *texts: str) -> None:
        """Send messages in one piece."""
        await self.raw(b"".join(framed(TEXT, text.encode()) for text in texts))

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read(self) -> tuple[int, bytes]:
        """The client's next frame: opcode and payload."""
        first, second = await self._reader.readexactly(2)
        assert second & 0x80, "a client masks its frames"
        length = second & 0x7F
        if length == 126:
            length = int.from_bytes(await self._reader.readexactly(2), "big")
        mask = await self._reader.readexactly(4)
        payload = await self._reader.readexactly(length)
        return first & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))

    async def subscribed(self) -> list[str]:
        """Acknowledge the next request; returns its streams. A ping before it is passed over."""
        opcode, payload = await self.read()
        while opcode != TEXT:
            opcode, payload = await self.read()
        asked = json.loads(payload)
        await self.text(json.dumps({"result": None, "id": asked["id"]}))
        return list(asked["params"])

    async def gone(self) -> None:
        """Return once the client has ended the connection."""
        try:
            while await self._reader.read(65536):
                pass
        except ConnectionError:
            pass


def framed(opcode: int, payload: bytes, *, first: int = 0x80, masked: bool = False) -> bytes:
    length, mask = len(payload), 0x80 if masked else 0
    if length < 126:
        head = bytes([first | opcode, mask | length])
    elif length < 65536:
        head = bytes([first | opcode, mask | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([first | opcode, mask | 127]) + length.to_bytes(8, "big")
    return head + (b"\0\0\0\0" if masked else b"") + payload


Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def scripted_server(
    script: Script, *, answer: bytes | None = None, extensions: str = "", tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A server that runs `script` for each connection and then ends it; its URL.

    answer: is sent instead of an agreement to the handshake. extensions: a header of the agreement. What a script
    raises is raised at the end.
    """
    failures: list[BaseException] = []
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = Peer(reader, writer)
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            peer.path = request.split(" ", 2)[1]
            await peer.raw(_agreement(request, extensions) if answer is None else answer)
            await script(peer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has ended it
        except BaseException as error:
            failures.append(error)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'ws' if tls is None else 'wss'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if failures:
            raise failures[0]


def _agreement(request: str, extensions: str) -> bytes:
    key = next(line.split(": ", 1)[1] for line in request.splitlines() if line.lower().startswith("sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
    extra = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n{extra}\r\n"
    ).encode()
