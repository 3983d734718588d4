"""Why a connection cannot be opened, and whether another try may help."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
from picows import WSTransport

from streamforge_utils.adapters.binance.streams.binance_connection import BinanceConnection
from streamforge_utils.adapters.binance.streams.opening import RECEIVE_BUFFER
from streamforge_utils.model.errors import BannedError, ConfigError, PermanentError, RetryableError, StreamForgeError
from tests.adapters.binance.streams.rig import EVENT, payloads, rig
from tests.doubles.streamserver import TEXT, Peer, scripted_server, stream_server
from tests.engines.tls import Authority

STREAMS = ["btcusdt@trade"]


async def ends(peer: Peer) -> None:
    """A server that ends the connection at once."""


async def waits(peer: Peer) -> None:
    await peer.gone()


async def serves(peer: Peer) -> None:
    await peer.subscribed()
    await peer.frame(TEXT, EVENT)
    await peer.gone()


def refusal(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "Content-Length: 2", "", "no"]).encode()


def agreement(*connection: str) -> bytes:
    """An agreement to the handshake, with such headers `Connection`."""
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", *(f"Connection: {word}" for word in connection)]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("answer", "kind", "said", "after_s"),
    [
        (refusal("400 Bad Request"), PermanentError, "HTTP 400.*STREAMFORGE_STREAM_URL", None),
        (refusal("404 Not Found"), PermanentError, "HTTP 404", None),
        (refusal("301 Moved", "Location: wss://example.org/stream"), PermanentError, "HTTP 301", None),
        (refusal("200 OK"), PermanentError, "no WebSocket server", None),
        (refusal("101 Switching Protocols"), PermanentError, "no WebSocket server", None),
        (agreement("keep-alive, Upgrade"), PermanentError, "`Connection: keep-alive, Upgrade`.*proxy", None),
        (agreement("keep-alive", "Upgrade"), PermanentError, "or a proxy before it", None),
        (agreement("close"), PermanentError, "no WebSocket server", None),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", PermanentError, "no WebSocket server", None),
        (refusal("500 Error"), RetryableError, "HTTP 500", None),
        (refusal("503 Service Unavailable").replace(b"HTTP/1.1", b"HTTP/1.0"), RetryableError, "HTTP 503", None),
        (refusal("502 Bad Gateway"), RetryableError, "HTTP 502.: a proxy there gets no answer", None),
        (refusal("504 Gateway Timeout"), RetryableError, "HTTP 504.: a proxy there gets no answer", None),
        (refusal("407 Proxy Authentication Required"), PermanentError, "is a proxy that wants a user", None),
        (refusal("429 Too Many Requests", "Retry-After: 7"), RetryableError, "HTTP 429", 7),
        (refusal("403 Forbidden"), BannedError, "HTTP 403; 2024-08-02T12:05", 300),
        (refusal("418 I'm a teapot"), BannedError, "HTTP 418", 120),
        (refusal("418 I'm a teapot", "Retry-After: 600"), BannedError, "HTTP 418", 600),
        (b"", RetryableError, "closed the connection before it answered", None),
    ],
)
async def test_a_refusal_says_whether_another_try_may_help(
    answer: bytes, kind: type[StreamForgeError], said: str, after_s: float | None
) -> None:
    async with scripted_server(ends, answer=answer) as url, rig(url) as made:
        with pytest.raises(kind, match=said) as refused:
            await made.stream.connect(STREAMS)
        assert url in str(refused.value)
        assert getattr(refused.value, "retry_after", None) == after_s
        if isinstance(refused.value, BannedError):
            assert refused.value.until_ms == made.clock.now_ms() + 1000 * (after_s or 0)
        assert made.observer.counts["stream_connects_total{outcome=failed}"] == 1


async def test_nobody_listens() -> None:
    async with scripted_server(ends) as url:
        pass
    async with rig(url) as made:
        with pytest.raises(RetryableError, match=f"no connection to {url}: .*refused"):
            await made.stream.connect(STREAMS)


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("cancel", [False, True])
async def test_a_server_that_does_not_answer_is_left_within_a_limit(encrypted: bool, cancel: bool) -> None:
    came, gone = asyncio.Event(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        came.set()
        while await reader.read(65536):
            pass
        writer.transport.abort()
        gone.set()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        address = f"{'wss' if encrypted else 'ws'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with rig(address) as made:
            connecting = asyncio.create_task(made.stream.connect(STREAMS))
            await came.wait()
            if cancel:
                connecting.cancel()
                await asyncio.gather(connecting, return_exceptions=True)
                assert connecting.cancelled()
            else:
                made.clock.advance(10)
                with pytest.raises(RetryableError, match="did not answer within 10 s"):
                    await connecting
            await gone.wait()


class TestTls:
    @pytest.fixture(autouse=True)
    def _certificates(self, tmp_path: Path) -> None:
        self.ca = tmp_path / "ca.pem"
        self.folder = tmp_path
        self.authority = Authority.create()
        self.ca.write_text(self.authority.pem)

    def server_tls(self, *hosts: str) -> ssl.SSLContext:
        (self.folder / "server.pem").write_text(self.authority.issue(hosts=hosts or ("127.0.0.1",)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem")
        return context

    async def test_a_ca_of_the_settings_is_trusted(self) -> None:
        async with scripted_server(serves, tls=self.server_tls()) as url, rig(url, ca_path=self.ca) as made:
            assert await payloads(await made.stream.connect(STREAMS), 1) == [EVENT]

    async def test_a_ca_that_does_not_fit_is_permanent_and_says_what_to_do(self) -> None:
        other = self.folder / "other.pem"
        other.write_text(Authority.create("another CA").pem)
        for ca_path in (None, other):
            async with scripted_server(waits, tls=self.server_tls()) as url, rig(url, ca_path=ca_path) as made:
                with pytest.raises(PermanentError, match=f"certificate of {url} is not trusted") as refused:
                    await made.stream.connect(STREAMS)
                assert "STREAMFORGE_STREAM_CA_PATH" in str(refused.value)

    async def test_a_certificate_of_another_host_is_not_trusted(self) -> None:
        tls = self.server_tls("stream.example.org")
        async with scripted_server(waits, tls=tls) as url, rig(url, ca_path=self.ca) as made:
            with pytest.raises(PermanentError, match=r"is not trusted .*mismatch"):
                await made.stream.connect(STREAMS)

    async def test_a_server_that_ends_the_connection_meanwhile(self) -> None:
        async def ends_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.transport.abort()

        server = await asyncio.start_server(ends_it, "127.0.0.1", 0)
        address = f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, rig(address, ca_path=self.ca) as made:
            with pytest.raises(RetryableError, match=f"no connection to {address}: .*(ended it|reset)"):
                await made.stream.connect(STREAMS)

    async def test_a_server_without_tls_is_named(self) -> None:
        async def talks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(refusal("400 Bad Request"))
            await reader.read()
            writer.transport.abort()

        server = await asyncio.start_server(talks, "127.0.0.1", 0)
        address = f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, rig(address, ca_path=self.ca) as made:
            with pytest.raises(PermanentError, match="does not speak TLS"):
                await made.stream.connect(STREAMS)

    async def test_without_tls_at_a_server_that_has_it(self) -> None:
        async with scripted_server(waits, tls=self.server_tls()) as url, rig(url.replace("wss", "ws")) as made:
            with pytest.raises(RetryableError, match="closed the connection before it answered"):
                await made.stream.connect(STREAMS)

    @pytest.mark.parametrize(("content", "said"), [(None, "cannot be read"), ("no PEM", "holds no PEM certificate")])
    async def test_a_ca_file_of_no_use_is_a_matter_of_the_settings(self, content: str | None, said: str) -> None:
        path = self.folder / "wrong.pem"
        if content is not None:
            path.write_text(content)
        async with rig("wss://127.0.0.1:9", ca_path=path) as made:
            with pytest.raises(ConfigError, match=f"STREAMFORGE_STREAM_CA_PATH: the file .*wrong.pem {said}"):
                await made.stream.connect(STREAMS)

    async def test_an_abort_does_not_wait_for_the_other_side(self) -> None:
        async def deaf(peer: Peer) -> None:
            await peer.subscribed()
            await asyncio.Event().wait()

        async with scripted_server(deaf, tls=self.server_tls()) as url, rig(url, ca_path=self.ca) as made:
            connection = await made.stream.connect(STREAMS)
            await connection.abort()


async def test_a_closed_client_tries_nothing() -> None:
    async with rig("ws://127.0.0.1:9") as made:
        await made.stream.close()
        with pytest.raises(PermanentError, match="closed"):
            await made.stream.connect(STREAMS)


async def test_what_the_kernel_may_hold_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    made_by, sizes = BinanceConnection.on_ws_connected, list[int]()

    def on_ws_connected(self: BinanceConnection, transport: WSTransport) -> None:
        used = transport.underlying_transport.get_extra_info("socket")
        sizes.append(used.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
        made_by(self, transport)

    monkeypatch.setattr(BinanceConnection, "on_ws_connected", on_ws_connected)
    async with stream_server() as server, rig(server.url) as made:
        await made.stream.connect(STREAMS)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        assert sizes == [other.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)]  # the kernel has its own idea of it


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "ws_proxy", "wss_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    async with scripted_server(serves) as url, rig(url) as made:
        assert await payloads(await made.stream.connect(STREAMS), 1) == [EVENT]


async def test_the_combined_form_is_asked_for_with_times_in_milliseconds() -> None:
    async with stream_server() as server, rig(f"{server.url}/ws") as made:
        await made.stream.connect(STREAMS)
        assert server.paths == ["/stream"]
        headers = server.clients[0].request.headers  # type: ignore[union-attr]  # there is one after the handshake
        assert headers["User-Agent"] == "streamforge"
        assert headers["Sec-WebSocket-Extensions"] == "permessage-deflate"
