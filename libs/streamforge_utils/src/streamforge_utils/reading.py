"""Stored series, read from queue-manager's HTTP API: for notebooks and scripts.

    from streamforge_utils.reading import read_series
    candles = read_series("BTCUSDT", "api_candles_1m", "2024-08-01")
    polars.DataFrame(candles.columns())

It needs the standard library and msgspec, and no event loop.
"""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import IO, Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from streamforge_utils.model.coverage import READ_AT_MOST, Moved, keeps, stored_spans
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.kinds.registry import check_series, kind_of, kind_of_type, series_of
from streamforge_utils.model.series import Series as _SeriesKey
from streamforge_utils.model.timeranges import TimeRange, resolve_time_range
from streamforge_utils.plugins import load_plugins

T = TypeVar("T")

URL = "STREAMFORGE_URL"
TOKEN = "STREAMFORGE_TOKEN"  # noqa: S105 # the variable that it is in
DEFAULT_URL = "http://127.0.0.1:8080"
_SILENCE_S = 60.0
_EXPLAINED_BYTES = 64 * 1024
_CHUNK = 10_000
_RECOVERY = ": count what is there with `streamforge coverage SYMBOL TYPE --verify`, which says how to load the rest"


class ReadingError(StreamForgeError):
    """A series cannot be read; the message names it, the reason, and what to do."""


class Hole(msgspec.Struct, frozen=True):
    """A half-open range that is not stored, and its verdict: `exchange` (it has none), `pending`, `unknown`, …"""

    start: str
    end: str
    verdict: str


class Series(msgspec.Struct, frozen=True):
    """What was read: oldest first, each record once, as the kind's stored struct (`candles`: open_time, open, …).

    Times are unix milliseconds; prices and quantities the nearest doubles.
    start, end: the half-open range of the records and holes. complete: every hole in it has its reason.
    """

    symbol: str
    type: str
    records: list[Any]
    holes: list[Hole]
    complete: bool
    start: str = ""
    end: str = ""

    @property
    def candles(self) -> list[Any]:
        """The records, of a series of candles."""
        return self.records

    def columns(self) -> dict[str, list[str | int | float]]:
        """The records as a list for each field, as polars.DataFrame and pandas.DataFrame take them."""
        return {name: [getattr(record, name) for record in self.records] for name in kind_of_type(self.type).columns}


class _Segment(msgspec.Struct):
    start: str
    end: str
    start_ms: int
    end_ms: int
    verdict: str
    collection: str | None = None
    records: int = 0


class _Span(msgspec.Struct):
    start: str
    end: str


class _Coverage(msgspec.Struct):
    symbol: str
    type: str
    complete: bool
    segments: list[_Segment]
    span: _Span | None = None


class _Problem(msgspec.Struct):
    type: str = ""
    detail: str = ""


_coverage = msgspec.json.Decoder(_Coverage)
_problem = msgspec.json.Decoder(_Problem)


def read_series(
    symbol: str,
    type: str,
    time_range: str | None = None,
    *,
    life: bool = False,
    url: str | None = None,
    token: str | None = None,
) -> Series:
    """Everything that is stored of a series, over all its collections.

    type: such as `api_candles_1m`. time_range: `START[:END]`, half-open, UTC, or relative to now (`-30d`); without one,
    all that was asked for so far, from the first range to the last, with `unknown` holes where nothing was loaded; with
    `life`, from the first bar at the exchange to now.
    url, token: of queue-manager and of a reader; by default from STREAMFORGE_URL (else this machine's port 8080) and
    STREAMFORGE_TOKEN. Raises ReadingError, also where the store holds another number than the coverage has proven,
    or where nothing is known of the series, and InvalidInput for a symbol, type or range that is none.
    """

    def attempt() -> tuple[StoredSeries, list[Any]]:
        stored = ask_series(symbol, type, time_range, life=life, url=url, token=token)
        return stored, list(chain.from_iterable(stored.chunks(_CHUNK)))

    stored, records = read_unmoved(attempt)
    known = stored.known
    holes = [Hole(one.start, one.end, one.verdict) for one in known.segments if one.verdict != "stored"]
    start, end = ("", "") if known.span is None else (known.span.start, known.span.end)
    return Series(stored.symbol, stored.type, records, holes, known.complete, start, end)


def read_unmoved(attempt: Callable[[], T]) -> T:
    """What `attempt` returns, which is called again where it raises Moved. Raises Moved after the last try."""
    for _ in range(READ_AT_MOST - 1):
        with suppress(Moved):
            return attempt()
    return attempt()


