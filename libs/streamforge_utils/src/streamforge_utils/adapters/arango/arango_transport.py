"""Requests to the server over connections that are kept, tried again where that can help."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from typing import TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from yarl import URL

from streamforge_utils.adapters.arango.arango_errors import NOTHING_DONE, TooLarge, is_retried, refusal_of, translated
from streamforge_utils.adapters.arango.connection import Connection
from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.ports.instrumentation import NullObserver, Observer
from streamforge_utils.ports.retry import backoff_s

T = TypeVar("T")

CONNECTIONS = 8
STATEMENTS = 6
"""Of the connections so many may wait for statements, which may take long: states and documents have the others."""
CONNECT_S = 3.0
AT_ONCE_BYTES = 1024 * 1024
LARGEST_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer, unpacked: four documents of the greatest size. What is larger is asked for in smaller parts."""


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """The patience of one call; the caller may have more.

    answer_s: within which one answer is to be there; half a megabyte takes a busy server a tenth of a second, a
    statement about a whole collection many. attempts: requests at most. within_s: no further one once so long has
    passed, but a second one in any case: the first may have waited all that time for its answer. base_s, cap_s: the
    first and the longest wait between two requests (`backoff_s`).
    """

    answer_s: float = 30.0
    attempts: int = 6
    within_s: float = 10.0
    base_s: float = 0.1
    cap_s: float = 2.0


class Reply(msgspec.Struct, frozen=True):
    """An answer. number: the error's, 0 for a success.

    repeated: an earlier sending of the same request was not answered, so it may have been carried out before this one.
    """

    status: int
    body: bytes
    number: int = 0
    repeated: bool = False

    def read(self, decode: Callable[[bytes], T]) -> T:
        """What `decode` makes of the body. Raises RetryableError for what is no answer of ArangoDB."""
        try:
            return decode(self.body)
        except msgspec.MsgspecError as error:
            raise RetryableError(f"ArangoDB's answer cannot be read ({error}): {self.body[:100]!r}") from error

    def read_each(self, decode: Callable[[bytes], list[T]], expected: int) -> list[T]:
        """As `read`, of an answer that holds one for each of so many."""
        found = self.read(decode)
        if len(found) != expected:
            raise RetryableError(f"ArangoDB answered for {len(found)} of {expected} documents")
        return found


class AnswerLost(RetryableError):
    """A request that must not be sent twice was not answered."""


class Patience:
    """The retries of one call: counts failures, waits between them, and gives up."""

    def __init__(self, transport: Transport, what: str, retries: Retries) -> None:
        self._transport = transport
        self._what = what
        self._retries = retries
        self._began = transport.clock.monotonic()
        self._failures = 0

    async def failed(self, reason: str, kind: str) -> None:
        """Wait before another try. Raises RetryableError once it was enough. kind: one word for the metric."""
        transport, retries = self._transport, self._retries
        self._failures += 1
        failures = self._failures
        spent = transport.clock.monotonic() - self._began
        if failures >= retries.attempts or (failures > 1 and spent >= retries.within_s):
            tries = "1 try" if failures == 1 else f"{failures} tries"
            raise RetryableError(f"{transport.place}: {self._what}: given up after {tries}: {reason}")
        transport.observer.count("store_retries_total", reason=kind)
        transport.observer.waiting(f"another try: {reason}"[:200])
        try:
            pause_s = backoff_s(failures, first_s=retries.base_s, longest_s=retries.cap_s, draw=transport.jitter())
            await transport.clock.sleep(pause_s)
        finally:
            transport.observer.waiting(None)


