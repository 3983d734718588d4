"""Files for a host of the archive, and the real adapter on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from streamforge_utils.adapters.binance.archive_cache import ArchiveCache
from streamforge_utils.adapters.binance.archive_transport import ArchiveTransport
from streamforge_utils.adapters.binance.binance_archive import BinanceArchive
from streamforge_utils.adapters.binance.zip_member import BLOCK
from streamforge_utils.model.completeness.rule import Pages
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.ports.instrumentation import NullObserver, Observer
from tests.doubles.archivehost import ArchiveHost, zipped


def archive_of(
    host: ArchiveHost,
    folder: Path,
    *,
    history: Pages | None = None,
    clock: Clock | None = None,
    observer: Observer | None = None,
    limit: int = 1_000_000_000,
    block: int = BLOCK,
    patience_s: float = 60.0,
    free: Callable[[Path], int] = lambda folder: 10**15,
) -> BinanceArchive:
    """The adapter with its cache in a folder."""
    clock, observer = clock or SystemClock(), observer or NullObserver()
    return BinanceArchive(
        ArchiveTransport(host.url, clock=clock, observer=observer, patience_s=patience_s),
        ArchiveCache(folder, limit, clock=clock, observer=observer, free=free),
        clock=clock,
        history=history,
        block=block,
    )


def path_of(series: Series, date: str) -> str:
    """The path of the file of a day or a month."""
    files = kind_of(series).archive
    assert files is not None
    period = "daily" if len(date) == 10 else "monthly"
    return f"data/spot/{period}/{files.folder}/{files.place(series)}/{files.stem(series)}-{date}.zip"


def put_rows(host: ArchiveHost, series: Series, date: str, rows: bytes, checksum: str | None = "") -> str:
    """Publish a file of these rows; its path."""
    path = path_of(series, date)
    name = path.rpartition("/")[2].removesuffix(".zip")
    host.put(path, zipped(f"{name}.csv", rows), checksum=checksum)
    return path


def kline(time_ms: int, length_ms: int = 3_600_000) -> bytes:
    """A row of a file of candles."""
    price = 100 + time_ms // length_ms % 900
    return b"%d,%d.10,%d.50,%d.00,%d.20,12.50,%d,1250.00,42,6.00,600.00,0\n" % (
        time_ms, price, price + 1, price - 1, price, time_ms + length_ms - 1,
    )  # fmt: skip


def put_candles(
    host: ArchiveHost, series: Series, date: str, *, checksum: str | None = "", without: Sequence[int] = ()
) -> list[int]:
    """Publish the hours of a day or a month; their open times."""
    span = parse_time_range(date)
    opens = [time for time in range(span.start_ms, span.end_ms, 3_600_000) if time not in without]
    put_rows(host, series, date, b"".join(map(kline, opens)), checksum)
    return opens


def trade(number: int, time_ms: int) -> bytes:
    """A row of a file of trades."""
    return b"%d,%d.50,0.25,7.5,%d,%s,True\n" % (number, 100 + number % 50, time_ms, b"True" if number % 3 else b"False")


def put_trades(
    host: ArchiveHost,
    series: Series,
    date: str,
    ids: range,
    *,
    checksum: str | None = "",
    without: Sequence[int] = (),
    header: str = "",
) -> str:
    """Publish trades spread over a day or a month; the path. header: the row before them; empty: none."""
    span = parse_time_range(date)
    step = (span.end_ms - span.start_ms) // max(1, len(ids))
    rows = (trade(one, span.start_ms + at * step) for at, one in enumerate(ids) if one not in without)
    before = f"{header}\n".encode() if header else b""
    return put_rows(host, series, date, before + b"".join(rows), checksum)


def day(text: str) -> TimeRange:
    """The range of a text."""
    return parse_time_range(text)
