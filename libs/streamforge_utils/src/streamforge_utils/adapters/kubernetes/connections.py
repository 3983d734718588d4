"""HTTP connections to the API server, with the credentials of its configuration."""

from __future__ import annotations

import asyncio
import socket
import ssl
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession, ClientTimeout
    from kubernetes_asyncio.client.configuration import Configuration

_ROUNDS: Final = 10
"""Rounds of the event loop in which a socket that was shut down is closed; two are enough."""


class Connections:
    """A pool of connections. `close` closes their sockets without waiting for the other side."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._sockets = weakref.WeakSet[socket.socket]()
        self._session = self._open()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None,
        body: object,
        accept: str,
        limits: ClientTimeout,
    ) -> ClientResponse:
        """The head of an answer. Raises what aiohttp does."""
        configuration = self._configuration
        headers = {"Accept": accept, "Content-Type": "application/json"}
        for token in (await configuration.auth_settings()).values():
            headers[token["key"]] = token["value"]
        options: dict[str, Any] = {"proxy": configuration.proxy, "proxy_headers": configuration.proxy_headers}
        if configuration.tls_server_name:
            options["server_hostname"] = configuration.tls_server_name
        return await self._session.request(
            method,
            f"{configuration.host}{path}" + (f"?{urlencode(query)}" if query else ""),
            headers=headers,
            data=None if body is None else msgspec.json.encode(body),
            timeout=limits,
            **options,
        )

    async def close(self) -> None:
        """Close all. A connection whose request was cancelled would wait for the other side to end TLS."""
        await self._session.close()
        for _ in range(_ROUNDS):
            left = [found for found in self._sockets if found.fileno() >= 0]
            if not left:
                return
            for found in left:
                with suppress(OSError):  # not connected yet, or no longer
                    found.shutdown(socket.SHUT_RDWR)
            await asyncio.sleep(0)

    def _open(self) -> ClientSession:
        import aiohttp

        configuration = self._configuration
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
        if not configuration.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if configuration.disable_strict_ssl_verification:
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        connector = aiohttp.TCPConnector(
            limit=configuration.connection_pool_maxsize, ssl=context, socket_factory=self._new_socket
        )
        return aiohttp.ClientSession(connector=connector, trust_env=True)

    def _new_socket(self, address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol = address[:3]
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        self._sockets.add(made)
        return made
