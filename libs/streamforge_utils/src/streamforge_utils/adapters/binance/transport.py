"""GET requests to the exchange, within its limits: paced, repeated, refused locally while the exchange refuses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TypeVar

import aiohttp
import msgspec
from yarl import URL

from streamforge_utils.adapters.binance.binance_rules import (
    API_KEY_HEADER,
    BUSY_S,
    LONGEST_WEIGHT_WAIT_S,
    NAME_HEADER,
    UNKNOWN_SYMBOL,
    USED_WEIGHT_HEADER,
    Action,
    Endpoint,
    ErrorAnswer,
    judge,
    shown,
)
from streamforge_utils.adapters.binance.exchange_clock import ClockEstimate
from streamforge_utils.adapters.binance.rate_budget import RateBudget
from streamforge_utils.adapters.binance.waits import Refusals, Waits
from streamforge_utils.model.errors import ConfigError, InvalidInput, PermanentError, RetryableError
from streamforge_utils.model.secret import Secret, shown_address
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.exchange import Identity
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.retry import backoff_s

IN_FLIGHT = 8
"""Requests at once, at most."""

LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes of an answer, at most (unpacked); a page of 1000 candles has about 180 kB."""

T = TypeVar("T")


class Unreadable(Exception):
    """The body of a successful answer is not what was asked for; the message names the place."""


class Answer(msgspec.Struct, frozen=True):
    """A successful answer.

    date: the header. sent, received: monotonic seconds around the request. sent_ms: the former by the local clock.
    """

    body: bytes
    date: str | None
    sent: float
    received: float
    sent_ms: int


