"""Serving recorded rows as if the exchange were live: files of the bulk archive, and JSON answers of the REST API."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from streamforge.exchange.books import Book
from streamforge.exchange.config import SymbolSpec
from streamforge.exchange.endpoint import RowsEndpoint
from streamforge.exchange.recorded_books import RecordedSnapshots
from streamforge.exchange.recorded_rows import Held, Part, RecordedRows, Versions, part_of
from streamforge.exchange.recorded_streams import SUFFIXES, RecordedStreams
from streamforge_utils.model.errors import PermanentError

_NAME = re.compile(r"(?:spot_)?(?P<symbol>[^-_a-z]+)-(?P<name>[0-9A-Za-z]+)[-_](?P<rest>.+)\.(?P<form>zip|csv|json)")
_HEADER = re.compile(r"[a-z]+(?:[_ ]?[a-z]+)*,", re.IGNORECASE)
_QUOTES = ("USDT", "FDUSD", "USDC", "BUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "GBP", "AUD", "USD")
_NO_MESSAGE, _OTHER_MARKET = "without a message of a stream", "not of the spot market"

Key = tuple[RowsEndpoint, str, Hashable]


class RecordedZip(msgspec.Struct, frozen=True):
    """A zip as the archive published it. size: bytes. checksum: its `.CHECKSUM`; empty: that was not recorded."""

    path: Path
    size: int
    sha256: str
    checksum: str


class Recordings(msgspec.Struct, frozen=True):
    """What a folder has. ignored: its other files, each with the reason. zips: by their names in the archive.

    end_ms: of the last event of the streams, unix ms; 0: there is none. held: what of the rows and events is in memory.
    """

    symbols: dict[str, SymbolSpec]
    ignored: dict[str, str]
    zips: dict[str, RecordedZip]
    streams: RecordedStreams
    books: Mapping[str, Book]
    end_ms: int
    held: Held


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
    held = Held()
    streams, snapshots = RecordedStreams(held), RecordedSnapshots()
    unread = [name for name, reason in ignored.items() if reason != _OTHER_MARKET]
    for name in [name for name in unread if name.endswith((*SUFFIXES, ".json"))]:
        spoken = name.endswith(SUFFIXES) and streams.read(folder / name)
        if snapshots.read(folder / name) or spoken:
            del ignored[name]
    if not files and not streams.spans:
        raise PermanentError(f"replay {folder}: nothing of the spot market in it ({len(ignored)} other files)")
    zips: dict[str, RecordedZip] = {}
    parts: dict[Key, list[Part]] = {}
    for endpoint in endpoints:
        for stream, part in streams.parts(endpoint):
            key = (endpoint, stream.symbol, endpoint.variant_of_stream(stream.options))
            parts.setdefault(key, []).append(part)
    for file in sorted(files, key=lambda file: file.archive):
        content = _content(file.path)
        if file.path.suffix == ".zip":
            zips[file.path.name.removeprefix("spot_")] = _zip(file.path, content)
        if (found := part_of(_rows(file, content), partial(_read, file))) is not None:
            parts.setdefault((file.endpoint, file.symbol, file.variant), []).append(found)
    listed = dict(streams.starts())
    end_ms = max([hand_over(endpoints, parts, held, listed), *(last_ms for _, last_ms in streams.spans.values())])
    symbols = {symbol: spec_of(symbol, listed_ms) for symbol, listed_ms in listed.items()}
    return Recordings(symbols, ignored, zips, streams, snapshots.books(streams), end_ms, held)


def hand_over(
    endpoints: Sequence[RowsEndpoint], parts: Mapping[Key, Sequence[Part]], held: Held, listed: dict[str, int]
) -> int:
    """Let `endpoints` serve parts of series; when the last row ended, unix ms. listed: when each symbol begins."""
    rows = {key: RecordedRows(of_series, held) for key, of_series in parts.items()}
    for (_, symbol, _), one in rows.items():
        listed[symbol] = min(one.start_ms, listed.get(symbol, one.start_ms))
    for endpoint in endpoints:
        endpoint.recordings = {key[1:]: one for key, one in rows.items() if key[0] is endpoint}
    for endpoint in endpoints:
        endpoint.derive_recordings(endpoints)
    return max((part.end_ms + 1 for of_series in parts.values() for part in of_series), default=0)


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


def _read(file: _File) -> Versions:
    return _rows(file, _content(file.path))


def _rows(file: _File, content: bytes) -> Versions:
    """The rows of a file in its order, times in milliseconds."""
    path = file.path
    lines = (
        _csv(_unzipped(path, content) if path.suffix == ".zip" else content) if file.archive else _json(file, content)
    )
    for place, cells in lines:
        try:
            yield 0, file.endpoint.recorded_row(cells)
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
