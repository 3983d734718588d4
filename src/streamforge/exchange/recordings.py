"""Serving recorded rows as if the exchange were live: files of the bulk archive, and JSON answers of the REST API."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from streamforge.exchange.books import Book
from streamforge.exchange.config import SymbolSpec
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.recorded_books import RecordedSnapshots
from streamforge.exchange.recorded_streams import SUFFIXES, RecordedStreams
from streamforge.exchange.windows import Numbers, RowSeries
from streamforge_utils.model.errors import PermanentError

_NAME = re.compile(r"(?:spot_)?(?P<symbol>[^-_a-z]+)-(?P<name>[0-9A-Za-z]+)[-_](?P<rest>.+)\.(?P<form>zip|csv|json)")
_HEADER = re.compile(r"[a-z]+(?:[_ ]?[a-z]+)*,", re.IGNORECASE)
_QUOTES = ("USDT", "FDUSD", "USDC", "BUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "GBP", "AUD", "USD")
_NO_MESSAGE, _OTHER_MARKET = "without a message of a stream", "not of the spot market"

Row = tuple[int, int, int, bytes]
"""Id, first instant and last instant (unix ms), and the row as the REST API writes it."""


class RecordedRows(RowSeries):
    """The rows of one series, numbered from 0; all in memory, a candle takes about 300 bytes."""

    def __init__(self, rows: Iterable[Row]) -> None:
        ordered = sorted(rows)
        self._ids = [row[0] for row in ordered]
        self.starts = [row[1] for row in ordered]
        self._ends = [row[2] for row in ordered]
        self._texts = [row[3] for row in ordered]

    @property
    def texts(self) -> Sequence[bytes]:
        """The rows as the REST API writes them."""
        return self._texts

    def at(self, time_ms: int) -> int:
        return bisect_left(self.starts, time_ms)

    def by_id(self, record_id: int) -> int:
        return bisect_left(self._ids, record_id)

    def existing(self, now_ms: int, *, final: bool) -> Numbers:
        end = bisect_right(self.starts, now_ms)
        while final and end and self._ends[end - 1] >= now_ms:
            end -= 1
        return 0, end - 1

    def rows(self, first: int, last: int, now_ms: int) -> list[bytes]:
        return self._texts[first : last + 1]


class RecordedZip(msgspec.Struct, frozen=True):
    """A zip as the archive published it. size: bytes. checksum: its `.CHECKSUM`; empty: that was not recorded."""

    path: Path
    size: int
    sha256: str
    checksum: str


class Recordings(msgspec.Struct, frozen=True):
    """What a folder has. ignored: its other files, each with the reason. zips: by their names in the archive.

    end_ms: of the last event of the streams, unix ms; 0: there is none.
    """

    symbols: dict[str, SymbolSpec]
    ignored: dict[str, str]
    zips: dict[str, RecordedZip]
    streams: RecordedStreams
    books: Mapping[str, Book]
    end_ms: int


class _File(msgspec.Struct, frozen=True):
    """A file of rows of one series. archive: of the bulk archive, not an answer of the REST API."""

    path: Path
    endpoint: RowsEndpoint
    symbol: str
    variant: Hashable

    @property
    def archive(self) -> bool:
        return self.path.suffix != ".json"


def load_recordings(folder: Path, endpoints: Sequence[RowsEndpoint]) -> Recordings:
    """Let `endpoints` serve the recordings below `folder`.

    Several files of one series are merged. Where two of them know the same row, a file of the archive wins over an
    answer of the REST API (whose last row may have changed since), else the one whose name sorts last; both win over
    a message of a stream. What no file has stays a hole. A zip is compared with the `.CHECKSUM` beside it, if there is
    one. Raises PermanentError naming the file, the line and what is wrong with it.
    """
    if not folder.is_dir():
        raise PermanentError(f"replay {folder}: no such folder")
    files, ignored = _find(folder, endpoints)
    streams, snapshots = RecordedStreams(), RecordedSnapshots()
    unread = [name for name, reason in ignored.items() if reason != _OTHER_MARKET]
    for name in [name for name in unread if name.endswith((*SUFFIXES, ".json"))]:
        spoken = name.endswith(SUFFIXES) and streams.read(folder / name)
        if snapshots.read(folder / name) or spoken:
            del ignored[name]
    if not files and not streams.events:
        raise PermanentError(f"replay {folder}: nothing of the spot market in it ({len(ignored)} other files)")
    zips: dict[str, RecordedZip] = {}
    merged: dict[tuple[RowsEndpoint, str, Hashable], dict[int, Row]] = {}
    for endpoint in endpoints:
        endpoint.recordings = {}
        for stream, row in streams.rows(endpoint):
            key = (endpoint, stream.symbol, endpoint.variant_of_stream(stream.options))
            merged.setdefault(key, {})[row[0]] = row
    for file in sorted(files, key=lambda file: file.archive):
        series = merged.setdefault((file.endpoint, file.symbol, file.variant), {})
        content = _content(file.path)
        if file.path.suffix == ".zip":
            zips[file.path.name.removeprefix("spot_")] = _zip(file.path, content)
        series.update((row[0], row) for row in _rows(file, content))
    listed = dict(streams.starts())
    end_ms = max((events[-1].time_ms for events in streams.events.values()), default=0)
    for (endpoint, symbol, variant), rows in merged.items():
        if rows:
            found = RecordedRows(rows.values())
            listed[symbol] = min(found.starts[0], listed.get(symbol, found.starts[0]))
            end_ms = max(end_ms, max(row[2] for row in rows.values()) + 1)
            assert endpoint.recordings is not None  # noqa: S101 - set above
            endpoint.recordings[symbol, variant] = found
    for endpoint in endpoints:
        endpoint.derive_recordings(endpoints)
    symbols = {symbol: spec_of(symbol, listed_ms) for symbol, listed_ms in listed.items()}
    return Recordings(symbols, ignored, zips, streams, snapshots.books(streams), end_ms)


def _find(folder: Path, endpoints: Iterable[RowsEndpoint]) -> tuple[list[_File], dict[str, str]]:
    found: list[_File] = []
    ignored: dict[str, str] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        match = _NAME.fullmatch(path.name)
        if "futures" in name:
            ignored[name] = _OTHER_MARKET
        elif path.name.endswith(".CHECKSUM"):
            if not path.with_name(path.name.removesuffix(".CHECKSUM")).exists():
                ignored[name] = "a checksum without its file"
        elif match is None:
            ignored[name] = (
                _NO_MESSAGE if name.endswith(SUFFIXES) else "not named SYMBOL-INTERVAL-DATE.zip, .csv or .json"
            )
        else:
            reasons = []
            for endpoint in endpoints:
                try:
                    found.append(_File(path, endpoint, match["symbol"], endpoint.recorded_variant(match["name"])))
                    break
                except ValueError as error:
                    reasons.append(str(error))
            else:
                ignored[name] = "; ".join(reasons)
    return found, ignored


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PermanentError(f"{path}: cannot be read: {error}") from error


def _rows(file: _File, content: bytes) -> Iterator[Row]:
    """The rows of a file in its order, times in milliseconds."""
    path = file.path
    lines = (
        _csv(_unzipped(path, content) if path.suffix == ".zip" else content) if file.archive else _json(file, content)
    )
    for place, cells in lines:
        try:
            yield file.endpoint.recorded_row(cells)
        except ValueError as error:
            raise PermanentError(f"{path}: {place} {error}: {','.join(cells)[:100]!r}") from error


def _csv(content: bytes) -> Iterator[tuple[str, list[str]]]:
    for number, line in enumerate(content.decode("utf-8", "replace").split("\n"), 1):
        text = line.rstrip("\r")
        if text and not (number == 1 and _HEADER.match(text)):
            yield f"line {number}", text.split(",")


def _json(file: _File, content: bytes) -> Iterator[tuple[str, list[str]]]:
    try:
        rows = msgspec.json.decode(content, type=list[list[Any] | dict[str, Any]])
    except msgspec.MsgspecError as error:
        raise PermanentError(f"{file.path}: no answer of the REST API: {error}") from error
    for number, row in enumerate(rows, 1):
        cells = [row.get(name) for name in file.endpoint.members] if isinstance(row, dict) else row
        yield f"row {number}", [*map(str, cells)]


def _unzipped(path: Path, content: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise PermanentError(f"{path}: one CSV is expected in it, not {len(names)} files")
            return archive.read(names[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise PermanentError(f"{path}: a broken zip: {error}") from error


def _zip(path: Path, content: bytes) -> RecordedZip:
    beside = path.with_name(path.name + ".CHECKSUM")
    checksum = beside.read_text() if beside.exists() else ""
    found = hashlib.sha256(content).hexdigest()
    if checksum and found != (expected := checksum.split()[0].lower()):
        raise PermanentError(f"{path}: its SHA-256 is {found}, {beside.name} says {expected}")
    return RecordedZip(path, len(content), found, checksum)


def spec_of(symbol: str, listed_ms: int) -> SymbolSpec:
    """A recorded symbol."""
    quote = next((q for q in _QUOTES if symbol.endswith(q) and symbol != q), symbol[-3:])
    return SymbolSpec(
        symbol=symbol,
        base=symbol.removesuffix(quote),
        quote=quote,
        listed_ms=listed_ms,
        price_decimals=8,
        quantity_decimals=8,
    )
