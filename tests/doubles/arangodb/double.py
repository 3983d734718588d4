"""The double as a thing to start: in this process, or (`python -m tests.doubles.arangodb`) in its own."""

from __future__ import annotations

import ssl
from pathlib import Path
from types import TracebackType

from aiohttp import web

from tests.doubles.arangodb.dispatch import Dispatcher
from tests.doubles.arangodb.misbehaviour import Misbehaviour
from tests.doubles.arangodb.server import ArangoServer, Settings
from tests.doubles.arangodb.wire import application

_HOST = "127.0.0.1"


class ArangoDouble:
    """`async with ArangoDouble() as double:` serves on loopback at `double.url` until the block ends.

    settings: what it pretends to be; with a path its data outlive it. port: 0 takes a free one. certificate: PEM
    with its key, to speak TLS.
    """

    def __init__(self, settings: Settings | None = None, *, port: int = 0, certificate: Path | None = None) -> None:
        self.server = ArangoServer(settings or Settings())
        self.url = ""
        self._port = port
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        app = application(Dispatcher(self.server).answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, keepalive_timeout=3600)

    @property
    def misbehaviour(self) -> Misbehaviour:
        return self.server.misbehaviour

    async def __aenter__(self) -> ArangoDouble:
        await self._runner.setup()
        await web.TCPSite(self._runner, _HOST, self._port, ssl_context=self._tls).start()
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://{_HOST}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the port and every connection; what was answered is kept."""
        await self._runner.cleanup()
        self.server.storage.close()
