"""A TCP proxy on loopback whose network can be broken: reset, stalled, cut, and healed again.

It runs in a thread with an event loop of its own, so that a blocking test and a coroutine can both use it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TypeVar

from tests.engines.process import EngineError

Address = tuple[str, int]
T = TypeVar("T")
_LIMIT_S = 60.0
_CHUNK = 64 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: closing sends RST


class Proxy:
    """Passes connections to `listen` on to `upstream`. Every change holds once its method has returned."""

    def __init__(self, listen: Address, upstream: Address) -> None:
        self.listen = listen
        self.upstream = upstream
        self.accepted = 0
        self.refused = 0
        self.passed_bytes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._cut = False
        self._most: int | None = None
        self._pairs = set[_Pair]()

    def start(self) -> None:
        """Listen."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._do(self._open)

    def close(self) -> None:
        """End every connection and stop listening."""
        if self._loop is None or self._thread is None:
            return
        self._do(self._shut)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_LIMIT_S)
        self._loop.close()
        self._loop = self._thread = None

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._pairs)

    def reset(self) -> int:
        """Reset every connection (RST to both sides); new ones are accepted. Returns how many there were."""
        return self._do(self._reset)

    def stall(self) -> None:
        """Pass nothing on in either direction; connections stay open, new ones are accepted and wait too."""
        self._do(self._stall)

    def cut(self) -> int:
        """Reset every connection, and every new one at once. Returns how many there were."""
        return self._do(self._sever)

    def cut_after(self, most: int | None) -> None:
        """End each connection once so many bytes of the server have passed on it; None: end none for that."""
        self._most = most

    def heal(self) -> None:
        """Pass everything on again; what was stalled goes on, nothing of it lost."""
        self._do(self._heal)

    def __enter__(self) -> Proxy:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # In the thread of the loop

    def _do(self, work: Callable[[], Coroutine[None, None, T]]) -> T:
        if self._loop is None:
            raise EngineError("the proxy does not run")
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(_LIMIT_S)

    async def _open(self) -> None:
        self._flowing.set()
        self._server = await asyncio.start_server(self._serve, *self.listen, limit=_CHUNK)

    async def _shut(self) -> None:
        assert self._server is not None
        # First it accepts nothing more: a server that is closed in the middle of accepting leaves a socket open.
        for listening in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(3):
            await asyncio.sleep(0)  # what was just accepted begins to be served
        self._server.close()
        await self._reset()
        # What is only being opened has no pair yet: the loop must not stop under it.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for one in others:
                one.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # an aborted connection is lost one turn later

    async def _reset(self) -> int:
        pairs = list(self._pairs)
        for pair in pairs:
            pair.reset()
        return len(pairs)

    async def _stall(self) -> None:
        self._flowing.clear()

    async def _sever(self) -> int:
        self._cut = True
        return await self._reset()

    async def _heal(self) -> None:
        self._cut = False
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut():
            self.refused += 1
            _abort(writer)
            return
        self.accepted += 1
        try:
            far_reader, far_writer = await asyncio.wait_for(asyncio.open_connection(*self.upstream), _LIMIT_S)
        except (OSError, asyncio.CancelledError):
            # The server is down: its client sees what it would see without us. Or we are closed.
            _abort(writer)
            return
        if self._is_cut():
            _abort(writer)
            _abort(far_writer)
            return
        pumps = asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer, is_server=True))
        pair = _Pair(writer, far_writer, pumps)
        self._pairs.add(pair)
        try:
            await pumps
            writer.close()
            far_writer.close()
        except (OSError, asyncio.CancelledError):
            pair.reset()
        finally:
            self._pairs.discard(pair)

    def _is_cut(self) -> bool:
        return self._cut

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_server: bool = False
    ) -> None:
        passed = 0
        while data := await reader.read(_CHUNK):
            await self._flowing.wait()
            passed += len(data)
            if is_server and self._most is not None and passed >= self._most:
                writer.write(data[: max(0, self._most - passed + len(data))])
                writer.close()
                return
            writer.write(data)
            await writer.drain()
            self.passed_bytes += len(data)
        await self._flowing.wait()
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()


class _Pair:
    """The two ends of one connection, and what passes their bytes on."""

    def __init__(
        self, near: asyncio.StreamWriter, far: asyncio.StreamWriter, pumps: asyncio.Future[tuple[None, None]]
    ) -> None:
        self._ends = (near, far)
        self._pumps = pumps

    def reset(self) -> None:
        """Both ends see RST."""
        for end in self._ends:
            _abort(end)
        # While the network is stalled they would wait on.
        self._pumps.cancel()


def _abort(writer: asyncio.StreamWriter) -> None:
    found = writer.get_extra_info("socket")
    if found is not None and not writer.is_closing():
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
