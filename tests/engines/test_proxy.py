"""The proxy breaks the network in the ways that the other tests count on."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.engines.process import free_ports
from tests.engines.proxy import Proxy

LIMIT_S = 30.0


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(connection: socket.socket) -> None:
            with connection:
                try:
                    while data := connection.recv(65536):
                        connection.sendall(data)
                except OSError:
                    return

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=[connection], daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[:2]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(echo: tuple[str, int]) -> Iterator[Proxy]:
    with Proxy(("127.0.0.1", free_ports(1)[0]), echo) as found:
        yield found


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(proxy.listen, timeout=LIMIT_S)


def echoed(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    found = b""
    while len(found) < len(data):
        part = connection.recv(65536)
        assert part, "the connection was closed"
        found += part
    return found


def test_it_breaks_the_network_as_it_is_told_and_nothing_that_passes_is_lost(proxy: Proxy) -> None:
    with connect(proxy) as one, connect(proxy) as other:
        assert (echoed(one, b"1"), echoed(other, b"2")) == (b"1", b"2")
        assert (proxy.accepted, proxy.connections) == (2, 2)
        assert proxy.reset() == 2
        for connection in (one, other):
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
    with connect(proxy) as connection:
        assert echoed(connection, b"before") == b"before"
        proxy.stall()
        connection.sendall(b"meanwhile")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(LIMIT_S)
        proxy.heal()
        assert connection.recv(9, socket.MSG_WAITALL) == b"meanwhile"
        proxy.stall()
        connection.sendall(b"2")
        assert proxy.cut() == 1
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    # The reset may come before `connect` has returned.
    with pytest.raises(ConnectionResetError), connect(proxy) as new:
        new.recv(1)
    assert proxy.refused == 1
    proxy.heal()
    with connect(proxy) as again:
        assert echoed(again, b"3") == b"3"


def test_it_ends_connections_in_the_middle_of_what_the_server_sends(proxy: Proxy) -> None:
    with connect(proxy) as before:
        assert echoed(before, b"12345678") == b"12345678"
        proxy.cut_after(5)
        with connect(proxy) as connection:
            connection.sendall(b"1234567")
            assert connection.recv(7, socket.MSG_WAITALL) == b"12345"
        before.sendall(b"9")
        assert before.recv(1) == b""
    proxy.cut_after(None)
    with connect(proxy) as again:
        assert echoed(again, b"1234567") == b"1234567"


def test_closing_leaves_nothing_of_a_connection_that_is_being_opened(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    async def never(*_: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    left: list[object] = []
    monkeypatch.setattr("tests.engines.proxy.asyncio.open_connection", never)
    with connect(proxy) as opening:
        assert asked.wait(LIMIT_S)
        with connect(proxy):  # accepted or not: nobody has waited for it
            proxy.close()
            with pytest.raises(ConnectionResetError):
                opening.recv(1)
    monkeypatch.setattr(sys, "unraisablehook", left.append)
    gc.collect()
    assert left == []
