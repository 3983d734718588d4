"""The connections to the API server are closed when `close` returns, also if the server does not end TLS."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
from kubernetes_asyncio.client.configuration import Configuration

from streamforge_utils.adapters.kubernetes.connections import Connections
from tests.engines.tls import Authority
from tests.limits import LIMIT_S


def _server_context(folder: Path, authority: Authority) -> ssl.SSLContext:
    (folder / "ca.pem").write_text(authority.pem)
    (folder / "server.pem").write_text(authority.issue())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem")
    return context


@contextmanager
def _silent_server(context: ssl.SSLContext, asked: threading.Event) -> Iterator[int]:
    """The port of a server that reads one request and then neither answers nor ends its connection."""
    ended = threading.Event()

    def serve() -> None:
        connection, _ = listening.accept()
        with context.wrap_socket(connection, server_side=True) as client:
            client.recv(4096)
            asked.set()
            ended.wait(LIMIT_S)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(LIMIT_S)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            ended.set()
            thread.join(LIMIT_S)


async def _cancel_a_request_and_close(port: int, authority: Path, asked: threading.Event) -> None:
    configuration = Configuration(host=f"https://127.0.0.1:{port}")
    configuration.ssl_ca_cert = str(authority)
    connections = Connections(configuration)
    request = asyncio.create_task(
        connections.request("GET", "/", query=None, body=None, accept="*/*", limits=aiohttp.ClientTimeout())
    )
    await asyncio.to_thread(asked.wait, LIMIT_S)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    await connections.close()


def test_a_cancelled_request_leaves_no_open_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = _server_context(tmp_path, Authority.create())
    unclosed = list[str]()
    monkeypatch.setattr(sys, "unraisablehook", lambda found: unclosed.append(str(found.exc_value)))
    asked = threading.Event()
    with _silent_server(context, asked) as port:
        asyncio.run(_cancel_a_request_and_close(port, tmp_path / "ca.pem", asked))
        gc.collect()
    assert asked.is_set()
    assert unclosed == []