class _Failure(Exception):
    """One try failed and another may succeed. wait_s: at least so long from now. away_from: a base URL to leave."""

    def __init__(self, what: str, answer: str = "", *, wait_s: float = 0.0, away_from: URL | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.answer = answer
        self.wait_s = wait_s
        self.away_from = away_from


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """The patience of one call.

    attempts: requests at most. base_s, cap_s: the first and the longest wait between two requests (`backoff_s`).
    longest_wait_s: the longest single wait; of a longer one the call waits that much and then raises, with
    the rest in `retry_after`. timeout_s: of one request; the exchange itself gives up after 10 s.
    """

    attempts: int = 6
    base_s: float = 0.5
    cap_s: float = 30.0
    longest_wait_s: float = 75.0
    timeout_s: float = 15.0


class Transport:
    """One client's connections to Binance, or to a server with the same interface.

    base_urls: the first is used; the others while it cannot be reached. weight_limit: this client's share of
    request weight a minute. api_key: sent if given (market data need none). jitter: draws from 0 to 1. identity:
    which exchange must answer, and learns which does.
    Raises ConfigError if a URL or the key cannot be one.
    """

    def __init__(
        self,
        base_urls: Sequence[str],
        *,
        weight_limit: int,
        clock: Clock,
        observer: Observer,
        api_key: Secret | None = None,
        retries: Retries | None = None,
        jitter: Callable[[], float] = random.random,
        identity: Identity | None = None,
    ) -> None:
        self._bases = [_checked_url(url) for url in base_urls]
        if not self._bases:
            raise ConfigError("the exchange needs at least one base URL")
        self._base = 0
        self.clock = clock
        self.observer = observer
        self._api_key = _checked_key(api_key)
        self._retries = retries if retries is not None else Retries()
        self._timeout = aiohttp.ClientTimeout(total=self._retries.timeout_s)
        self._jitter = jitter
        self._identity = identity if identity is not None else Identity()
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._places = asyncio.Semaphore(IN_FLIGHT)
        self._waits = Waits(clock, observer)
        self.exchange_clock = ClockEstimate()
        self.budget = RateBudget(weight_limit, self.now_ms, self._waits, observer, longest_wait_s=LONGEST_WEIGHT_WAIT_S)
        self._refusals = Refusals(clock, self.now_ms, self._waits, longest_wait_s=self._retries.longest_wait_s)

    def now_ms(self) -> int:
        """The exchange's clock as well as it is known; the local clock before it was ever measured."""
        known = self.exchange_clock.now_ms(self.clock.monotonic())
        return self.clock.now_ms() if known is None else known

    async def get(
        self,
        endpoint: Endpoint,
        parameters: Mapping[str, str],
        what: str,
        read: Callable[[Answer], T],
        *,
        attempts: int | None = None,
    ) -> T:
        """Ask until `read` accepts the answer, and return what it made of it.

        what: names the request in errors. read: raises `Unreadable` for an answer that must be asked for again.
        Raises RetryableError, BannedError or PermanentError, see `ports.exchange`.
        """
        most = self._retries.attempts if attempts is None else attempts
        most = max(most, len(self._bases)) if most > 1 else most
        call, failures, began = object(), 0, self.clock.monotonic()
        try:
            while True:
                try:
                    value = await self._try(endpoint, parameters, what, read)
                except _Failure as error:
                    # Its traceback would keep this frame, and the answer that comes at last, in a cycle.
                    failure = error.with_traceback(None)
                else:
                    self.observer.count("exchange_requests_total", endpoint=endpoint.name, outcome="ok")
                    self._waits.succeeded()
                    return value
                self.observer.count("exchange_requests_total", endpoint=endpoint.name, outcome="failed")
                failures += 1
                wait_s = self._wait_after(failure, failures)
                if failures >= most:
                    self._give_up(what, failure, failures, self.clock.monotonic() - began, wait_s)
                self.observer.count("exchange_retries_total", endpoint=endpoint.name)
                reason = f"another try: {failure.what}"[:200]
                self._waits.failed(call, reason)
                await self._waits.sleep(reason, wait_s)
        finally:
            self._waits.ended(call)

    async def close(self) -> None:
        """Close the connections; every later request is refused."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _try(
        self, endpoint: Endpoint, parameters: Mapping[str, str], what: str, read: Callable[[Answer], T]
    ) -> T:
        async with self._places:
            await self._refusals.pass_by(what)
            await self.budget.take(endpoint.weight)
            while self._refusals.rest_s():  # the exchange began to refuse while this request waited for its weight
                await self._refusals.pass_by(what)
            answer = await self._ask(endpoint, parameters, what)
        try:
            return read(answer)
        except Unreadable as error:
            raise _Failure(f"the answer cannot be read: {error}", shown(answer.body, self._api_key)) from error

    async def _ask(self, endpoint: Endpoint, parameters: Mapping[str, str], what: str) -> Answer:
        if self._closed:
            raise PermanentError(f"{what}: not sent: this client of the exchange is closed")
        if self._session is None:
            self._session = self._new_session()
        url = self._bases[self._base]
        sent = self.clock.monotonic()
        sent_ms, local_ms = self.now_ms(), self.clock.now_ms()
        try:
            async with self._session.get(
                url.with_path(url.path.rstrip("/") + endpoint.path), params=parameters, allow_redirects=False
            ) as response:
                body = await _body(response)
                status, headers = response.status, response.headers
        except TimeoutError:
            raise _Failure(
                f"no answer within {self._timeout.total:g} s from {_shown_url(url)}", away_from=url
            ) from None
        except aiohttp.ClientPayloadError as failure:
            raise _Failure(f"the answer of {_shown_url(url)} broke off ({type(failure).__name__})") from None
        except (aiohttp.ClientError, OSError) as failure:
            reason = _shown_reason(failure)
            raise _Failure(f"no connection to {_shown_url(url)}: {reason}", away_from=url) from failure
        received = self.clock.monotonic()
        error = judge(status, headers, body, self.now_ms())
        # Before anything of it counts. An answer without a name and without a code may come from a proxy before it.
        if NAME_HEADER in headers or error is None or error.code is not None:
            self._identity.answered(_name(headers, url), _shown_url(url))
        used = headers.get(USED_WEIGHT_HEADER, "")
        if used.isascii() and used.isdigit() and len(used) < 10:
            self.budget.observe(int(used), sent_ms, self.now_ms())
        if error is not None:
            self._handle(error, status, shown(body, self._api_key), what, url)
        return Answer(body, headers.get("Date"), sent, received, local_ms)

    def _handle(self, error: ErrorAnswer, status: int, answer: str, what: str, url: URL) -> NoReturn:
        code = f", code {error.code}" if error.code is not None else ""
        named = f"HTTP {status}{code}"
        self.observer.count("exchange_errors_total", status=str(status), code=str(error.code or ""))
        if error.action in (Action.BAN, Action.BLOCK):
            raise self._refusals.ban(what, named, answer, error)
        if error.action is Action.FAIL:
            message = f"{what}: {named}: {error.reason}. The exchange answered: {answer}"
            raise InvalidInput("symbol", message) if error.code == UNKNOWN_SYMBOL else PermanentError(message)
        wait_s = 0.0
        if error.retry_after_s is not None:
            # Nobody else of this client may ask before the time is over either.
            self._refusals.pause(error.retry_after_s + self._jitter(), error.reason)
        elif error.action is Action.LIMITED:
            self.budget.exhaust()
        elif error.action is Action.BUSY:
            wait_s = BUSY_S / 2 * (1 + self._jitter())
        if error.weight_limit is not None:
            self.budget.set_address_limit(error.weight_limit)
        away_from = url if error.action is Action.SWITCH else None
        raise _Failure(f"{named}: {error.reason}", answer, wait_s=wait_s, away_from=away_from)

    def _wait_after(self, failure: _Failure, failures: int) -> float:
        if failure.away_from is not None and len(self._bases) > 1:
            if failure.away_from == self._bases[self._base]:  # else another request has switched already
                self._base = (self._base + 1) % len(self._bases)
            if failures % len(self._bases):
                return 0.0  # there is an alternate that this request has not tried
        retries = self._retries
        pause_s = backoff_s(failures, first_s=retries.base_s, longest_s=retries.cap_s, draw=self._jitter())
        return max(failure.wait_s, pause_s)

    def _give_up(self, what: str, failure: _Failure, failures: int, took_s: float, wait_s: float) -> NoReturn:
        answer = f". The exchange answered: {failure.answer}" if failure.answer else ""
        advice = "; see whether it is reached from here, then try again" if failure.away_from is not None else ""
        tries = "1 try" if failures == 1 else f"{failures} tries"
        raise RetryableError(
            f"{what}: given up after {tries} in {took_s:.0f} s: {failure.what}{answer}{advice}",
            retry_after=max(self._refusals.rest_s(), wait_s) or None,
        )

    def _new_session(self) -> aiohttp.ClientSession:
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "streamforge"}
        if self._api_key is not None:
            headers[API_KEY_HEADER] = self._api_key
        return aiohttp.ClientSession(
            # The system's resolver also where aiodns is installed, which begins threads for each session.
            connector=aiohttp.TCPConnector(limit=IN_FLIGHT, keepalive_timeout=30, resolver=aiohttp.ThreadedResolver()),
            timeout=self._timeout,
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
        )


async def _body(response: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > LARGEST_ANSWER:
            response.close()
            raise _Failure(f"the answer is larger than {LARGEST_ANSWER} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _checked_url(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment:
        raise ConfigError(
            f"the exchange's base URL {shown_address(text)[:80]!r} is not like https://host[:port][/path], without a "
            "query and a fragment"
        )
    return url


def _checked_key(api_key: Secret | None) -> str | None:
    key = "" if api_key is None else api_key.reveal()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError("the exchange's API key holds characters that no key has")
    return key or None


def _name(headers: Mapping[str, str], url: URL) -> str:
    """The exchange's name, see `ports.exchange.Identity`."""
    host = url.host or ""
    here = host in ("localhost", "::1") or host.startswith("127.")
    return headers.get(NAME_HEADER) or (f"localhost:{url.port}" if here else "")


def _shown_url(url: URL) -> str:
    return f"{url.scheme}://{url.host}:{url.port}"


def _shown_reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection"
    return f"{getattr(error, 'strerror', None) or type(error).__name__}"
