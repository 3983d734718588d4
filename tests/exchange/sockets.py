"""A plain client of the exchange's streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from tests.exchange.conftest import Peer
from tests.limits import LIMIT_S

Json = dict[str, Any]


class Socket:
    """A connection to the streams. `websockets` answers the exchange's pings by itself. pings: what they held."""

    def __init__(self, peer: Peer, ws: ClientConnection) -> None:
        self.ws, self._peer = ws, peer
        self.pings: list[bytes] = []
        self._receive = ws.protocol.recv_frame
        ws.protocol.recv_frame = self._noted  # type: ignore[method-assign]

    def _noted(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PING:
            self.pings.append(bytes(frame.data))
        self._receive(frame)

    async def text(self) -> str:
        """The next message."""
        return str(await asyncio.wait_for(self.ws.recv(), LIMIT_S))

    async def next(self) -> Json:
        """The next message, decoded."""
        return msgspec.json.decode(await self.text(), type=Json)

    async def ask(self, method: str, *params: object, request_id: object = 1) -> Json:
        """Send a request and read its answer. Nothing may be due."""
        await self.ws.send(msgspec.json.encode({"method": method, "params": params, "id": request_id}).decode())
        return await self.next()

    async def sent(self, milliseconds: int = 0) -> list[Json]:
        """What comes while the exchange's clock is moved on: all of it, told apart by the notice of a shutdown."""
        self._peer.clock.advance(milliseconds)
        await self._peer.send("POST", "/control/shutdown", {"notice_s": 1_000_000})
        found: list[Json] = []
        while True:
            message = await self.next()
            data = message.get("data", message)
            if data.get("e") == "serverShutdown":
                return found
            found.append(message)

    async def closed(self) -> tuple[int, str]:
        """Read until the exchange has ended the connection: with which code and reason. 1006: without a close frame."""
        try:
            while True:
                await self.text()
        except ConnectionClosed as ended:
            return (1006, "") if ended.rcvd is None else (ended.rcvd.code, ended.rcvd.reason)


@asynccontextmanager
async def socket(peer: Peer, path: str, **options: Any) -> AsyncIterator[Socket]:
    """Connect to `path`. options: of `websockets`."""
    url = f"ws://127.0.0.1:{peer.exchange.port}{path}"
    defaults: dict[str, Any] = {"ping_interval": None, "open_timeout": LIMIT_S, "close_timeout": 0.2}
    async with connect(url, **(defaults | {"compression": None} | options)) as ws:
        yield Socket(peer, ws)
