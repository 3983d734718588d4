"""Opening a connection: the socket, TLS and the WebSocket handshake, within a limit; and why it could not be opened."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
import ssl
from collections.abc import Callable

from picows import (
    WSError,
    WSHandshakeError,
    WSInvalidUpgradeError,
    WSParsedURL,
    WSUpgradeRequest,
    WSUpgradeResponse,
    ws_connect,
)

from streamforge_utils.adapters.binance.binance_rules import (
    DEFAULT_BAN_S,
    FIREWALL_BLOCK_S,
    LONGEST_BAN_S,
    parse_retry_after,
)
from streamforge_utils.adapters.binance.streams.binance_connection import BinanceConnection
from streamforge_utils.adapters.binance.streams.message_frames import (
    EXTENSION,
    LARGEST_MESSAGE,
    Inflation,
    agreed_inflation,
)
from streamforge_utils.adapters.binance.streams.stream_address import StreamAddress
from streamforge_utils.model.errors import BannedError, PermanentError, RefusedForNow, RetryableError, StreamForgeError
from streamforge_utils.model.timeranges import format_ms
from streamforge_utils.ports.clock import Clock

OPENING_S = 10.0
"""How long it may take in all."""

RECEIVE_BUFFER = 1024 * 1024
"""Of the socket: the kernel would let it grow to many times that while nobody reads."""

_TLS_END_S = 1.0
"""How long TLS may take to end where picows has met what is no frame."""

_LATER = (408, 425, 429)
"""Refusals that end."""

_OF_PROXY = (502, 504)
"""Refusals of who only passes on."""

_BLOCK_S = {403: FIREWALL_BLOCK_S, 418: DEFAULT_BAN_S}
"""Refusals of the address, and how long they last where the answer names no time."""

_STATUS = re.compile(rb"HTTP/1\.\d (\d{3})")
_log = logging.Logger("picows", logging.CRITICAL + 1)
"""It says what the connection's end says, too."""

NewConnection = Callable[[Inflation | None], BinanceConnection]


async def open_connection(address: StreamAddress, new: NewConnection, clock: Clock) -> BinanceConnection:
    """A connection made by `new`, open. Raises RetryableError, PermanentError or ConfigError."""
    opening = _Opening(address, new)
    working = asyncio.create_task(opening.run())
    limit = asyncio.create_task(clock.sleep(OPENING_S))
    try:
        await asyncio.wait((working, limit), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise RetryableError(f"{address.shown} did not answer within {OPENING_S:g} s: is it a WebSocket server?")
        return working.result()
    except (WSError, OSError) as error:
        # Its traceback would keep these frames, and the connection, in cycles.
        raise _translated(error, address, clock) from error.with_traceback(None)
    finally:
        limit.cancel()
        if not working.done():
            working.cancel()
            opening.break_off()
        await asyncio.gather(working, limit, return_exceptions=True)


class _Opening:
    def __init__(self, address: StreamAddress, new: NewConnection) -> None:
        self._address = address
        self._new = new
        self._socket: socket.socket | None = None

    async def run(self) -> BinanceConnection:
        tls = self._address.tls()
        made: list[BinanceConnection] = []

        def listener(request: WSUpgradeRequest, response: WSUpgradeResponse) -> BinanceConnection:
            made.append(self._new(agreed_inflation(response.headers.get("Sec-WebSocket-Extensions", ""))))
            return made[0]

        await ws_connect(
            listener,
            self._address.url,
            ssl_context=tls,
            websocket_handshake_timeout=None,
            logger_name=_log,
            enable_auto_pong=False,
            max_frame_size=LARGEST_MESSAGE,
            extra_headers={"Sec-WebSocket-Extensions": EXTENSION, "User-Agent": "streamforge"},
            max_redirects=0,
            socket_factory=self._connected,
            ssl_shutdown_timeout=None if tls is None else _TLS_END_S,
        )
        if not made:
            raise ConnectionError("the server closed the connection before it answered")
        return made[0]

    async def _connected(self, url: WSParsedURL) -> socket.socket:
        loop = asyncio.get_running_loop()
        failure: OSError = ConnectionError("the host has no address")
        for family, kind, protocol, _, address in await loop.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM):
            made = socket.socket(family, kind, protocol)
            try:
                made.setblocking(False)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
                await loop.sock_connect(made, address)
            except OSError as error:
                failure = error
                made.close()
            except BaseException:
                made.close()
                raise
            else:
                self._socket = made
                return made
        raise failure

    def break_off(self) -> None:
        """Let the transport, which nobody else knows yet, see the end of the connection."""
        if self._socket is not None and self._socket.fileno() >= 0:
            with contextlib.suppress(OSError):  # the other side has ended it
                self._socket.shutdown(socket.SHUT_RDWR)