class StoredSeries:
    """A series at queue-manager. coverage: the JSON of what is known of it, as the API gives it."""

    def __init__(self, api: _Api, symbol: str, type_name: str, coverage: bytes) -> None:
        self.symbol, self.type, self.coverage = symbol, type_name, coverage
        self.known = _decoded(_coverage, coverage, api)
        self._api = api

    def chunks(self, size: int) -> Iterator[list[Any]]:
        """The records as the kind's stored structs, oldest first, `size` at most at once.

        Raises ReadingError, also where the store holds another number than the coverage has proven, or Moved.
        """
        try:
            yield from self._chunks(size)
        except ReadingError:
            self._require_unmoved()
            raise
        self._require_unmoved()

    def _require_unmoved(self) -> None:
        """Raises Moved where the records that were known lie elsewhere now."""
        if not (spans := stored_spans(self.known.segments)):
            return
        span = TimeRange(spans[0].start_ms, spans[-1].end_ms)
        now = _asked(self._api, self.symbol, self.type, {"time_range": str(span)})
        if not keeps(_decoded(_coverage, now, self._api).segments, self.known.segments):
            raise Moved(self.symbol, self.type, span) from None

    def _chunks(self, size: int) -> Iterator[list[Any]]:
        series = series_of(self.symbol, self.type)
        decoder = msgspec.json.Decoder(kind_of(series).stored)
        for segment in self.known.segments:
            if segment.verdict != "stored" or segment.collection is None:
                continue
            count, lines = 0, _lines(self._api, segment, series, self.type)
            while some := [_decoded(decoder, line, self._api) for line in islice(lines, size)]:
                count += len(some)
                yield some
            if segment.records and count != segment.records:  # 0: the range cuts it, so that nobody counted
                raise ReadingError(
                    f"{segment.collection} holds {count} records of {self.symbol} {self.type} from {segment.start} to"
                    f" {segment.end}, and the coverage has proven {segment.records}{_RECOVERY}"
                )


def ask_series(
    symbol: str,
    type: str,
    time_range: str | None = None,
    *,
    life: bool = False,
    url: str | None = None,
    token: str | None = None,
) -> StoredSeries:
    """What is known of a series, and the way to its records. Takes and raises what `read_series` does."""
    load_plugins(os.environ)
    symbol, type = check_series(symbol, type)
    query: dict[str, str] = {"life": "true"} if life else {}
    if time_range is not None:
        resolve_time_range(time_range, time.time_ns() // 1_000_000)
        query["time_range"] = time_range
    api = _Api(url or os.environ.get(URL) or DEFAULT_URL, token or os.environ.get(TOKEN) or None)
    return StoredSeries(api, symbol, type, _asked(api, symbol, type, query))


def _asked(api: _Api, symbol: str, type: str, query: dict[str, str]) -> bytes:
    """The coverage as the API gives it."""
    with api.get(f"/coverage/{quote(symbol)}/{quote(type)}", query) as answer:
        return answer.read()


class _Api:
    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ReadingError(f"{URL}: write http://HOST:PORT, or https, without a user")
        self.url = url.rstrip("/")
        self._token = token

    @contextmanager
    def get(self, path: str, query: dict[str, str]) -> Iterator[IO[bytes]]:
        """The body of the answer. Raises ReadingError."""
        where = f"{self.url}{path}"
        request = urllib.request.Request(f"{where}?{urlencode(query)}")  # noqa: S310 # http or https, as checked above
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with urllib.request.urlopen(request, timeout=_SILENCE_S) as answer:  # noqa: S310 # the same
                yield answer
        except urllib.error.HTTPError as error:
            with error:
                raise ReadingError(f"GET {where}: {error.code} {_explained(error)}") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise ReadingError(f"GET {where}: {reason}: does queue-manager run there? {URL} says where") from None


def _lines(api: _Api, segment: _Segment, series: _SeriesKey, type_name: str) -> Iterator[bytes]:
    """The records of a segment as JSON lines."""
    query = {
        "format": "jsonl",
        "limit": "all",
        "symbol": series.symbol,
        "type": type_name,
        "time_range": f"{segment.start}:{segment.end}",
    }
    with api.get(f"/collections/{quote(segment.collection or '')}/records", query) as lines:
        yield from lines


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes, api: _Api) -> T:
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise ReadingError(f"{api.url} answered with something else than queue-manager does: {error}") from None


def _explained(error: urllib.error.HTTPError) -> str:
    try:
        problem = _problem.decode(error.read(_EXPLAINED_BYTES))
        advice = _RECOVERY if problem.type.endswith(":incomplete") else ""
        return (problem.detail or error.reason) + advice
    except (msgspec.MsgspecError, OSError, http.client.HTTPException):
        return error.reason
