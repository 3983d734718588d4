"""GET requests to the archive: its listing, checksums and files. No key, no weight; what fails is asked for again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import aiohttp
from yarl import URL

from streamforge_utils.adapters.binance.archive_cache import Part
from streamforge_utils.adapters.binance.archive_listing import Listed, Unlisted, read_listing
from streamforge_utils.adapters.binance.binance_rules import parse_retry_after
from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.retry import retry

ARCHIVE_URL = "https://data.binance.vision"
LISTING_URL = "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision"
"""The host of the files lists none; the bucket behind it does."""

PATIENCE_S = 60.0
"""How long a request is repeated after its first failure."""

FIRST_PAUSE_S = 0.2
CONNECT_S, SILENCE_S = 10.0, 30.0
"""How long a connection may take, and how long an answer may be silent."""

LARGEST_LISTING = 4 * 1024 * 1024
LARGEST_CHECKSUM = 4096
CHUNK = 256 * 1024
_REDIRECTS = 3
_RESUMES = 1000
"""How often one download goes on after its patience is spent, each time further than before."""

T = TypeVar("T")


class Gone(Exception):
    """The archive has no such file (404)."""


class Elsewhere(PermanentError):
    """The archive sends the request to another host."""


class ArchiveTransport:
    """Connections to an archive. url: of its files. listing_url: of its listing; None: the same.

    Raises ConfigError where a URL cannot be one.
    """

    def __init__(
        self,
        url: str,
        listing_url: str | None = None,
        *,
        clock: Clock,
        observer: Observer,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.url = _checked(url)
        self._listing_url = self.url if listing_url is None else _checked(listing_url)
        self._clock = clock
        self._observer = observer
        self._patience_s = patience_s
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def listing(self, parameters: Mapping[str, str]) -> Listed:
        """A page of the listing. Raises RetryableError or PermanentError."""
        url = self._listing_url if self._listing_url.path != "/" else self._listing_url.with_path("/")
        url = url.with_query({"list-type": "2", **parameters})

        async def read(response: aiohttp.ClientResponse) -> Listed:
            try:
                return read_listing(await _body(response, LARGEST_LISTING))
            except Unlisted as error:
                raise RetryableError(f"the listing of the archive cannot be read: {error}") from error

        try:
            return await self._retried("archive-listing", lambda: self._get(url, read))
        except Gone as error:
            raise PermanentError(f"{self._listing_url} has no listing of an archive (404): check its URL") from error

    async def text(self, path: str) -> bytes:
        """A small file. Raises Gone, RetryableError or PermanentError."""

        async def read(response: aiohttp.ClientResponse) -> bytes:
            return await _body(response, LARGEST_CHECKSUM)

        return await self._retried("archive-checksum", lambda: self._get(self._url_of(path), read))

    async def download(self, path: str, part: Part, run: Callable[..., Awaitable[None]]) -> None:
        """Bring `part` to the whole file, from where it is if the file is still the same.

        run: calls a blocking function. Raises Gone, RetryableError or PermanentError.
        """
        for _ in range(_RESUMES):
            before = part.size
            try:
                return await self._retried("archive-file", lambda: self._download(path, part, run))
            except RetryableError:
                if part.size <= before:
                    raise
        raise RetryableError(f"{path}: the download broke off {_RESUMES} times")

    async def close(self) -> None:
        """Close the connections; every later request is refused."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _download(self, path: str, part: Part, run: Callable[..., Awaitable[None]]) -> None:
        headers = {}
        if part.size:
            headers = {"Range": f"bytes={part.size}-", "If-Range": part.entity_tag}

        async def read(response: aiohttp.ClientResponse) -> None:
            total = response.content_length
            if response.status == 206:
                total = _resumed(response, part.size)
            else:
                tag = response.headers.get("ETag", "")
                await run(part.restart, "" if tag.startswith("W/") else tag, total or 0)
            async for chunk in response.content.iter_chunked(CHUNK):
                if total is not None and part.size + len(chunk) > total:
                    raise RetryableError(f"{path}: the answer has more than the {total} bytes that it names")
                await run(part.write, chunk)
            if total is not None and part.size != total:
                raise RetryableError(f"{path}: the answer broke off after {part.size} of {total} bytes")

        try:
            await self._get(self._url_of(path), read, headers)
        except _Unsatisfiable:
            await run(part.restart, "", 0)
            raise RetryableError(f"{path}: it has become shorter than what was downloaded; it begins again") from None

    def _url_of(self, path: str) -> URL:
        return self.url.with_path(f"{self.url.path.rstrip('/')}/{path}")

    async def _retried(self, endpoint: str, call: Callable[[], Awaitable[T]]) -> T:
        failed = False

        async def once() -> T:
            try:
                value = await call()
            except RetryableError:
                self._observer.count("exchange_requests_total", endpoint=endpoint, outcome="failed")
                raise
            self._observer.count("exchange_requests_total", endpoint=endpoint, outcome="ok")
            return value

        def waits(error: RetryableError, pause_s: float) -> None:
            nonlocal failed
            failed = True
            self._observer.count("exchange_retries_total", endpoint=endpoint)
            self._observer.waiting(f"another try: {error}"[:200], self._clock.now_ms() + round(pause_s * 1000))

        try:
            return await retry(
                once, clock=self._clock, patience_s=self._patience_s, first_pause_s=FIRST_PAUSE_S, failed=waits
            )
        finally:
            if failed:
                self._observer.waiting(None)

    async def _get(
        self,
        url: URL,
        read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """What `read` makes of the answer; redirections inside the host are followed."""
        if self._closed:
            raise PermanentError(f"{_shown(url)}: not sent: this client of the archive is closed")
        if self._session is None:
            self._session = _new_session()
        try:
            for _ in range(_REDIRECTS + 1):
                async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                    if response.status in (301, 302, 303, 307, 308):
                        url = _followed(url, response.headers.get("Location", ""))
                        continue
                    self._judge(response, url)
                    return await read(response)
            raise PermanentError(f"{_shown(url)}: the archive redirects it more than {_REDIRECTS} times")
        except TimeoutError:
            raise RetryableError(f"{_shown(url)}: no answer within {SILENCE_S:g} s") from None
        except aiohttp.ClientPayloadError:
            raise RetryableError(f"{_shown(url)}: the answer broke off") from None
        except aiohttp.ClientError as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise RetryableError(f"{_shown(url)}: no connection: {reason}") from error

    def _judge(self, response: aiohttp.ClientResponse, url: URL) -> None:
        if response.status in (200, 206):
            return
        self._observer.count("exchange_errors_total", status=str(response.status), code="")
        if response.status == 404:
            raise Gone(f"{_shown(url)} is not there (404)")
        if response.status == 416:
            raise _Unsatisfiable
        what = f"{_shown(url)}: HTTP {response.status}"
        if response.status in (403, 408, 425, 429) or response.status >= 500:
            wait_s = parse_retry_after(response.headers.get("Retry-After"), self._clock.now_ms())
            raise RetryableError(what, retry_after=wait_s)
        raise PermanentError(what)


class _Unsatisfiable(Exception):
    """There are fewer bytes than those that are there already (416)."""


def _resumed(response: aiohttp.ClientResponse, size: int) -> int:
    """The size of the whole, from an answer that goes on behind the first `size` bytes."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    if unit != "bytes" or span.partition("-")[0] != str(size) or not (total.isascii() and total.isdigit()):
        raise RetryableError(f"{_shown(response.url)}: the answer does not go on at byte {size}")
    return int(total)


def _followed(url: URL, location: str) -> URL:
    target = url.join(URL(location))
    if target.origin() != url.origin():
        raise Elsewhere(f"{_shown(url)}: the archive sends it to another host, {target.host}: not followed")
    return target


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    found = bytearray()
    async for chunk in response.content.iter_any():
        found += chunk
        if len(found) > limit:
            raise RetryableError(f"{_shown(response.url)}: the answer is larger than {limit} bytes")
    return bytes(found)


def _checked(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host or url.user or url.query_string or url.fragment:
        raise ConfigError(
            "STREAMFORGE_ARCHIVE_URL: it is not like https://host[:port][/path], without a user, a query and a fragment"
        )
    return url


def _shown(url: URL) -> str:
    return str(url.with_query(None))


def _new_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=8, keepalive_timeout=30),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S),
        headers={"Accept-Encoding": "identity", "User-Agent": "streamforge"},
        cookie_jar=aiohttp.DummyCookieJar(),
    )
