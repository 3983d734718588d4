"""Reading recorded klines: zips and CSV files of the bulk archive, and JSON answers of the REST API."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.candles import Interval

_NAME = re.compile(
    r"(?:spot_)?(?P<symbol>[^-_a-z]+)-(?P<interval>[0-9]{1,2}[a-zA-Z]{1,2})[-_](?P<rest>.+)\.(?P<form>zip|csv|json)"
)
_NUMBER = rb"[0-9]{1,20}(?:\.[0-9]{1,20})?"
_LINE = re.compile(
    rb"(\d{13}|\d{16}),"
    + rb",".join([rb"(%s)" % _NUMBER] * 5)
    + rb",(\d{13}|\d{16}),(%s),(\d{1,18}),(%s),(%s),(%s)" % ((_NUMBER,) * 4)
)
_HEADER = re.compile(rb"open[_ ]?time,", re.IGNORECASE)
_ROW = b'[%d,"%s","%s","%s","%s","%s",%d,"%s",%s,"%s","%s","%s"]'

Row = tuple[int, int, bytes]
"""Open time and close time in unix ms, and the row as the REST API writes it."""


class Recording(msgspec.Struct, frozen=True):
    """A file that holds candles of one series. archive: a file of the bulk archive, not an answer of the REST API."""

    path: Path
    symbol: str
    interval: Interval
    form: str

    @property
    def archive(self) -> bool:
        return self.form != "json"


def find_recordings(folder: Path) -> tuple[list[Recording], dict[str, str]]:
    """The recordings of spot klines below `folder`, sorted by name; and why each other file is ignored."""
    found: list[Recording] = []
    ignored: dict[str, str] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        match = _NAME.fullmatch(path.name)
        if "futures" in name:
            ignored[name] = "not of the spot market"
        elif path.name.endswith(".CHECKSUM"):
            if not path.with_name(path.name.removesuffix(".CHECKSUM")).exists():
                ignored[name] = "a checksum without its file"
        elif match is None:
            ignored[name] = "not named SYMBOL-INTERVAL-DATE.zip, .csv or .json"
        elif match["interval"] not in (*Interval, Interval.MO1.lower):
            ignored[name] = f"{match['interval']} is no interval of spot klines"
        else:
            found.append(Recording(path, match["symbol"], Interval.parse(match["interval"]), match["form"]))
    return found, ignored


def read_recording(recording: Recording) -> Iterator[Row]:
    """The rows of a file in its order; times are brought to milliseconds (microseconds are cut off).

    A zip is compared with the `.CHECKSUM` beside it, if there is one.
    Raises PermanentError naming the file, the line and what is wrong with it.
    """
    path = recording.path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PermanentError(f"{path}: cannot be read: {error}") from error
    _check_sum(path, content)
    if recording.form == "json":
        yield from _read_json(path, content)
        return
    yield from _read_csv(path, _unzipped(path, content) if recording.form == "zip" else content)


def _read_csv(path: Path, content: bytes) -> Iterator[Row]:
    for number, line in enumerate(content.split(b"\n"), 1):
        text = line.rstrip(b"\r")
        if not text or (number == 1 and _HEADER.match(text)):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise PermanentError(f"{path}: line {number} is no candle: {_shown(text)}")
        yield _row(match.groups(), f"{path}: line {number}")


def _read_json(path: Path, content: bytes) -> Iterator[Row]:
    try:
        rows = msgspec.json.decode(content, type=list[list[int | str]])
    except msgspec.MsgspecError as error:
        raise PermanentError(f"{path}: no answer of klines: {error}") from error
    for number, cells in enumerate(rows, 1):
        text = ",".join(map(str, cells)).encode()
        match = _LINE.fullmatch(text)
        if match is None:
            raise PermanentError(f"{path}: row {number} is no candle: {_shown(text)}")
        yield _row(match.groups(), f"{path}: row {number}")


def _row(cells: Iterable[bytes], place: str) -> Row:
    opens, o, h, low, c, v, closes, q, n, tb, tq, last = cells
    open_ms, close_ms = (int(t) if len(t) == 13 else int(t) // 1000 for t in (opens, closes))
    if close_ms <= open_ms:
        raise PermanentError(f"{place}: the candle of {open_ms} closes at {close_ms}")
    return open_ms, close_ms, _ROW % (open_ms, o, h, low, c, v, close_ms, q, n, tb, tq, last)


def _unzipped(path: Path, content: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise PermanentError(f"{path}: one CSV is expected in it, not {len(names)} files")
            return archive.read(names[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise PermanentError(f"{path}: a broken zip: {error}") from error


def _check_sum(path: Path, content: bytes) -> None:
    beside = path.with_name(path.name + ".CHECKSUM")
    if not beside.exists():
        return
    expected = beside.read_text().split()[0].lower()
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise PermanentError(f"{path}: its SHA-256 is {found}, {beside.name} says {expected}")


def _shown(text: bytes) -> str:
    return repr(text[:100].decode("utf-8", "replace"))