def _translated(error: WSError | OSError, address: StreamAddress, clock: Clock) -> StreamForgeError:
    shown = address.shown
    if isinstance(error, ssl.SSLCertVerificationError):
        return PermanentError(
            f"the certificate of {shown} is not trusted ({error.verify_message}): name the PEM file of the CA that "
            "signed it in STREAMFORGE_STREAM_CA_PATH"
        )
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return PermanentError(f"{shown} does not speak TLS: check STREAMFORGE_STREAM_URL (ws:// or wss://)")
    if isinstance(error, WSHandshakeError):
        return _refused(error, shown, clock)
    if isinstance(error, WSError):
        return PermanentError(f"{shown} is no WebSocket server ({error}): check STREAMFORGE_STREAM_URL")
    of_system = error.errno is not None and error.errno > 0 and not isinstance(error, ssl.SSLError)
    reason = os.strerror(error.errno or 0) if of_system else error.strerror or str(error)
    return RetryableError(f"no connection to {shown}: {reason or 'the server ended it'}")


def _refused(error: WSHandshakeError, shown: str, clock: Clock) -> StreamForgeError:
    found = _STATUS.match(error.raw_header or b"")
    status = int(found[1]) if found else 0
    after = error.response.headers.get("Retry-After") if error.response is not None else None
    after_s = parse_retry_after(after, clock.now_ms())
    if status in _BLOCK_S:
        seconds = min(after_s or _BLOCK_S[status], LONGEST_BAN_S)
        until_ms = clock.now_ms() + round(seconds * 1000)
        message = f"{shown} refuses this address (HTTP {status}; {format_ms(until_ms)})"
        return BannedError(message, until_ms=until_ms, retry_after=seconds)
    if status >= 500 or status in _LATER:
        told = f"{shown} refuses connections for now (HTTP {status})"
        if status in _OF_PROXY:
            return RetryableError(f"{told}: a proxy there gets no answer of the streams", retry_after=after_s)
        return RefusedForNow(told, retry_after=after_s)
    if status == 407:
        return PermanentError(
            f"{shown} is a proxy that wants a user and a password (HTTP 407), and none are sent to it: let it pass "
            "this machine without them, or name another way in STREAMFORGE_STREAM_URL"
        )
    if isinstance(error, WSInvalidUpgradeError) and (told := _words_beside_upgrade(error)):
        return PermanentError(
            f"{shown}, or a proxy before it, agrees to the connection with `Connection: {told}`, and no word beside "
            "Upgrade is understood: let the proxy send that word alone, or name another way in STREAMFORGE_STREAM_URL"
        )
    if status in (0, 101, 200):
        return PermanentError(f"{shown} is no WebSocket server ({error}): check STREAMFORGE_STREAM_URL")
    return PermanentError(f"{shown} refuses the connection (HTTP {status}): check STREAMFORGE_STREAM_URL")


def _words_beside_upgrade(error: WSInvalidUpgradeError) -> str:
    """The header `Connection` of an agreement, if it names the upgrade and other words: picows refuses these."""
    told = ", ".join(error.response.headers.getall("Connection", ())) if error.response is not None else ""
    return told if error.name == "Connection" and "upgrade" in told.lower() else ""
