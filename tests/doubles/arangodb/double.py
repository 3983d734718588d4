"""The double as a thing to start: in this process, or (`python -m tests.doubles.arangodb`) in its own."""

from __future__ import annotations

import asyncio
from types import TracebackType

from tests.doubles.arangodb.dispatch import Dispatcher
from tests.doubles.arangodb.misbehaviour import Misbehaviour
from tests.doubles.arangodb.server import ArangoServer, Settings
from tests.doubles.arangodb.wire import Connection

_HOST = "127.0.0.1"


class ArangoDouble:
    """`async with ArangoDouble() as double:` serves on loopback at `double.url` until the block ends.

    settings: what it pretends to be; with a path its data outlive it. port: 0 takes a free one.
    """

    def __init__(self, settings: Settings | None = None, *, port: int = 0) -> None:
        self.settings = settings or Settings()
        self.server = ArangoServer(self.settings)
        self.url = ""
        self._port = port
        self._dispatcher = Dispatcher(self.server)
        self._connections: set[Connection] = set()
        self._listening: asyncio.Server | None = None

    @property
    def misbehaviour(self) -> Misbehaviour:
        return self.server.misbehaviour

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(
            lambda: Connection(self._dispatcher.answer, self._connections), _HOST, self._port
        )
        port = self._listening.sockets[0].getsockname()[1]
        self.url = self.server.endpoint = f"http://{_HOST}:{port}"

    async def stop(self) -> None:
        """Close the port and every connection; what was answered is kept."""
        if self._listening is None:
            return
        self._listening.close()
        tasks = [connection.task for connection in self._connections if connection.task]
        for connection in list(self._connections):
            connection.close()
        jobs = [job.task for job in self.server.jobs.values()]
        for task in (*tasks, *jobs):
            task.cancel()
        await asyncio.gather(*tasks, *jobs, return_exceptions=True)
        await self._listening.wait_closed()
        self._listening = None
        self.server.close()

    async def __aenter__(self) -> ArangoDouble:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