class Transport:
    """One client of one database. Nothing is opened before the first request."""

    def __init__(
        self,
        connection: Connection,
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
        retries: Retries | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.connection = connection
        self.place = f"ArangoDB at {connection.shown}"
        self.clock = clock or SystemClock()
        self.observer = observer or NullObserver()
        self.retries = retries or Retries()
        self.jitter = jitter
        self._session: aiohttp.ClientSession | None = None
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._free_for_statements = asyncio.Semaphore(STATEMENTS)
        self._closed = False
        self._met = False

    def patience(self, what: str) -> Patience:
        """The retries of a call of its own."""
        return Patience(self, what, self.retries)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        what: str,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        answers: Collection[int] = (),
        once: bool = False,
        retries: Retries | None = None,
    ) -> Reply:
        """The answer to a request, once there is one.

        path: after the database's, encoded. answers: error numbers that the caller takes for an answer. once: it must
        not be carried out twice, so what may have been is not sent again (AnswerLost). retries: others than usual.
        Raises RetryableError, ConfigError, Refused, or TooLarge.
        """
        url = URL(self.connection.base + path + (f"?{urlencode(query)}" if query else ""), encoded=True)
        retries = retries or self.retries
        patience = Patience(self, what, retries)
        repeated = False
        while True:
            try:
                # Who waits for a connection does not wait for the server: its time begins with the request.
                async with self._free_for_statements if path.startswith("/_api/cursor") else nullcontext(), self._free:
                    status, found = await self._send(method, url, body, headers, retries.answer_s)
            except _Broken as broken:
                said, kind, done = str(broken), broken.kind, broken.sent
            else:
                if status < 300:
                    return Reply(status, found, repeated=repeated)
                refusal = refusal_of(found)
                if not is_retried(status, refusal.number):
                    if refusal.number in answers:
                        return Reply(status, found, number=refusal.number, repeated=repeated)
                    raise translated(self.connection, what, status, refusal)
                said, kind = f"HTTP {status}, error {refusal}", str(refusal.number or status)
                # A server that goes down may have written, or moved a cursor on, before it said so.
                done = refusal.number not in NOTHING_DONE
            if once and done:
                raise AnswerLost(f"{self.place}: {what}: {said}")
            repeated = repeated or done
            await patience.failed(said, kind)

    async def close(self) -> None:
        """Close the connections; every later request is refused."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _send(
        self, method: str, url: URL, body: bytes | None, headers: Mapping[str, str] | None, limit_s: float
    ) -> tuple[int, bytes]:
        if self._closed:
            raise PermanentError("the store is closed")
        if self._session is None:
            self._session = self._new_session()
        # What is large goes out piece by piece, so that other tasks have their turn; its length is sent all the same.
        data = io.BytesIO(body) if body is not None and len(body) > AT_ONCE_BYTES else body
        timeout = aiohttp.ClientTimeout(total=limit_s, sock_connect=CONNECT_S)
        try:
            async with self._session.request(
                method, url, data=data, headers=headers, allow_redirects=False, timeout=timeout
            ) as response:
                found = await self._read(response)
                self._met = True
                return response.status, found
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._told(error, limit_s) from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """The body; of one that is packed or has no length, no more is taken than of others."""
        found = bytearray()
        if (response.content_length or 0) <= LARGEST_ANSWER:
            async for part in response.content.iter_any():
                found += part
                if len(found) > LARGEST_ANSWER:
                    break
            else:
                return bytes(found)
        response.close()
        raise TooLarge(f"{self.place}: an answer is larger than {LARGEST_ANSWER} bytes: ask for less at once")

    def _told(self, error: Exception, limit_s: float) -> Exception:
        """What to raise for a request without an answer: ConfigError for what no other try would mend."""
        tls, ca = self.connection.encrypted, self.connection.ca_path
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            more = "does it speak TLS, or is it http://?" if tls else "is there such a host?"
            return _Broken(f"no answer within {CONNECT_S:g} s; look at ARANGO_URL: {more}", "timeout", sent=False)
        if isinstance(error, TimeoutError):
            hint = "; look at ARANGO_URL: is that ArangoDB's port, and is there a server behind it?"
            return _Broken(f"no answer within {limit_s:g} s{'' if self._met else hint}", "timeout", sent=True)
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            reason = getattr(error.certificate_error, "verify_message", str(error.certificate_error))
            advice = "name the PEM file of the CA that signed it in STREAMFORGE_ARANGO_CA_PATH"
            if ca is not None:
                advice = (
                    f"STREAMFORGE_ARANGO_CA_PATH names {ca}: is that the CA that signed it, "
                    "and is the host in ARANGO_URL the one that it is for?"
                )
            return ConfigError(f"{self.place}: its certificate is not accepted ({reason}): {advice}")
        if isinstance(error, aiohttp.ClientConnectorSSLError):
            if "WRONG_VERSION_NUMBER" in str(error).upper().replace(" ", "_"):
                return ConfigError(
                    f"{self.place}: it does not speak TLS: write http:// in ARANGO_URL, or the port at which it does"
                )
            return _Broken(f"TLS failed ({error.os_error.strerror or error.os_error})", "connect", sent=False)
        if isinstance(error, aiohttp.ClientConnectorError):
            reason = error.os_error.strerror or str(error.os_error)
            advice = "is the server up, and are host and port in ARANGO_URL right?"
            return _Broken(f"there is no connection ({reason}): {advice}", "connect", sent=False)
        reason = getattr(error, "strerror", None) or type(error).__name__
        if isinstance(error, aiohttp.ServerDisconnectedError):
            reason = "the server closed it"
        hint = "" if self._met or tls else "; if it speaks TLS only, write https:// in ARANGO_URL"
        return _Broken(f"the connection broke off ({reason}){hint}", "cut", sent=True)

    def _new_session(self) -> aiohttp.ClientSession:
        headers = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "streamforge"}
        headers["Accept-Encoding"] = "identity"  # packing costs more than a network saves
        authorization = self.connection.authorization()
        if authorization is not None:
            headers["Authorization"] = authorization
        tls = self.connection.tls()
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=30, ssl=True if tls is None else tls),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )


class _Broken(Exception):
    """No answer. sent: the request may have arrived. kind: one word for the metric."""

    def __init__(self, reason: str, kind: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.kind = kind
        self.sent = sent


def path_of(collection: str) -> str:
    """The path of a collection."""
    return f"/_api/collection/{quote(collection, safe='')}"


def documents_path(collection: str) -> str:
    """The path of a collection's documents."""
    return f"/_api/document/{quote(collection, safe='')}"
