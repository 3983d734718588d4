"""Which files the archive has: a day as soon as it is over, a month from the first Monday after it on.

A path is `data/spot/<daily|monthly>/<kind>/<SYMBOL>/[<interval>/]<SYMBOL>-<interval or kind>-<date>.zip`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime

import msgspec

from streamforge.exchange import windows
from streamforge.exchange.config import SymbolSpec
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.prices import Grid
from streamforge.exchange.recordings import RecordedZip
from streamforge.exchange.windows import Numbers, RowSeries
from streamforge_utils.model.timeranges import TimeRange

ROOT = "data/spot/"
CHECKSUM = ".CHECKSUM"
_DAY_MS = 86_400_000
_SLACK = 4_096
_MICRO_FROM_MS = 1_735_689_600_000
"""2025-01-01: files of this day and later have microseconds."""
_PERIODS = ("daily", "monthly")
_MONTHS = Grid("1M")


class PublishedFile(msgspec.Struct, frozen=True):
    """A zip of the archive. path: without a slash in front. published_ms: since when it is there. size: bytes.

    rows: which of the series it holds. etag: another one where anything else is in it. recorded: what its bytes are;
    None: they are made of the rows.
    """

    path: str
    endpoint: RowsEndpoint
    spec: SymbolSpec
    variant: Hashable
    span: TimeRange
    published_ms: int
    rows: Sequence[Numbers]
    size: int
    etag: str
    recorded: RecordedZip | None = None

    @property
    def name(self) -> str:
        """Of the file in its folder."""
        return self.path.rpartition("/")[2]

    @property
    def micro(self) -> bool:
        """Whether its times are in microseconds."""
        return self.span.start_ms >= _MICRO_FROM_MS

    @property
    def count(self) -> int:
        """Of its rows."""
        return sum(last - first + 1 for first, last in self.rows)

    @property
    def checksum_size(self) -> int:
        """Bytes of the file with its checksum."""
        return len(self.checksum("0" * 64).encode())

    def checksum(self, sha256: str) -> str:
        """What the file with its checksum holds. sha256: of the zip."""
        return (self.recorded and self.recorded.checksum) or f"{sha256}  {self.name}\n"

    @property
    def checksum_etag(self) -> str:
        """Of the file with its checksum."""
        return hashlib.md5(self.etag.encode(), usedforsecurity=False).hexdigest()

    def lines(self) -> Iterator[bytes]:
        """What its CSV holds, in parts."""
        endpoint = self.endpoint
        series = endpoint.archived(self.spec, self.variant)
        if series is not None:
            for numbers in self.rows:
                yield from endpoint.lines(series, numbers, self.published_ms, micro=self.micro)


class Entry(msgspec.Struct, frozen=True):
    """A file in a listing."""

    key: str
    size: int
    etag: str
    modified_ms: int


class ListingScope(msgspec.Struct, frozen=True):
    """What a listing asks for. after: only what comes later. grouped: folders below `prefix` stand for their files."""

    prefix: str = ""
    after: str = ""
    grouped: bool = False


Changed = Callable[[PublishedFile, bool], PublishedFile | None]
"""What has become of a file since it was published; None: it is gone. True: asked for the listing."""


class PublishedFiles:
    """The files of the archive. symbols: of the exchange. name: of what it serves. zips: recorded ones, by name."""

    def __init__(
        self,
        endpoints: Sequence[RowsEndpoint],
        symbols: Mapping[str, SymbolSpec],
        name: str,
        changed: Changed = lambda file, _: file,
        zips: Mapping[str, RecordedZip] | None = None,
    ) -> None:
        self._endpoints = {endpoint.archive: endpoint for endpoint in endpoints if endpoint.archive}
        self._symbols, self._name, self._changed, self._zips = symbols, name, changed, zips or {}

    def find(self, path: str, now_ms: int) -> PublishedFile | None:
        """The file with this path; None: there is none at `now_ms`."""
        if not (path.startswith(ROOT) and path.endswith(".zip")):
            return None
        period, folder, symbol, *_rest = [*path.removeprefix(ROOT).split("/"), "", ""][:5]
        endpoint, spec = self._endpoints.get(folder), self._symbols.get(symbol)
        if endpoint is None or spec is None or period not in _PERIODS:
            return None
        for name, variant in endpoint.archived_variants().items():
            place = _Place(period, endpoint, spec, name, variant)
            if path.startswith(place.stem):
                span = _span(path.removeprefix(place.stem).removesuffix(".zip"))
                if span is None or place.path(span) != path:
                    return None
                found = self._file(place, endpoint.archived(spec, variant), span, now_ms)
                return None if found is None else self._now(found, listed=False)
        return None

    def listing(self, asked: ListingScope, now_ms: int) -> Iterator[Entry | str]:
        """Files, and the paths of folders that stand for theirs, ascending."""
        return self._below("", asked, now_ms)

    def _below(self, folder: str, asked: ListingScope, now_ms: int) -> Iterator[Entry | str]:
        children, place = self._children(folder)
        if place is not None:
            yield from self._files(place, asked, now_ms)
        for child in sorted(f"{name}/" for name in children):
            path = folder + child
            if not (path.startswith(asked.prefix) or asked.prefix.startswith(path)):
                continue
            if asked.after >= path and not asked.after.startswith(path):
                continue
            if not asked.grouped or asked.prefix.startswith(path):
                yield from self._below(path, asked, now_ms)
            elif path > asked.after and any(True for _ in self._below(path, ListingScope(path), now_ms)):
                yield path

    def _children(self, folder: str) -> tuple[Iterator[str] | Sequence[str], _Place | None]:
        """The folders in `folder`, and what the files in it are of."""
        if not folder.startswith(ROOT):
            return [ROOT.removeprefix(folder).partition("/")[0]], None
        period, kind, symbol, name = [*folder.removeprefix(ROOT).split("/"), "", "", ""][:4]
        if not period:
            return _PERIODS, None
        if not kind:
            return [*self._endpoints], None
        endpoint = self._endpoints[kind]
        if not symbol:
            return [*self._symbols], None
        variants, spec = endpoint.archived_variants(), self._symbols[symbol]
        if not name and "" not in variants:
            return [one for one in variants if period == "monthly" or endpoint.has_days(variants[one])], None
        return [], _Place(period, endpoint, spec, name, variants[name])

    def _files(self, place: _Place, asked: ListingScope, now_ms: int) -> Iterator[Entry]:
        end_ms = now_ms if place.spec.delisted_ms is None else min(now_ms, place.spec.delisted_ms)
        series = place.endpoint.archived(place.spec, place.variant)
        for span in _spans(place.period, place.spec.listed_ms, end_ms):
            path = place.path(span)
            last = path + CHECKSUM
            if last <= asked.after or not last.startswith(asked.prefix):
                continue
            file = self._file(place, series, span, now_ms)
            file = None if file is None else self._now(file, listed=True)
            if file is None:
                continue
            found = (
                Entry(path, file.size, file.etag, file.published_ms),
                Entry(last, file.checksum_size, file.checksum_etag, file.published_ms),
            )
            yield from (one for one in found if one.key > asked.after and one.key.startswith(asked.prefix))

    def _now(self, file: PublishedFile, *, listed: bool) -> PublishedFile | None:
        """The file as it has become; a recorded one that nothing has happened to is as it was recorded."""
        changed, recorded = self._changed(file, listed), self._zips.get(file.name)
        if changed is not file or recorded is None:
            return changed
        etag = hashlib.md5(f"{file.etag} {recorded.sha256}".encode(), usedforsecurity=False).hexdigest() + "-1"
        return msgspec.structs.replace(file, size=recorded.size, etag=etag, recorded=recorded)

    def _file(self, place: _Place, series: RowSeries | None, span: TimeRange, now_ms: int) -> PublishedFile | None:
        endpoint, spec, variant = place.endpoint, place.spec, place.variant
        published_ms = endpoint.over_ms(variant, span)
        if place.period == "monthly":
            published_ms = _monday(published_ms)
        elif not endpoint.has_days(variant):
            return None
        if published_ms > now_ms or series is None:
            return None
        rows = windows.closed(series, span, published_ms)
        count = sum(last - first + 1 for first, last in rows)
        if not count:
            return None
        path, size = place.path(span), _SLACK + count * endpoint.bytes_a_row
        content = f"{self._name} {path} {spec} {rows}".encode()
        etag = hashlib.md5(content, usedforsecurity=False).hexdigest() + "-1"  # "-1": it is not the MD5 of the content
        return PublishedFile(path, endpoint, spec, variant, span, published_ms, rows, size, etag)


class _Place(msgspec.Struct, frozen=True):
    """A folder with files of one series. name: of the variant."""

    period: str
    endpoint: RowsEndpoint
    spec: SymbolSpec
    name: str
    variant: Hashable

    @property
    def stem(self) -> str:
        """What the paths of its files begin with."""
        kind, symbol = self.endpoint.archive, self.spec.symbol
        folder = f"{ROOT}{self.period}/{kind}/{symbol}/"
        return f"{folder}{self.name}/{symbol}-{self.name}-" if self.name else f"{folder}{symbol}-{kind}-"

    def path(self, span: TimeRange) -> str:
        """Of the file of a day or a month."""
        day = date.fromordinal(_EPOCH + span.start_ms // _DAY_MS).isoformat()
        return f"{self.stem}{day if self.period == 'daily' else day[:7]}.zip"


_EPOCH = date(1970, 1, 1).toordinal()


def _spans(period: str, start_ms: int, end_ms: int) -> Iterator[TimeRange]:
    """The days or months that have a part of the time from `start_ms` to before `end_ms`."""
    grid = Grid("1d") if period == "daily" else _MONTHS
    for number in range(grid.index(start_ms), grid.index(end_ms - 1) + 1):
        yield TimeRange(grid.open_ms(number), grid.open_ms(number + 1))


def _span(text: str) -> TimeRange | None:
    """The day or month that a file's name ends with."""
    try:
        begin = datetime.fromisoformat(text if len(text) == 10 else f"{text}-01").replace(tzinfo=UTC)
    except ValueError:
        return None
    start_ms = int(begin.timestamp()) * 1000
    return next(_spans("daily" if len(text) == 10 else "monthly", start_ms, start_ms + 1))


def _monday(time_ms: int) -> int:
    """The first Monday that begins at `time_ms` or later."""
    day = -(-time_ms // _DAY_MS)
    return (day + -(day + 3) % 7) * _DAY_MS
